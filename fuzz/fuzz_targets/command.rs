//! See [`waxwing_fuzz::command`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::command::check(bytes));
