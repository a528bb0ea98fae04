//! A product that is kept up to date: a thermometer which sends what it measures.
//!
//! This is all that a product's own firmware needs besides its own work.
#![no_std]
#![no_main]

extern crate alloc;

mod sensor;

use alloc::boxed::Box;
use alloc::format;
use core::panic::PanicInfo;
use core::pin::Pin;
use core::time::Duration;

use embassy_executor::Spawner;
use embassy_futures::select::select;
use embassy_time::Timer;
use esp_hal::timer::timg::TimerGroup;
use esp_println::println;
use waxwing_agent::Action;
use waxwing_agent::found::Found;
use waxwing_agent::policy::Policy;
use waxwing_agent::ports::{AppHooks, Deferrals, Health, Permission, ResetReason, SelfTest};
use waxwing_esp32::{
    Memory, Noise, Product, Sockets, Storage, Telemetry, Unusable, Updater, network,
};
use waxwing_wire::Provision;

use sensor::{Tenths, Thermometer};

esp_bootloader_esp_idf::esp_app_desc!();

/// Raised after a security fix: no release with a lower one runs on a device that ran this.
const SECURITY_VERSION: u32 = 1;
/// How often the temperature is sent unless the settings of the device say otherwise.
const SEND_EVERY_S: u64 = 300;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    waxwing_esp32::crash()
}

/// Work with a place of its own on the heap, and on the stack only while it is done.
type Work = Pin<Box<dyn Future<Output = ()>>>;

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    let chip = waxwing_esp32::guard(Policy::DEVICE, None);
    esp_rtos::start(TimerGroup::new(chip.timer).timer0, chip.interrupt);
    chip.watchdog.feed_while_running(spawner);
    println!("waxwing-esp32 {}, start {}, {:?}", release(), chip.starts, chip.reset);
    let behaviour = Behaviour::of_this_release();
    behaviour.may_crash_early();
    let beginning = Beginning {
        behaviour,
        thermometer: Thermometer::start(chip.thermometer),
        parts: network::Parts { radio: chip.radio, rng: chip.rng, adc: chip.adc },
        starts: chip.starts,
        reset: chip.reset,
    };
    let start: Pin<Box<dyn Future<Output = Work>>> =
        Box::pin(start(spawner, chip.storage, beginning));
    let work = start.await;
    work.await;
}

/// What there is besides storage when the product starts.
struct Beginning {
    behaviour: Behaviour,
    thermometer: Option<Thermometer>,
    parts: network::Parts,
    starts: u32,
    reset: ResetReason,
}

/// Starts what can be started, and returns what the product then does.
async fn start(spawner: Spawner, storage: Result<Storage, Unusable>, beginning: Beginning) -> Work {
    let Beginning { behaviour, thermometer, parts, starts, reset } = beginning;
    let (mut storage, provision) = match ready(storage) {
        Ok(ready) => ready,
        Err(why) => {
            println!("no updates: {why}");
            return Box::pin(measure_only(thermometer));
        }
    };
    let Some(sockets) = connect(spawner, parts, &provision) else {
        println!("network does not start");
        // The product works meanwhile. A radio that hangs may be mended by a restart.
        let wait = storage.policy.back_off(starts, 0);
        return Box::pin(async move {
            select(measure_only(thermometer), sleep(wait)).await;
            waxwing_esp32::crash()
        });
    };
    let settings = Settings::of(&provision, storage.policy);
    storage.policy = settings.policy;
    let product = Product {
        release: release().parse().unwrap_or(semver::Version::new(0, 0, 0)),
        security_version: SECURITY_VERSION,
        project: None,
    };
    let app = App { behaviour, works: thermometer.is_some() };
    match Updater::start(storage, &provision, sockets, app, product).await {
        Ok(updater) => {
            let (boots, found) = (updater.boots(), updater.found());
            let status = Status { starts, boots, reset, found };
            work(updater, thermometer, status, settings.send_every_s)
        }
        Err(why) => {
            println!("no updates: {why:?}");
            Box::pin(measure_only(thermometer))
        }
    }
}

/// Measures, sends, and is kept up to date meanwhile.
fn work(
    updater: Updater<App>,
    thermometer: Option<Thermometer>,
    status: Status,
    send_every_s: u64,
) -> Work {
    let readings: Work = Box::pin(send(updater.telemetry(), thermometer, status, send_every_s));
    let run = updater.run(|agent, turn| {
        println!("{} {:?} {:?}", agent.state_name(), turn.action, turn.failed);
        if matches!(turn.action, Action::Activate { .. } | Action::CheckHealth) {
            println!("memory: {}", Memory::now());
        }
    });
    Box::pin(async {
        select(run, readings).await;
    })
}

#[inline(never)]
fn connect(spawner: Spawner, parts: network::Parts, provision: &Provision) -> Option<Sockets> {
    let wifi = provision.wifi.as_ref();
    let access = network::Access {
        ssid: wifi.map_or("", |wifi| &wifi.ssid),
        password: wifi.map_or("", |wifi| wifi.password.expose()),
    };
    let stack = network::start(spawner, parts, access).ok()?;
    Sockets::new(stack, Noise::new()?)
}

