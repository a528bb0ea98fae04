//! A device whose chip is emulated: Espressif's boot loader and our firmware, as they are built for
//! a real one, in the model of `tests/emulator`, which runs as a process.
//!
//! Everything is seen from outside: the serial line, and what is in flash. Not here: what a device
//! should do, see [`crate::story`].

mod release;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use waxwing_esp_image::App;
use waxwing_esp_image::partition::{TABLE_AT, Table};

pub use self::release::{Mark, PROJECT, firmware};
use crate::ceremony::{CHANNEL, PRODUCT};
use crate::process::{Line, Process, run};
use crate::program::{Program, beside};
use crate::server::{Listener, Server};
use crate::world::World;

/// The emulator, in the folder that Cargo builds into.
pub(crate) const EMULATOR: &str = "emulator/release/waxwing-emulator";
/// The flash of a new device, without credentials.
const FLASH: &str = "firmware/flash-ethernet.bin";

/// What the boot loader says before the offset of the slot that it starts.
pub const LOADED: &str = "Loaded app from partition at offset 0x";
/// What the firmware says first.
const HELLO: &str = "waxwing-esp32 ";

/// More starts than this in one session are a device that does not come to rest: an update with its
/// trial takes two, the way back two more, and each repair of a power cut one.
const RESETS_MAX: &str = "10";
/// Chip time after which a session ends, in seconds: longer than each deadline of the device.
const VIRTUAL_S_MAX: &str = "7200";
/// Exit code of the emulator after the planned power cut.
const POWER_CUT: i32 = 3;

/// What the application does: it answers at once, so that an emulated hour is not spent on polls
/// that nothing depends on, and sends its readings by message.
const SETTINGS: &str =
    "poll_min_s=20\npoll_max_s=30\nback_off_min_s=1\nno_contact_max_s=120\nsend_every_s=20\n";

/// A power cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Cut {
    /// The flash operation since power-on, from 1.
    pub at: u64,
    /// When during it.
    pub tear: Tear,
}

/// When during a flash operation the power goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tear {
    /// It is complete.
    After,
    /// It has not begun.
    Before,
    /// It is half done.
    Torn,
}

impl Tear {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::After, Self::Before, Self::Torn];

    const fn word(self) -> &'static str {
        match self {
            Self::After => "after",
            Self::Before => "before",
            Self::Torn => "torn",
        }
    }
}

/// A start of the firmware.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Start {
    /// Where the slot is, in bytes.
    pub slot: u32,
    /// SHA-256 of the image in it, as flash holds it.
    pub sha256: String,
    /// What the firmware said of itself: release, starts since power-on, reason of the reset.
    pub hello: String,
}

/// A device, off.
#[derive(Debug)]
pub struct Chip {
    folder: PathBuf,
    name: String,
    hosts: Vec<String>,
    seed: u64,
}

impl Chip {
    /// Makes a device that was never on: registered, with its credentials and a one-time token.
    ///
    /// # Errors
    ///
    /// Fails when a program refuses a step, or the firmware was not built.
    pub fn make(world: &World, folder: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let token = world.register(name)?;
        fs::write(folder.join("token"), token)?;
        fs::write(folder.join("device.toml"), description(world, name))?;
        let hosts = [Listener::Device, Listener::Enrol, Listener::Mqtt].map(|listener| {
            format!("{}={}", named(&world.server, listener), world.server.address(listener))
        });
        let (folder, name) = (folder.to_owned(), name.to_owned());
        let chip = Self { folder, name, hosts: hosts.to_vec(), seed: 0 };
        fs::copy(beside(FLASH)?, chip.flash())?;
        let mut write = Program::Provision.command()?;
        write.arg("write").arg(chip.folder.join("device.toml"));
        run(write.arg("--flash").arg(chip.flash()), b"")?;
        Ok(chip)
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that is its flash.
    pub fn flash(&self) -> PathBuf {
        self.folder.join("flash.bin")
    }

    /// Switches it on.
    ///
    /// # Errors
    ///
    /// Fails when the emulator was not built.
    pub fn power_on(&mut self, cut: Option<Cut>) -> Result<Session> {
        let mut emulator = self.emulator()?;
        if let Some(Cut { at, tear }) = cut {
            emulator.args(["--power-cut-at", &at.to_string(), "--cut", tear.word()]);
        }
        let process = Process::spawn("emulator", emulator, &self.folder)?;
        Ok(Session { process, flash: self.flash(), starts: Vec::new(), loaded: None })
    }

    /// Switches it on, and off again when a line on the serial line contains `text`; returns the
    /// address of each flash operation.
    ///
    /// # Errors
    ///
    /// Fails when there is no such line.
    pub fn run_until(&mut self, text: &str) -> Result<Vec<u32>> {
        let log = self.folder.join("flash.log");
        let mut emulator = self.emulator()?;
        run(emulator.args(["--until", text]).arg("--flash-log").arg(&log), b"")?;
        let log = fs::read_to_string(log)?;
        let operations = log.lines().map(serde_json::from_str::<Operation>);
        Ok(operations.map(|operation| operation.map(|it| it.address)).collect::<Result<_, _>>()?)
    }

    fn emulator(&mut self) -> Result<Command> {
        self.seed += 1;
        let mut emulator = Command::new(beside(EMULATOR)?);
        emulator.arg("--flash").arg(self.flash());
        emulator.args(self.hosts.iter().flat_map(|host| ["--host", host]));
        emulator.args(["--max-resets", RESETS_MAX, "--max-virtual-seconds", VIRTUAL_S_MAX]);
        emulator.args(["--seed", &self.seed.to_string()]);
        Ok(emulator)
    }
}

/// A line of the emulator's log of flash operations, as far as it is used.
#[derive(Deserialize)]
struct Operation {
    address: u32,
}

/// How a session ended by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// By the planned power cut.
    PowerCut,
    /// By a limit: the device did not come to rest.
    Restless,
}

