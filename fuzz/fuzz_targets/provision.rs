//! See [`waxwing_fuzz::provision`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::provision::check(bytes));
