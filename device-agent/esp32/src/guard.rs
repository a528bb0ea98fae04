//! The first statement of `main` (D20): watchdog, boot counter, and the way back for an image that
//! was started too often, or whose agent does not start.

use alloc::boxed::Box;
use alloc::vec;
use core::time::Duration;

use embassy_executor::Spawner;
use embassy_time::{Duration as Ticks, Ticker};
use esp_hal::efuse;
use esp_hal::peripherals::{ADC1, FROM_CPU_INTR0, RNG, TIMG0, TSENS, WIFI};
use esp_hal::rtc_cntl::{Rtc, RwdtStage};
use waxwing_agent::guard::{Guarded, give_up_trial, trial_max};
use waxwing_agent::network::Clock as _;
use waxwing_agent::policy::Policy;
use waxwing_agent::ports::{ResetReason, Slot};
use waxwing_agent_flash::start::{self, Begun, NotBegun};
use waxwing_agent_flash::{BootPort, JournalPort, Layout, LayoutError, Region, Started};
use waxwing_esp_image::Flash as _;
use waxwing_esp_image::partition::{Kind, TABLE_AT, TABLE_BYTES, Table, TableError};
use waxwing_wire::Provision;
use waxwing_wire::provision::{self, HEADER_BYTES, InvalidProvision};

use crate::clock::Uptime;
use crate::flash::FlashChip;
use crate::hardware;
use crate::memory::Memory;
use crate::reset::{self, ResetLine};

/// How long the executor may be stuck until the chip restarts. A sector is erased in a tenth of a
/// second; the longest computation, a handshake or a root of eight keys, takes one or two.
const WATCHDOG: esp_hal::time::Duration = esp_hal::time::Duration::from_secs(20);
/// How often the watchdog is told that the executor is not stuck.
const FEED_EVERY: Ticks = Ticks::from_secs(4);

/// The chip, as the application gets it.
pub struct Chip {
    /// What the agent lives in; the product runs without updates if there is none.
    pub storage: Result<Storage, Unusable>,
    /// Why the chip restarted.
    pub reset: ResetReason,
    /// How often it started since the power came.
    pub starts: u32,
    /// For `esp_rtos::start`.
    pub timer: TIMG0<'static>,
    /// For `esp_rtos::start`.
    pub interrupt: FROM_CPU_INTR0<'static>,
    /// The radio.
    pub radio: WIFI<'static>,
    /// The temperature sensor.
    pub thermometer: TSENS<'static>,
    /// The random number generator.
    pub rng: RNG<'static>,
    /// What makes it a true one while the radio is off.
    pub adc: ADC1<'static>,
    /// The watchdog, running.
    pub watchdog: Watchdog,
}

/// Restarts the chip when the executor is stuck, or when an image has been on trial for too long.
pub struct Watchdog {
    rtc: Rtc<'static>,
    trial: Option<Trial>,
}

/// What becomes of an image that nobody confirms.
struct Trial {
    boot: Boot,
    until: Duration,
}

type Boot = BootPort<FlashChip, ResetLine>;

/// Flash, as far as it is the agent's.
pub struct Storage {
    // From the heap: it is handed on by value, and every copy would be on the stack.
    pub(crate) parts: Box<Parts>,
    /// As given to [`guard`]. What has nothing to do with a boot, such as how often to poll, a product
    /// may still change.
    pub policy: Policy,
}

/// What of flash is whose.
pub(crate) struct Parts {
    pub(crate) flash: FlashChip,
    pub(crate) layout: Layout,
    pub(crate) running: Slot,
    pub(crate) boot: Boot,
    pub(crate) journal: Guarded<JournalPort<FlashChip>>,
}

/// Why this chip cannot be updated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unusable {
    /// Flash cannot be read.
    Flash,
    /// The partition table lacks something.
    Layout(LayoutError),
    /// The running image is in no slot.
    NoSlot,
    /// The partition table is damaged.
    Table(TableError),
}

