//! The smallest product that is kept up to date.
#![no_std]
#![no_main]

use core::panic::PanicInfo;

use embassy_executor::Spawner;
use esp_hal::timer::timg::TimerGroup;
use waxwing_agent::policy::Policy;
use waxwing_agent::ports::{AppHooks, Deferrals, Health, Permission, SelfTest};
use waxwing_esp32::network::{self, Access, Parts};
use waxwing_esp32::{Noise, Product, Sockets, Storage, Updater, crash, guard};

esp_bootloader_esp_idf::esp_app_desc!();

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    crash() // restarts, and remembers why
}

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    // First of all: watchdog, boot counter, and the way back for an image that crashes.
    let chip = guard(Policy::DEVICE, None);
    esp_rtos::start(TimerGroup::new(chip.timer).timer0, chip.interrupt);
    chip.watchdog.feed_while_running(spawner);
    if let Ok(task) = work() {
        spawner.spawn(task);
    }
    let parts = Parts { radio: chip.radio, rng: chip.rng, adc: chip.adc };
    if let Ok(storage) = chip.storage {
        stay_up_to_date(spawner, storage, parts).await;
    }
    // No updates: no partitions, credentials or radio. The product works all the same.
}

/// Your product.
#[embassy_executor::task]
async fn work() {}

async fn stay_up_to_date(spawner: Spawner, storage: Storage, parts: Parts) -> Option<()> {
    let provision = storage.provision().ok()?;
    let wifi = provision.wifi.as_ref()?;
    let access = Access { ssid: &wifi.ssid, password: wifi.password.expose() };
    let stack = network::start(spawner, parts, access).ok()?;
    let sockets = Sockets::new(stack, Noise::new()?)?;
    let product = Product {
        release: env!("CARGO_PKG_VERSION").parse().ok()?, // as in the image and the signed release
        security_version: 1,                              // raised after each security fix
        project: Some(env!("CARGO_PKG_NAME").into()),     // no other product's image
    };
    let updater = Updater::start(storage, &provision, sockets, App, product).await.ok()?;
    updater.run(|_agent, _turn| {}).await;
    Some(())
}

/// Your say in updates.
struct App;

impl AppHooks for App {
    fn may_download(&mut self) -> Permission {
        Permission::Now // or later, or never: this release is skipped
    }

    fn may_reboot(&mut self, _user: Deferrals) -> Permission {
        Permission::Now // or later; or the user puts it off, as far as the rollout allows
    }

    fn self_test(&mut self) -> SelfTest {
        SelfTest::Passed // when sensors and actuators work
    }

    fn health(&mut self) -> Health {
        Health::Good // asked while a new image is being watched
    }
}
