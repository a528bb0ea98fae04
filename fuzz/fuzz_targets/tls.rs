//! See [`waxwing_fuzz::tls`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::tls::check(bytes));
