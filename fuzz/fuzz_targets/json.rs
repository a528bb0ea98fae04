//! See [`waxwing_fuzz::json`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::json::check(bytes));
