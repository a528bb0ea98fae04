//! The network below the agent: Wi-Fi, or the Ethernet of emulated chips. Above it, both are the
//! same TCP/IP stack.
//!
//! Not here: TLS, HTTP, MQTT.

#[cfg(feature = "ethernet")]
mod ethernet;
pub mod tcp;
#[cfg(feature = "wifi")]
mod wifi;

#[cfg(all(feature = "ethernet", feature = "wifi"))]
compile_error!("choose one network: --no-default-features --features ethernet, or wifi");
#[cfg(not(any(feature = "ethernet", feature = "wifi")))]
compile_error!("choose a network: --features wifi, or ethernet");

use embassy_executor::Spawner;
use embassy_net::{Config, DhcpConfig, Runner, Stack, StackResources};
use esp_hal::peripherals::{ADC1, RNG, WIFI};
use esp_hal::rng::Rng;
use static_cell::ConstStaticCell;

#[cfg(feature = "ethernet")]
use ethernet as driver;
#[cfg(feature = "wifi")]
use wifi as driver;

/// Sockets at one time: DHCP, DNS, a request, the connection for messages, and one to spare.
const SOCKETS: usize = 5;

static RESOURCES: ConstStaticCell<StackResources<SOCKETS>> =
    ConstStaticCell::new(StackResources::new());

/// What a network is made of. From when it is started on, random numbers are true ones: by the noise
/// of the radio, or of the analogue converter where there is no radio.
pub struct Parts {
    /// The radio.
    pub radio: WIFI<'static>,
    /// The random number generator.
    pub rng: RNG<'static>,
    /// The analogue converter.
    pub adc: ADC1<'static>,
}

/// How to get into the network.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// Name of the Wi-Fi network.
    pub ssid: &'a str,
    /// Its password; empty when it is open.
    pub password: &'a str,
}

/// The network cannot be started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoNetwork;

/// Starts the network and returns its stack, which gets its address by DHCP. To be called once.
///
/// # Errors
///
/// [`NoNetwork`] when the hardware does not start, or the names are too long for it.
#[inline(never)]
pub fn start(
    spawner: Spawner,
    parts: Parts,
    access: Access<'_>,
) -> Result<Stack<'static>, NoNetwork> {
    let driver = driver::start(spawner, parts, access)?;
    let resources = RESOURCES.try_take().ok_or(NoNetwork)?;
    // Only local ports and sequence numbers come from it.
    let random = Rng::new();
    let seed = u64::from(random.random()) << 32 | u64::from(random.random());
    let config = Config::dhcpv4(DhcpConfig::default());
    let (stack, runner) = embassy_net::new(driver, config, resources, seed);
    spawner.spawn(run(runner).map_err(|_| NoNetwork)?);
    Ok(stack)
}

#[embassy_executor::task]
async fn run(mut runner: Runner<'static, driver::Driver>) {
    runner.run().await;
}
