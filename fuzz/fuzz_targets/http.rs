//! See [`waxwing_fuzz::http`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::http::check(bytes));
