//! Numbers nobody can guess.
//!
//! The generator of the chip mixes noise of the radio, or of the analogue converter, into what it
//! gives out. Only while one of the two is on is it a true source; a [`Trng`] cannot be had
//! otherwise. It is read no faster than noise comes in: `esp-hal` waits between two words.

use esp_hal::rng::Trng;
use waxwing_agent::network::Entropy;

/// The generator, with a source of noise on.
#[derive(Clone)]
pub struct Noise(Trng);

impl Noise {
    /// Takes the generator; `None` while it has no source of noise.
    pub fn new() -> Option<Self> {
        Trng::try_new().ok().map(Self)
    }
}

impl Entropy for Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.read(bytes);
    }
}
