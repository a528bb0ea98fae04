//! The device's key, its certificate, and by what it knows its server: kept in the state partition.

use alloc::rc::Rc;

use sha2::{Digest as _, Sha256};
use waxwing_agent::pins::{Pins, PinsUnusable};
use waxwing_agent_flash::{State, StateError};
use waxwing_agent_net::est::KeyStore;
use waxwing_agent_net::{Client, DeviceKey, Identity, ServerTrust, SharedClient};
use waxwing_wire::Digest;

use crate::BUILT_AT_S;
use crate::flash::FlashChip;

const PENDING: &str = "pending-key";
const IDENTITY: &str = "identity";
const SERVER_CA: &str = "server-ca";

/// Key and certificate in the state partition.
#[derive(Clone, Debug)]
pub(crate) struct Keys(pub(crate) State<FlashChip>);

impl Keys {
    /// Forgets a certificate that is beyond repair, and by what the device knows its server only if
    /// nothing of the partition can be read.
    pub(crate) fn forget(&self) -> Result<(), StateError> {
        match self.0.remove(IDENTITY) {
            Err(StateError::Corrupt) => self.0.erase(),
            forgotten => forgotten,
        }
    }
}

impl KeyStore for Keys {
    type Error = StateError;

    fn pending(&mut self) -> Result<Option<DeviceKey>, StateError> {
        match self.0.load(PENDING) {
            Ok(bytes) => Ok(bytes.and_then(|bytes| DeviceKey::from_bytes(&bytes).ok())),
            // No certificate was kept for it: another one does as well.
            Err(StateError::Corrupt) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn keep_pending(&mut self, key: &DeviceKey) -> Result<(), StateError> {
        self.0.save(PENDING, &*key.to_bytes())
    }

    fn identity(&mut self) -> Result<Option<Identity>, StateError> {
        let bytes = self.0.load(IDENTITY)?;
        bytes.map(|bytes| Identity::from_bytes(&bytes).map_err(|_| StateError::Corrupt)).transpose()
    }

    fn keep(&mut self, identity: &Identity) -> Result<(), StateError> {
        self.0.save(IDENTITY, &identity.to_bytes())?;
        self.0.remove(PENDING)
    }
}

/// What the device knows its server by: the certificates it was made with, or signed ones that came
/// later (D15).
pub(crate) fn server_trust(
    state: &State<FlashChip>,
    factory: &[u8],
) -> Option<(ServerTrust, Option<Digest>)> {
    let own = state.load(SERVER_CA).ok().flatten();
    let own = own.and_then(|pem| {
        let trust = ServerTrust::from_pem(&pem, BUILT_AT_S).ok()?;
        Some((trust, Some(Digest(Sha256::digest(&pem).into()))))
    });
    own.or_else(|| Some((ServerTrust::from_pem(factory, BUILT_AT_S).ok()?, None)))
}

/// The pins of a device that is running.
#[derive(Debug)]
pub struct KnownServer {
    pub(crate) state: State<FlashChip>,
    pub(crate) client: SharedClient,
    pub(crate) kept: Option<Digest>,
}

impl Pins for KnownServer {
    fn kept(&self) -> Option<Digest> {
        self.kept
    }

    fn keep(&mut self, pem: &[u8], sha256: Digest) -> Result<(), PinsUnusable> {
        let trust = ServerTrust::from_pem(pem, BUILT_AT_S).map_err(|_| PinsUnusable)?;
        self.state.save(SERVER_CA, pem).map_err(|_| PinsUnusable)?;
        let identity = self.client.borrow().identity.clone();
        // Connections that are open stay; the next one is made with the new pins.
        self.client.replace(Rc::new(Client { trust, identity }));
        self.kept = Some(sha256);
        Ok(())
    }
}
