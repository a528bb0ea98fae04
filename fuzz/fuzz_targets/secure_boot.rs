//! See [`waxwing_fuzz::secure_boot`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::secure_boot::check(bytes));
