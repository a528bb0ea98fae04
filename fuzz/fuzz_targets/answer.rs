//! See [`waxwing_fuzz::answer`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::answer::check(bytes));
