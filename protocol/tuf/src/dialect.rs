//! What strangers write otherwise than the specification we follow.
//!
//! Only `--cfg waxwing_foreign="uptane-ats"` reads it, which only `cargo xtask conformance` sets, to
//! run the Uptane test vectors of 2017. Not a feature: a build with all features stays strict.

#[cfg(all(any(waxwing_foreign = "rsa", waxwing_foreign = "uptane-ats"), target_os = "none"))]
compile_error!("a device reads neither RSA keys nor a foreign dialect");

/// Whether metadata may be that of the vectors: `_type` is capitalised, keys have no scheme, files no
/// `spec_version`, targets no `match`, and the Director neither snapshot nor timestamp.
pub(crate) const UPTANE_ATS: bool = cfg!(waxwing_foreign = "uptane-ats");
