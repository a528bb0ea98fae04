//! See [`waxwing_fuzz::chunks`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::chunks::check(bytes));
