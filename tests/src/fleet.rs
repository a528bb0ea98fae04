//! Simulated ESP32s in one real process, followed by what they say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::ceremony::{CHANNEL, PRODUCT};
use crate::process::{Line, Process};
use crate::program::Program;
use crate::server::{Listener, Server};

/// What a fleet is born with.
#[derive(Clone, Debug)]
pub struct Birth<'a> {
    /// Which devices they are.
    pub batch: &'a Batch<'a>,
    /// Each device's name and one-time token.
    pub tokens: &'a [(String, String)],
    /// The image in their first slot, and the release it is.
    pub factory: (&'a Path, &'a str),
    /// Root of the Director.
    pub director_root: &'a Path,
    /// Root of the product's Image repository.
    pub image_root: &'a Path,
    /// Whether descriptors of images built elsewhere are ignored.
    pub foreign_images: bool,
}

/// Devices that are alike.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// The folder of their fleet, in the world's.
    pub folder: &'a str,
    /// Their names.
    pub names: &'a [String],
    /// The channels they accept.
    pub channels: &'a [&'a str],
    /// Their hardware revision.
    pub hardware: &'a str,
    /// Where they poll, if not at the server.
    pub device_address: Option<&'a str>,
    /// Their gateway: from when they are enrolled on they reach the server through it and in no other way.
    pub gateway: Option<&'a str>,
    /// The security version compiled into their first image.
    pub security_version: u32,
    /// The root of the Director they are born with, if not the first one.
    pub director_root: Option<&'a Path>,
    /// The root of the Image repository they are born with, if not the first one.
    pub image_root: Option<&'a Path>,
    /// What goes wrong around how many per cent of them, as on the command line.
    pub profile: Option<&'a str>,
    /// Shortest time between two polls.
    pub poll_min: &'a str,
    /// Longest wait after a failure.
    pub back_off_max: &'a str,
    /// Over how long their starts are spread.
    pub spread: &'a str,
}

impl Default for Batch<'_> {
    fn default() -> Self {
        Self {
            folder: "fleet",
            names: &[],
            channels: &[CHANNEL],
            hardware: "r1",
            device_address: None,
            gateway: None,
            security_version: 1,
            director_root: None,
            image_root: None,
            profile: None,
            poll_min: "200ms",
            back_off_max: "1s",
            spread: "500ms",
        }
    }
}

/// A running fleet.
#[derive(Debug)]
pub struct Fleet {
    folder: PathBuf,
    process: Process,
    running: BTreeMap<String, String>,
}

/// Something that happened to a device.
#[derive(Clone, Debug)]
pub struct Event(Value);

impl Event {
    /// Returns a field as text.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// Tells whether a device wrote a report of this state down, for the server to hear.
    pub fn is_report(&self, rollout: &str, state: &str) -> bool {
        self.is_about("reported", rollout, state)
    }

    /// Tells whether the server has stored a report of this state.
    pub fn is_acknowledged(&self, rollout: &str, state: &str) -> bool {
        self.is_about("acknowledged", rollout, state)
    }

    fn is_about(&self, event: &str, rollout: &str, state: &str) -> bool {
        self.text("event") == event
            && self.text("rollout") == rollout
            && self.text("state") == state
    }
}

impl Fleet {
    /// Starts the fleet; its devices enrol and begin to poll.
    ///
    /// # Errors
    ///
    /// Fails when the program does not start.
    pub fn start(folder: &Path, server: &Server, birth: &Birth<'_>) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let tokens = birth.tokens.iter().map(|(device, token)| format!("{device},{token}\n"));
        fs::write(folder.join("tokens.csv"), tokens.collect::<String>())?;
        fs::write(folder.join("fleet.toml"), configuration(server, birth))?;
        let mut command = Program::AgentHost.command()?;
        command.args(["fleet", "--events", "--json", "--spread", birth.batch.spread, "--config"]);
        command.arg(folder.join("fleet.toml"));
        command.args(birth.batch.profile.into_iter().flat_map(|profile| ["--profile", profile]));
        let process = Process::spawn("fleet", command, &folder.join("logs"))?;
        Ok(Self { folder: folder.to_owned(), process, running: BTreeMap::new() })
    }

