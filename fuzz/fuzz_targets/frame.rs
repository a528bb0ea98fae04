//! See [`waxwing_fuzz::frame`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::frame::check(bytes));
