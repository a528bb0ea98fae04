//! Ethernet, as emulated chips have it: a network driver over [`crate::hardware`].
//!
//! Frames are looked for a thousand times a second, so no interrupt is needed.

use core::task::Context;

use embassy_executor::Spawner;
use embassy_net_driver::{Capabilities, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_sync::waitqueue::AtomicWaker;
use embassy_time::{Duration, Ticker};
use esp_hal::efuse;
use esp_hal::rng::TrngSource;
use static_cell::StaticCell;

use super::{Access, NoNetwork, Parts};
use crate::hardware::{self, Receiver, Sender};

/// How often frames are looked for.
const POLL_EVERY: Duration = Duration::from_millis(1);

/// Longest frame without its checksum.
const MTU_BYTES: usize = 1514;

static WAKER: AtomicWaker = AtomicWaker::new();

/// The driver.
pub(super) struct Driver {
    sender: Sender,
    receiver: Receiver,
    address: [u8; 6],
}

static NOISE: StaticCell<TrngSource<'static>> = StaticCell::new();

/// Starts the controller, and the analogue converter as a source of noise. There is neither a radio
/// nor a password.
pub(super) fn start(spawner: Spawner, parts: Parts, _: Access<'_>) -> Result<Driver, NoNetwork> {
    NOISE.try_init(TrngSource::new(parts.rng, parts.adc)).ok_or(NoNetwork)?;
    let mut address = [0; 6];
    address.copy_from_slice(efuse::base_mac_address().as_bytes());
    let (sender, receiver) = hardware::start_ethernet(address).ok_or(NoNetwork)?;
    spawner.spawn(look_for_frames().map_err(|_| NoNetwork)?);
    Ok(Driver { sender, receiver, address })
}

/// Lets the network stack look for frames.
#[embassy_executor::task]
async fn look_for_frames() {
    let mut ticker = Ticker::every(POLL_EVERY);
    loop {
        ticker.next().await;
        WAKER.wake();
    }
}

/// The frame that came first.
pub(super) struct Received<'a>(&'a mut Receiver);

/// Room for a frame.
pub(super) struct Room<'a>(&'a mut Sender);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, look: F) -> R {
        self.0.receive(look)
    }
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, make: F) -> R {
        self.0.send(length, make)
    }
}

impl embassy_net_driver::Driver for Driver {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Received<'_>, Room<'_>)> {
        WAKER.register(cx.waker());
        let ready = self.receiver.has_frame() && self.sender.has_room();
        ready.then_some((Received(&mut self.receiver), Room(&mut self.sender)))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Room<'_>> {
        WAKER.register(cx.waker());
        self.sender.has_room().then_some(Room(&mut self.sender))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = MTU_BYTES;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}
