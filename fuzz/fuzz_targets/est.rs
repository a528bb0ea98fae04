//! See [`waxwing_fuzz::est`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::est::check(bytes));
