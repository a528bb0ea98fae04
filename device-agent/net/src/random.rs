//! A device's source of random numbers, in the form that the cryptography libraries take.

use p256::elliptic_curve::rand_core::{CryptoRng, Error, RngCore};
use waxwing_agent::network::Entropy;

/// Draws from a source of true randomness.
#[derive(Debug)]
pub(crate) struct Random<E>(pub(crate) E);

impl<E: Entropy> RngCore for Random<E> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl<E: Entropy> CryptoRng for Random<E> {}
