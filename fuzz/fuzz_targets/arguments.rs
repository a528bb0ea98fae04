//! See [`waxwing_fuzz::arguments`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::arguments::check(bytes));
