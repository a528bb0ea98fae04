//! By what a simulated device knows its server: a file of the device's own, once it was told by a
//! signed target (D15), and the CA of its configuration until then.
//!
//! Once there are pins of its own, those of the configuration count no more: a server whose CA was
//! rotated out must not be believed by devices that know of it. Only a file that cannot be read at
//! all, which a power cut does not leave, has the device go back to them.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sha2::{Digest as _, Sha256};
use waxwing_agent::pins::{Pins, PinsUnusable};
use waxwing_agent_net::identity::SharedIdentity;
use waxwing_agent_net::{ServerTrust, SharedClient};
use waxwing_wire::Digest;

use crate::credentials::replace_file;
use crate::kit::BUILT_AT_S;

/// The file in the folder of the device.
const FILE: &str = "server-ca.pem";

/// The certificates by which a device knows its server: others after signed ones came.
#[derive(Clone, Debug)]
pub struct ServerPins {
    file: PathBuf,
    trust: Rc<RefCell<ServerTrust>>,
    kept: Rc<Cell<Option<Digest>>>,
}

impl ServerPins {
    /// Reads the device's own pins; `factory` counts as long as there are none.
    pub fn open(folder: &Path, factory: &ServerTrust) -> Self {
        let file = folder.join(FILE);
        let own = std::fs::read(&file).ok();
        let own =
            own.and_then(|pem| Some((ServerTrust::from_pem(&pem, BUILT_AT_S).ok()?, digest(&pem))));
        let (trust, kept) = match own {
            Some((trust, sha256)) => (trust, Some(sha256)),
            None => (factory.clone(), None),
        };
        Self { file, trust: Rc::new(RefCell::new(trust)), kept: Rc::new(Cell::new(kept)) }
    }

    /// Returns what the device trusts now.
    pub fn trust(&self) -> ServerTrust {
        self.trust.borrow().clone()
    }

    /// Returns the SHA-256 of the device's own pins.
    pub fn kept(&self) -> Option<Digest> {
        self.kept.get()
    }

    /// Keeps other pins; a power cut leaves the old ones or these.
    ///
    /// # Errors
    ///
    /// [`PinsUnusable`] when they are none, or the disk fails; then all is as it was.
    pub fn replace(&self, pem: &[u8]) -> Result<(), PinsUnusable> {
        let trust = ServerTrust::from_pem(pem, BUILT_AT_S).map_err(|_| PinsUnusable)?;
        replace_file(&self.file, pem).map_err(|_| PinsUnusable)?;
        *self.trust.borrow_mut() = trust;
        self.kept.set(Some(digest(pem)));
        Ok(())
    }
}

fn digest(pem: &[u8]) -> Digest {
    Digest(Sha256::digest(pem).into())
}

/// The pins of a device that is switched on.
#[derive(Debug)]
pub struct PinsPort {
    pins: ServerPins,
    identity: SharedIdentity,
    client: SharedClient,
}

impl PinsPort {
    /// Puts pins and what they take effect on together.
    pub const fn new(pins: ServerPins, identity: SharedIdentity, client: SharedClient) -> Self {
        Self { pins, identity, client }
    }
}

impl Pins for PinsPort {
    fn kept(&self) -> Option<Digest> {
        self.pins.kept()
    }

    fn keep(&mut self, pem: &[u8], _sha256: Digest) -> Result<(), PinsUnusable> {
        // What no server can be known by is no trust, and nothing is kept.
        self.pins.replace(pem)?;
        // Connections that are open stay; the next one is made with the new pins.
        *self.client.borrow_mut() = self.pins.trust().client(Some(&self.identity.borrow()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn pem() -> String {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn factory() -> ServerTrust {
        ServerTrust::from_pem(pem().as_bytes(), BUILT_AT_S).unwrap()
    }

    #[test]
    fn pins_outlive_the_process_and_take_the_place_of_those_before() {
        let folder = tempfile::tempdir().unwrap();
        let pins = ServerPins::open(folder.path(), &factory());
        assert_eq!(pins.kept(), None);
        for new in [pem(), pem() + &pem()] {
            pins.replace(new.as_bytes()).unwrap();
            let again = ServerPins::open(folder.path(), &factory());
            assert_eq!(again.kept(), Some(digest(new.as_bytes())));
            assert_eq!(again.kept(), pins.kept());
        }
    }

    #[test]
    fn pins_by_which_no_server_could_be_known_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let pins = ServerPins::open(folder.path(), &factory());
        let good = pem();
        pins.replace(good.as_bytes()).unwrap();
        for bad in ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(pins.replace(bad.as_bytes()), Err(PinsUnusable), "{bad}");
        }
        assert_eq!(pins.kept(), Some(digest(good.as_bytes())));
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), good);
    }

    #[test]
    fn a_power_cut_at_any_byte_of_the_write_leaves_the_old_or_the_new_pins() {
        let (old, new) = (pem(), pem() + &pem());
        for cut in (0..=new.len()).step_by(97).chain([new.len()]) {
            let folder = tempfile::tempdir().unwrap();
            ServerPins::open(folder.path(), &factory()).replace(old.as_bytes()).unwrap();
            // What `replace_file` has done when the power goes: a piece of the new file beside it.
            fs::write(folder.path().join("server-ca.pem.new"), &new[..cut]).unwrap();
            let pins = ServerPins::open(folder.path(), &factory());
            assert_eq!(pins.kept(), Some(digest(old.as_bytes())), "after {cut} bytes");
            pins.replace(new.as_bytes()).unwrap();
            assert_eq!(pins.kept(), Some(digest(new.as_bytes())), "after {cut} bytes");
        }
    }

    #[test]
    fn a_file_that_is_damaged_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "no certificate").unwrap();
        assert_eq!(ServerPins::open(folder.path(), &factory()).kept(), None);
    }
}
