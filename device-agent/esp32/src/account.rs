//! The device's account with its server: key, certificate, and the server's certificates.
//!
//! A device without a certificate asks for one until it gets it; one with a certificate renews it.
//! Not here: how they are kept.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};

use waxwing_agent::network::Clock as _;
use waxwing_agent::policy::{Jitter, Policy};
use waxwing_agent_flash::{State, StateError};
use waxwing_agent_net::est::{self, EstError, KeyStore as _};
use waxwing_agent_net::identity::SharedIdentity;
use waxwing_agent_net::{
    Address, Client, Https, Identity, Network as _, ServerTrust, SharedClient,
};
use waxwing_wire::bundle::DEVICE_ANSWER_BYTES_MAX;
use waxwing_wire::{DeviceId, Digest, Provision};

use crate::flash::FlashChip;
use crate::keys::{Keys, KnownServer, server_trust};
use crate::sockets::Sockets;
use crate::updater::NotStarted;

/// The account.
pub(crate) struct Account {
    pub(crate) network: Rc<Sockets>,
    pub(crate) state: State<FlashChip>,
    server: Address,
    device: DeviceId,
    pub(crate) identity: SharedIdentity,
    pub(crate) client: SharedClient,
    kept: Option<Digest>,
    pub(crate) expired: Rc<Cell<bool>>,
}

impl Account {
    pub(crate) async fn open(
        network: &Rc<Sockets>,
        state: &State<FlashChip>,
        provision: &Provision,
        policy: &Policy,
        seed: u64,
    ) -> Result<Self, NotStarted> {
        let trust = server_trust(state, &provision.server_ca).ok_or(NotStarted::Pins)?;
        let mut keys = Keys(state.clone());
        let identity = match keys.identity() {
            Ok(Some(identity)) => identity,
            Ok(None) => {
                Box::pin(enrol(network, &mut keys, provision, &trust.0, policy, seed)).await?
            }
            // The key is still there, and the next start may be able to read it.
            Err(fault @ StateError::Flash) => return Err(NotStarted::State(fault)),
            Err(_) => {
                keys.forget().map_err(NotStarted::State)?;
                Box::pin(enrol(network, &mut keys, provision, &trust.0, policy, seed)).await?
            }
        };
        let identity = Rc::new(identity);
        let client = Client { trust: trust.0, identity: Some(Rc::clone(&identity)) };
        Ok(Self {
            network: Rc::clone(network),
            state: state.clone(),
            server: provision.server.parse().map_err(NotStarted::Address)?,
            device: provision.device.clone(),
            identity: Rc::new(RefCell::new(identity)),
            client: Rc::new(RefCell::new(Rc::new(client))),
            kept: trust.1,
            expired: Rc::default(),
        })
    }

    pub(crate) fn https(&self) -> Https<Sockets> {
        let (network, client) = (Rc::clone(&self.network), Rc::clone(&self.client));
        Https::new(network, self.server.clone(), client).taking_at_most(DEVICE_ANSWER_BYTES_MAX)
    }

    pub(crate) fn pins(&self) -> KnownServer {
        KnownServer { state: self.state.clone(), client: Rc::clone(&self.client), kept: self.kept }
    }

    /// Renews the certificate at two thirds of its life, or when the server says that it has ended.
    /// A failure waits for the next poll.
    pub(crate) async fn renew_if_due(&mut self, unix_s: Option<u64>) {
        let is_due = unix_s.is_some_and(|unix_s| self.identity.borrow().is_due(unix_s));
        if !self.expired.take() && !is_due {
            return;
        }
        let mut server = self.https();
        let mut keys = Keys(self.state.clone());
        let renewed = Box::pin(est::renew(&mut server, &mut keys, &self.device)).await;
        let Ok(renewed) = renewed else { return };
        let renewed = Rc::new(renewed);
        let trust = self.client.borrow().trust.clone();
        self.client.replace(Rc::new(Client { trust, identity: Some(Rc::clone(&renewed)) }));
        self.identity.replace(renewed);
    }
}

/// Asks for the first certificate until there is one.
async fn enrol(
    network: &Rc<Sockets>,
    keys: &mut Keys,
    provision: &Provision,
    trust: &ServerTrust,
    policy: &Policy,
    seed: u64,
) -> Result<Identity, NotStarted> {
    let address: Address = provision.enrol.parse().map_err(NotStarted::Address)?;
    let client = Rc::new(Client { trust: trust.clone(), identity: None });
    let client: SharedClient = Rc::new(RefCell::new(client));
    let mut server = Https::new(Rc::clone(network), address, client);
    let mut jitter = Jitter::new(seed);
    for failures in 1_u32.. {
        let token = provision.token.expose();
        match est::enrol(&mut server, keys, &provision.device, token).await {
            Ok(identity) => return Ok(identity),
            Err(EstError::Keys(error)) => return Err(NotStarted::State(error)),
            // Also what the server refuses for good: somebody may register the device later.
            Err(EstError::Answer | EstError::NoAnswer(_) | EstError::Refused { .. }) => {}
        }
        let wait = policy.back_off(failures, jitter.draw());
        network.sleep_until(network.now().saturating_add(wait)).await;
    }
    Err(NotStarted::Pins)
}
