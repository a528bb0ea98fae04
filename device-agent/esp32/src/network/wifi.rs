//! Wi-Fi as a station, connected again whenever the connection is lost.

use embassy_executor::Spawner;
use embassy_time::{Duration, Timer};
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{
    AuthenticationMethodConfig, Config, ControllerConfig, Interface, WifiController,
};

use super::{Access, NoNetwork, Parts};

/// The driver.
pub(super) type Driver = Interface;

/// How long to wait after a failed attempt: an access point that restarts takes longer.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Starts the radio. From here on it is a true source of randomness, too.
pub(super) fn start(
    spawner: Spawner,
    parts: Parts,
    access: Access<'_>,
) -> Result<Driver, NoNetwork> {
    let authentication = if access.password.is_empty() {
        AuthenticationMethodConfig::Open
    } else {
        let password = access.password.try_into().map_err(|_| NoNetwork)?;
        AuthenticationMethodConfig::Wpa2Personal(password)
    };
    let station = StationConfig::default()
        .with_ssid(access.ssid.try_into().map_err(|_| NoNetwork)?)
        .with_authentication(authentication);
    let mut controller =
        WifiController::new(parts.radio, ControllerConfig::default()).map_err(|_| NoNetwork)?;
    controller.set_config(&Config::Station(station)).map_err(|_| NoNetwork)?;
    let interface = Interface::try_station().ok_or(NoNetwork)?;
    spawner.spawn(stay_connected(controller).map_err(|_| NoNetwork)?);
    Ok(interface)
}

#[embassy_executor::task]
async fn stay_connected(mut controller: WifiController<'static>) {
    loop {
        if controller.connect_async().await.is_ok() {
            let _ = controller.wait_for_disconnect_async().await;
        }
        Timer::after(TRY_AGAIN_AFTER).await;
    }
}
