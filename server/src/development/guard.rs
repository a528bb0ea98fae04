//! No release is built for development.
//!
//! Nothing else is here: a test compiles this file alone, as a release would.

#[cfg(all(feature = "development", not(debug_assertions)))]
compile_error!(
    "the feature `development` opens MQTT without TLS and writes session keys down: no release has it"
);
