//! See [`waxwing_fuzz::partition_table`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waxwing_fuzz::partition_table::check(bytes));
