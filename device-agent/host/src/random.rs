//! The one place that draws random numbers.

use waxwing_agent::network::Entropy;

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "the entropy port of the host")]
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("Linux has no device without random numbers after boot");
    }
}
