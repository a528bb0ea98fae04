//! See [`waxwing_fuzz::image`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::image::check(bytes));
