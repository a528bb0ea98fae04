//! See [`waxwing_fuzz::client`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::client::check(bytes));
