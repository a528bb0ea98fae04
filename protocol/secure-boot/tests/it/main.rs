//! Oracle: `espsecure` makes keys and signatures, and must see in a file what we see.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "test code")]

mod espsecure;
mod hostile;
mod signed;