/// A device, on. Dropping it is a power cut, too.
#[derive(Debug)]
pub struct Session {
    process: Process,
    flash: PathBuf,
    starts: Vec<Start>,
    loaded: Option<(u32, String)>,
}

impl Session {
    /// Returns the next line on the serial line; `None` when the session ended.
    ///
    /// # Errors
    ///
    /// Fails when the emulator says nothing for too long, or flash cannot be read.
    pub fn line(&mut self) -> Result<Option<String>> {
        match self.process.line()? {
            None => Ok(None),
            Some(Line::Error(error)) => bail!("the emulator: {error}"),
            Some(Line::Output(line)) => {
                self.take_in(&line)?;
                Ok(Some(line))
            }
        }
    }

    /// Returns the starts so far.
    pub fn starts(&self) -> &[Start] {
        &self.starts
    }

    /// Returns how the session ended, after its last line.
    ///
    /// # Errors
    ///
    /// Fails when the emulator did.
    pub fn end(self) -> Result<End> {
        let status: ExitStatus = self.process.wait()?;
        match status.code() {
            Some(POWER_CUT) => Ok(End::PowerCut),
            Some(0 | 5) => Ok(End::Restless),
            _ => bail!("the emulator ended with {status}"),
        }
    }

    /// The boot loader says which slot it starts: what is in it, is what runs.
    fn take_in(&mut self, line: &str) -> Result<()> {
        if let Some((_, offset)) = line.split_once(LOADED) {
            let slot = u32::from_str_radix(offset.trim(), 16)?;
            self.loaded = Some((slot, image_in(&self.flash, slot)?));
        } else if let Some(hello) = line.strip_prefix(HELLO) {
            let (slot, sha256) = self.loaded.take().context("the firmware starts by itself")?;
            self.starts.push(Start { slot, sha256, hello: hello.trim().to_owned() });
        }
        Ok(())
    }
}

/// Returns the SHA-256 of the image that begins there, in hexadecimal.
fn image_in(flash: &Path, slot: u32) -> Result<String> {
    let flash = fs::read(flash)?;
    let table = Table::parse(flash.get(usize::try_from(TABLE_AT)?..).context("a table")?)?;
    let slot = table.partitions().find(|partition| partition.offset == slot);
    let slot = slot.context("the slot is in the partition table")?;
    let range = usize::try_from(slot.offset)?..usize::try_from(slot.offset + slot.bytes)?;
    let slot = flash.get(range).context("the slot is in flash")?;
    let app = App::parse(slot).context("the boot loader started what is no image")?;
    let image = slot.get(..usize::try_from(app.image_bytes)?).context("the image is in flash")?;
    Ok(sha256(image))
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn named(server: &Server, listener: Listener) -> String {
    let port = server.address(listener).rsplit(':').next().unwrap_or_default();
    format!("localhost:{port}")
}

/// The file that `waxwing-provision` makes credentials of.
fn description(world: &World, name: &str) -> String {
    let server = |listener| named(&world.server, listener);
    format!(
        "device = \"{name}\"\nproduct = \"{PRODUCT}\"\nhardware = \"r1\"\n\
         channels = [\"{CHANNEL}\"]\nserver = \"{}\"\nenrol = \"{}\"\nmqtt = \"{}\"\n\
         token = \"token\"\ndirector_root = \"{}\"\nimage_root = \"{}\"\nserver_ca = \"{}\"\n\
         settings = {SETTINGS:?}\n",
        server(Listener::Device),
        server(Listener::Enrol),
        server(Listener::Mqtt),
        world.director_root().display(),
        world.ceremony.image_root().display(),
        world.server.ca().display(),
    )
}