    /// Waits for an event that `wanted` knows, and returns it.
    ///
    /// # Errors
    ///
    /// Fails when a device or the program stops, or nothing happens for too long.
    pub fn wait_for(&mut self, mut wanted: impl FnMut(&Event) -> bool) -> Result<Event> {
        while let Some(line) = self.process.line()? {
            let Some(event) = self.take_in(line)? else { continue };
            if wanted(&event) {
                return Ok(event);
            }
        }
        bail!("the fleet ended; see {}", self.process.log().display())
    }

    /// Waits for `count` such events.
    ///
    /// # Errors
    ///
    /// As [`Self::wait_for`].
    pub fn wait_for_many(
        &mut self,
        count: usize,
        mut wanted: impl FnMut(&Event) -> bool,
    ) -> Result<()> {
        (0..count).try_for_each(|_| self.wait_for(&mut wanted).map(drop))
    }

    /// Takes in what has happened so far, and returns the release that each device runs.
    ///
    /// # Errors
    ///
    /// Fails when a device stopped.
    pub fn running(&mut self) -> Result<&BTreeMap<String, String>> {
        let lines: Vec<_> = self.process.lines_so_far().collect();
        for line in lines {
            self.take_in(line)?;
        }
        Ok(&self.running)
    }

    /// Switches all devices off, and returns what they have come to.
    ///
    /// # Errors
    ///
    /// Fails when a device stopped, or the program does not end.
    pub fn switch_off(mut self) -> Result<Value> {
        self.process.ask_to_end()?;
        let mut last = None;
        while let Some(line) = self.process.line()? {
            last = self.take_in(line)?.or(last);
        }
        Ok(last.context("the last line is the summary")?.0)
    }

    /// The device's certificate and key, PEM.
    pub fn identity(&self, device: &str) -> PathBuf {
        self.folder.join("work").join(device).join("identity.pem")
    }

    /// The id of the process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    fn take_in(&mut self, line: Line) -> Result<Option<Event>> {
        let Line::Output(line) = line else { return Ok(None) };
        let event = Event(serde_json::from_str(&line)?);
        match event.text("event") {
            "booted" => {
                let release = event.text("release").to_owned();
                self.running.insert(event.text("device").to_owned(), release);
            }
            "stopped" => bail!("{} stopped: {}", event.text("device"), event.text("error")),
            _ => {}
        }
        Ok(Some(event))
    }
}

fn configuration(server: &Server, birth: &Birth<'_>) -> String {
    let (image, version) = birth.factory;
    let rule = if birth.foreign_images { "ignore" } else { "match" };
    let Batch { channels, hardware, poll_min, back_off_max, security_version, .. } = birth.batch;
    let of_sensors =
        if birth.batch.gateway.is_some() { "telemetry_every = \"500ms\"\n" } else { "" };
    let gateway = birth.batch.gateway.map(|gateway| format!("gateway = \"{gateway}\"\n"));
    let gateway = gateway.unwrap_or_default();
    format!(
        "product = \"{PRODUCT}\"\nhardware = \"{hardware}\"\nchip = \"esp32c3\"\nchannels = {channels:?}\n\
         slot_bytes = 2031616\nwork = \"work\"\ntokens = \"tokens.csv\"\n{of_sensors}\
         [server]\ndevice = \"{}\"\nenrol = \"{}\"\nmqtt = \"{}\"\nca = \"{}\"\n{gateway}\
         [factory]\nimage = \"{}\"\nversion = \"{version}\"\nsecurity_version = {security_version}\n\
         [trust]\ndirector_root = \"{}\"\nimage_root = \"{}\"\n\
         [image]\nversion = \"{rule}\"\n\
         [policy]\npoll_min = \"{poll_min}\"\npoll_max = \"1s\"\nback_off_min = \"200ms\"\n\
         back_off_max = \"{back_off_max}\"\n",
        birth.batch.device_address.unwrap_or_else(|| server.address(Listener::Device)),
        server.address(Listener::Enrol),
        server.address(Listener::Mqtt),
        server.ca().display(),
        image.display(),
        birth.batch.director_root.unwrap_or(birth.director_root).display(),
        birth.batch.image_root.unwrap_or(birth.image_root).display(),
    )
}
