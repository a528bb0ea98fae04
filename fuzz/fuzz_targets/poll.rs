//! See [`waxwing_fuzz::poll`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::poll::check(bytes));
