//! See [`waxwing_fuzz::metadata`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::metadata::check(bytes));
