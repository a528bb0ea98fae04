//! See [`waxwing_fuzz::broker`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::broker::check(bytes));
