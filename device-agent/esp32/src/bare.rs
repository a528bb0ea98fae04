//! The same product without an agent: it measures, and sends what it measures in plain text. What an
//! agent costs is the difference.
#![no_std]
#![no_main]

extern crate alloc;

mod sensor;

use alloc::format;
use core::panic::PanicInfo;

use embassy_executor::Spawner;
use embassy_time::Timer;
use embedded_io_async::Write as _;
use esp_hal::timer::timg::TimerGroup;
use esp_println::println;
use waxwing_esp32::network::tcp::Tcp;
use waxwing_esp32::{Memory, network};

use sensor::Thermometer;

esp_bootloader_esp_idf::esp_app_desc!();

/// Who takes the readings.
const COLLECTOR: (&str, u16) = ("localhost", 9);
/// How often one is sent.
const SEND_EVERY_S: u64 = 5;
/// Heap in memory that the boot loader used, and beyond that: as much as the product has with an
/// agent.
const RECLAIMED_HEAP_BYTES: usize = 64 * 1024;
const HEAP_BYTES: usize = if cfg!(feature = "wifi") { 72 * 1024 } else { 24 * 1024 };

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    esp_hal::system::software_reset()
}

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    let chip = esp_hal::init(esp_hal::Config::default());
    Memory::watch();
    esp_alloc::heap_allocator!(#[esp_hal::ram(reclaimed)] size: RECLAIMED_HEAP_BYTES);
    esp_alloc::heap_allocator!(size: HEAP_BYTES);
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);
    let parts = network::Parts { radio: chip.WIFI, rng: chip.RNG, adc: chip.ADC1 };
    let access = network::Access { ssid: "waxwing", password: "waxwing-test" };
    let stack = network::start(spawner, parts, access);
    let Some(tcp) = stack.ok().and_then(Tcp::new) else { panic!("network does not start") };
    let thermometer = Thermometer::start(chip.TSENS);
    loop {
        let temperature = thermometer.as_ref().map(Thermometer::measure);
        let temperature = temperature.filter(|it| it.is_plausible());
        let reading = temperature.map_or("null".into(), |tenths| format!("{tenths}"));
        let is_sent = send(&tcp, &reading).await;
        println!("{reading} degrees, sent: {is_sent}; {}", Memory::now());
        Timer::after_secs(SEND_EVERY_S).await;
    }
}

async fn send(tcp: &Tcp, reading: &str) -> bool {
    let (host, port) = COLLECTOR;
    let Ok(mut connection) = tcp.connect(host, port).await else { return false };
    connection.write_all(reading.as_bytes()).await.is_ok() && connection.flush().await.is_ok()
}
