//! The first statement of `main` (D20): watchdog, boot counter, and the way back for an image that
//! was started too often.

use alloc::vec;

use embassy_executor::Spawner;
use embassy_time::{Duration as Ticks, Ticker};
use esp_hal::efuse;
use esp_hal::peripherals::{ADC1, FROM_CPU_INTR0, RNG, TIMG0, TSENS, WIFI};
use esp_hal::rtc_cntl::{Rtc, RwdtStage};
use waxwing_agent::guard::Guarded;
use waxwing_agent::policy::Policy;
use waxwing_agent::ports::{ResetReason, Slot};
use waxwing_agent_flash::{BootPort, JournalPort, Layout, LayoutError, Region, Started};
use waxwing_esp_image::Flash as _;
use waxwing_esp_image::partition::{TABLE_AT, TABLE_BYTES, Table, TableError};
use waxwing_wire::Provision;
use waxwing_wire::provision::{self, HEADER_BYTES, InvalidProvision};

use crate::flash::FlashChip;
use crate::hardware;
use crate::memory::Memory;
use crate::reset::{self, ResetLine};

/// How long the executor may be stuck until the chip restarts. A sector is erased in a tenth of a
/// second; the longest computation, a handshake, takes one.
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

/// Restarts the chip when the executor is stuck.
pub struct Watchdog(Rtc<'static>);

/// Flash, as far as it is the agent's.
pub struct Storage {
    pub(crate) flash: FlashChip,
    pub(crate) layout: Layout,
    pub(crate) running: Slot,
    pub(crate) boot: BootPort<FlashChip, ResetLine>,
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
pub fn guard(policy: &Policy, spare: Option<&str>) -> Chip {
    let peripherals = esp_hal::init(esp_hal::Config::default());
    let mut rtc = Rtc::new(peripherals.RTC_TIMER);
    rtc.rwdt.enable();
    rtc.rwdt.set_timeout(RwdtStage::Stage0, WATCHDOG);
    Memory::watch();
    esp_alloc::heap_allocator!(#[esp_hal::ram(reclaimed)] size: RECLAIMED_HEAP_BYTES);
    esp_alloc::heap_allocator!(size: HEAP_BYTES);
    let reset = reset::reason();
    Chip {
        storage: Storage::open(FlashChip::new(peripherals.FLASH), reset, policy, spare),
        reset,
        starts: reset::count_start(reset),
        timer: peripherals.TIMG0,
        interrupt: peripherals.FROM_CPU_INTR0,
        radio: peripherals.WIFI,
        thermometer: peripherals.TSENS,
        rng: peripherals.RNG,
        adc: peripherals.ADC1,
        watchdog: Watchdog(rtc),
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
        if let Ok(task) = feed(self.0) {
            spawner.spawn(task);
        }
    }
}

#[embassy_executor::task]
async fn feed(mut rtc: Rtc<'static>) {
    let mut ticker = Ticker::every(FEED_EVERY);
    loop {
        rtc.rwdt.feed();
        ticker.next().await;
    }
}

impl Storage {
    fn open(
        mut flash: FlashChip,
        reset: ResetReason,
        policy: &Policy,
        spare: Option<&str>,
    ) -> Result<Self, Unusable> {
        let mut table = vec![0; TABLE_BYTES];
        flash.read(TABLE_AT, &mut table).map_err(|_| Unusable::Flash)?;
        let table = Table::parse(&table).map_err(Unusable::Table)?;
        let layout = Layout::of(table, spare).map_err(Unusable::Layout)?;
        let running = layout.slot_at(hardware::running_image_at()).ok_or(Unusable::NoSlot)?;
        let secure_version = efuse::read_field_le::<u16>(efuse::SECURE_VERSION).count_ones();
        let otadata = Region::new(flash.clone(), layout.otadata());
        let started = Started { running, reset, secure_version };
        let mut boot = BootPort::new(otadata, layout.slots(), started, ResetLine);
        let journal = JournalPort::new(Region::new(flash.clone(), layout.journal()));
        let guarded = waxwing_agent::guard::guard(&mut boot, journal, policy);
        // Not reached without: `guard` has restarted the chip.
        let journal = guarded.ok_or(Unusable::NoSlot)?;
        Ok(Self { flash, layout, running, boot, journal })
    }

    /// Reads what was written into this device when it was made.
    ///
    /// # Errors
    ///
    /// [`InvalidProvision`] when nothing was, or it is damaged.
    pub fn provision(&self) -> Result<Provision, InvalidProvision> {
        let mut region = Region::new(self.flash.clone(), self.layout.credentials());
        let mut header = [0; HEADER_BYTES];
        region.read(0, &mut header).map_err(|_| InvalidProvision::Length)?;
        let mut bytes = vec![0; provision::encoded_bytes(&header)?];
        region.read(0, &mut bytes).map_err(|_| InvalidProvision::Length)?;
        Provision::decode(&bytes)
    }
}
