//! What strangers write otherwise than the specification we follow.
//!
//! Only `--cfg waxwing_foreign="uptane-ats"` reads it, which only `cargo xtask conformance` sets, to
//! run the Uptane test vectors of 2017. Not a feature: a build with all features stays strict.

/// Whether metadata may be that of the vectors: `_type` is capitalised, keys have no scheme, files no
/// `spec_version`, and the Director neither snapshot nor timestamp.
pub(crate) const UPTANE_ATS: bool = cfg!(waxwing_foreign = "uptane-ats");
