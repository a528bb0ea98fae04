//! See [`waxwing_fuzz::envelope`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::envelope::check(bytes));
