//! See [`waxwing_fuzz::csr`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::csr::check(bytes));
