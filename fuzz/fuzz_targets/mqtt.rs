//! See [`waxwing_fuzz::packets`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::packets::check(bytes));
