//! See [`waxwing_fuzz::bundle`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::bundle::check(bytes));
