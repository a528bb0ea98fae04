//! See [`waxwing_fuzz::enrol_uri`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::enrol_uri::check(bytes));
