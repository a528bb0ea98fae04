//! See [`waxwing_fuzz::otadata`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::otadata::check(bytes));