/// Starts the chip and its watchdog, counts this boot, and restarts into the other image if this
/// one was started too often. Nothing of the application runs before it.
///
/// `spare` is the label of a data partition that a device made without partitions for the agent
/// gives up: see [`waxwing_agent_flash::layout`].
pub fn guard(policy: Policy, spare: Option<&str>) -> Chip {
    let peripherals = esp_hal::init(esp_hal::Config::default());
    let mut rtc = Rtc::new(peripherals.RTC_TIMER);
    rtc.rwdt.enable();
    rtc.rwdt.set_timeout(RwdtStage::Stage0, WATCHDOG);
    Memory::watch();
    esp_alloc::heap_allocator!(#[esp_hal::ram(reclaimed)] size: RECLAIMED_HEAP_BYTES);
    esp_alloc::heap_allocator!(size: HEAP_BYTES);
    let reset = reset::reason();
    let mut flash = FlashChip::new(peripherals.FLASH);
    let mut table = vec![0; TABLE_BYTES];
    let table = read_table(&mut flash, &mut table);
    // Without the rest of what an agent needs, an image on trial is still given up.
    let boot = table.and_then(|table| boot_port(&flash, table, reset));
    let trial = boot.clone().ok().map(|boot| Trial { boot, until: trial_max(&policy) });
    Chip {
        storage: boot.and_then(|boot| Storage::open(flash, table?, boot, policy, spare)),
        reset,
        starts: reset::count_start(reset),
        timer: peripherals.TIMG0,
        interrupt: peripherals.FROM_CPU_INTR0,
        radio: peripherals.WIFI,
        thermometer: peripherals.TSENS,
        rng: peripherals.RNG,
        adc: peripherals.ADC1,
        watchdog: Watchdog { rtc, trial },
    }
}

/// Heap in memory that the boot loader used.
const RECLAIMED_HEAP_BYTES: usize = 64 * 1024;
/// Heap beyond that: the radio's buffers, or nothing but the agent's where there is none.
const HEAP_BYTES: usize = if cfg!(feature = "wifi") { 72 * 1024 } else { 24 * 1024 };

impl Watchdog {
    /// Keeps the watchdog quiet for as long as the executor runs. Without this call the chip
    /// restarts.
    pub fn feed_while_running(self, spawner: Spawner) {
        if let Ok(task) = feed(self) {
            spawner.spawn(task);
        }
    }
}

#[embassy_executor::task]
async fn feed(mut watchdog: Watchdog) {
    let mut ticker = Ticker::every(FEED_EVERY);
    loop {
        watchdog.rtc.rwdt.feed();
        if let Some(mut trial) = watchdog.trial.take_if(|trial| Uptime.now() >= trial.until) {
            give_up_trial(&mut trial.boot);
        }
        ticker.next().await;
    }
}

fn read_table<'t>(flash: &mut FlashChip, bytes: &'t mut [u8]) -> Result<Table<'t>, Unusable> {
    flash.read(TABLE_AT, bytes).map_err(|_| Unusable::Flash)?;
    Table::parse(bytes).map_err(Unusable::Table)
}

/// Opens the boot records, whatever else the device has.
fn boot_port(flash: &FlashChip, table: Table<'_>, reset: ResetReason) -> Result<Boot, Unusable> {
    let otadata = table.find(Kind::OtaData).ok_or(Unusable::Layout(LayoutError::NoOtaData))?;
    let slots = table.layout().ok_or(Unusable::Layout(LayoutError::NoSecondSlot))?;
    let at = hardware::running_image_at();
    let running = table.partitions().find_map(|partition| match partition.kind {
        Kind::Factory if partition.offset == at => Some(Slot::Factory),
        Kind::Ota(index) if partition.offset == at => Some(Slot::Ota(index)),
        Kind::Factory
        | Kind::Nvs
        | Kind::Ota(_)
        | Kind::OtaData
        | Kind::Other(..)
        | Kind::Phy
        | Kind::Test => None,
    });
    let secure_version = efuse::read_field_le::<u16>(efuse::SECURE_VERSION).count_ones();
    let started = Started { running: running.ok_or(Unusable::NoSlot)?, reset, secure_version };
    Ok(BootPort::new(Region::new(flash.clone(), &otadata), slots, started, ResetLine))
}

impl Storage {
    #[inline(never)]
    fn open(
        flash: FlashChip,
        table: Table<'_>,
        mut boot: Boot,
        policy: Policy,
        spare: Option<&str>,
    ) -> Result<Self, Unusable> {
        let begun = start::begin(&flash, table, spare, &mut boot, &policy);
        let Begun { layout, journal } = begun.map_err(|why| match why {
            NotBegun::Layout(error) => Unusable::Layout(error),
            // Not reached: the chip has restarted.
            NotBegun::Restarting => Unusable::NoSlot,
        })?;
        let running = layout.slot_at(hardware::running_image_at()).ok_or(Unusable::NoSlot)?;
        let parts = Parts { flash, layout, running, boot, journal };
        Ok(Self { parts: Box::new(parts), policy })
    }

    /// Reads what was written into this device when it was made.
    ///
    /// # Errors
    ///
    /// [`InvalidProvision`] when nothing was, or it is damaged.
    pub fn provision(&self) -> Result<Provision, InvalidProvision> {
        let mut region = Region::new(self.parts.flash.clone(), self.parts.layout.credentials());
        let mut header = [0; HEADER_BYTES];
        region.read(0, &mut header).map_err(|_| InvalidProvision::Length)?;
        let mut bytes = vec![0; provision::encoded_bytes(&header)?];
        region.read(0, &mut bytes).map_err(|_| InvalidProvision::Length)?;
        Provision::decode(&bytes)
    }
}