#[inline(never)]
fn ready(
    storage: Result<Storage, Unusable>,
) -> Result<(Storage, Provision), alloc::string::String> {
    let storage = storage.map_err(|why| format!("{why:?}"))?;
    let provision = storage.provision().map_err(|why| format!("{why}"))?;
    Ok((storage, provision))
}

/// The version in the image's descriptor. The compiler is kept from knowing it: what is in flash
/// counts.
fn release() -> &'static str {
    core::hint::black_box(&ESP_APP_DESC).version()
}

/// The product's say in updates.
struct App {
    behaviour: Behaviour,
    works: bool,
}

impl AppHooks for App {
    fn may_download(&mut self) -> Permission {
        Permission::Now
    }

    fn may_reboot(&mut self, _: Deferrals) -> Permission {
        Permission::Now
    }

    fn self_test(&mut self) -> SelfTest {
        match self.behaviour {
            Behaviour::Crashes => panic!("this release crashes in its self-test"),
            Behaviour::FailsItsSelfTest => SelfTest::Failed(1),
            Behaviour::Hangs => loop {
                core::hint::spin_loop();
            },
            Behaviour::CrashesEarly | Behaviour::FallsIll | Behaviour::Works if !self.works => {
                SelfTest::Failed(2)
            }
            Behaviour::CrashesEarly | Behaviour::FallsIll | Behaviour::Works => SelfTest::Passed,
        }
    }

    fn health(&mut self) -> Health {
        if self.behaviour == Behaviour::FallsIll { Health::Bad(3) } else { Health::Good }
    }
}

/// What this release does wrong. Releases to test the way back with are made of a good one by
/// changing the mark in its image.
#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    Crashes,
    CrashesEarly,
    FailsItsSelfTest,
    FallsIll,
    Hangs,
    Works,
}

static BEHAVIOUR: [u8; 32] = *b"waxwing-app:works              \0";

impl Behaviour {
    fn of_this_release() -> Self {
        let mark = core::hint::black_box(&BEHAVIOUR);
        let word = mark.strip_prefix(b"waxwing-app:").unwrap_or_default();
        match word.trim_ascii_end().strip_suffix(b"\0").unwrap_or(word).trim_ascii_end() {
            b"crash" => Self::Crashes,
            b"crash-early" => Self::CrashesEarly,
            b"fail" => Self::FailsItsSelfTest,
            b"hang" => Self::Hangs,
            b"ill" => Self::FallsIll,
            _ => Self::Works,
        }
    }

    fn may_crash_early(self) {
        assert!(self != Self::CrashesEarly, "this release crashes before its agent starts");
    }
}

/// What was set for this device when it was made, as lines `name=value`.
struct Settings {
    policy: Policy,
    send_every_s: u64,
}

impl Settings {
    fn of(provision: &Provision, device: Policy) -> Self {
        let text = core::str::from_utf8(&provision.settings).unwrap_or_default();
        let number = |name: &str| {
            let value = |line: &str| line.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
            text.lines().find_map(value)
        };
        let seconds = |name, default| number(name).map_or(default, Duration::from_secs);
        let policy = Policy {
            poll_min: seconds("poll_min_s", device.poll_min),
            poll_max: seconds("poll_max_s", device.poll_max),
            back_off_min: seconds("back_off_min_s", device.back_off_min),
            no_contact_max: seconds("no_contact_max_s", device.no_contact_max),
            ..device
        };
        Self { policy, send_every_s: number("send_every_s").unwrap_or(SEND_EVERY_S) }
    }
}

/// How this start came about, and what it found.
#[derive(Clone, Copy)]
struct Status {
    starts: u32,
    boots: Option<u32>,
    reset: ResetReason,
    found: Found,
}

/// Sends the temperature and the state of health, for ever.
async fn send(
    mut telemetry: Telemetry,
    thermometer: Option<Thermometer>,
    status: Status,
    every_s: u64,
) {
    loop {
        let memory = Memory::now();
        println!("memory: {memory}");
        if let Some(measured_at) = telemetry.unix_s() {
            let temperature = thermometer.as_ref().map(Thermometer::measure);
            telemetry.send(&reading(temperature, status, memory, measured_at));
        }
        Timer::after_secs(every_s).await;
    }
}

fn reading(
    temperature: Option<Tenths>,
    status: Status,
    memory: Memory,
    measured_at: u64,
) -> alloc::string::String {
    let Status { starts, boots, reset, found } = status;
    let temperature = temperature.filter(|it| it.is_plausible());
    let temperature = temperature.map_or("null".into(), |tenths| format!("{tenths}"));
    let boots = boots.map_or("null".into(), |boots| format!("{boots}"));
    let (heap_low, stack_low) = (memory.heap_low(), memory.stack_low());
    format!(
        "{{\"measured_at\":{measured_at},\"temperature_c\":{temperature},\"heap_low\":{heap_low},\
         \"stack_low\":{stack_low},\"starts\":{starts},\"boots\":{boots},\"reset\":\"{reset:?}\",\
         {found}}}"
    )
}

async fn sleep(wait: Duration) {
    Timer::after_secs(wait.as_secs()).await;
}

/// What is left of the product when it cannot be updated.
async fn measure_only(thermometer: Option<Thermometer>) {
    loop {
        if let Some(thermometer) = &thermometer {
            println!("{} degrees", thermometer.measure());
        }
        Timer::after_secs(SEND_EVERY_S).await;
    }
}
