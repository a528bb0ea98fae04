//! The same product without an agent: what an agent costs is the difference.
#![no_std]
#![no_main]

mod sensor;

use core::panic::PanicInfo;

use embassy_executor::Spawner;
use embassy_time::Timer;
use esp_hal::timer::timg::TimerGroup;
use esp_println::println;
use waxwing_esp32::network;

use sensor::Thermometer;

esp_bootloader_esp_idf::esp_app_desc!();

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    esp_hal::system::software_reset()
}

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    let chip = esp_hal::init(esp_hal::Config::default());
    esp_alloc::heap_allocator!(#[esp_hal::ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 72 * 1024);
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);
    let parts = network::Parts { radio: chip.WIFI, rng: chip.RNG, adc: chip.ADC1 };
    let access = network::Access { ssid: "waxwing", password: "waxwing-test" };
    let Ok(stack) = network::start(spawner, parts, access) else { panic!("no network") };
    stack.wait_config_up().await;
    println!("{:?}", stack.config_v4());
    let thermometer = Thermometer::start(chip.TSENS);
    loop {
        if let Some(temperature) = thermometer.as_ref().map(Thermometer::measure) {
            println!("{temperature} degrees, plausible: {}", temperature.is_plausible());
        }
        Timer::after_secs(60).await;
    }
}
