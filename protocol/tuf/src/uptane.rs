//! The rule that two repositories must agree: what a device does with one poll (Uptane 2.1).
//!
//! The *Director* says, for this device, this nonce and this moment, what it should run; the *Image*
//! repository says what may be installed at all. An [`Install`] exists only where both say the same.
//! The order below is normative. This module neither downloads nor installs, and keeps no state of a
//! deployment; it only answers the question what the repositories say now.

mod ceiling;
mod device;
mod director;
mod install;
mod server_ca;

pub use ceiling::{CEILING_PERMILLE_MAX, ceiling_rank};
pub use device::Device;
pub use director::DIRECTOR_TARGETS_MAX;
pub use install::{Deferrable, Install, NAME_BYTES_MAX};
pub use server_ca::{SERVER_CA_BYTES_MAX, SERVER_CA_PATH};

use self::director::Choice;
use crate::client::{FetchedTimestamp, Limits, Repository, check_expiry};
use crate::command::Command;
use crate::refusal::{Cause, Refusal};
use crate::role::{Attestation, Listed, Timestamp};
use crate::store::{Fetch, Store};
use crate::time::Time;
use crate::verify::{self, Verified};

/// What the Director's repository is called in its metadata (D1).
pub const DIRECTOR: &str = "director";

/// The Director's timestamp is written to flash no more often than this, unless it names a new
/// snapshot: freshness comes from the nonce, and flash wears out.
pub const TIMESTAMP_SAVE_MILLIS: u64 = 24 * 60 * 60 * 1_000;

/// Both repositories of one device.
#[derive(Clone, Debug)]
pub struct Client<S> {
    device: Device,
    director: Repository<S>,
    image: Repository<S>,
    /// Time and announced snapshot of the Director's timestamp in the store.
    saved: Option<(Time, u64)>,
    /// Version of the Director's snapshot for which the last check found its answer.
    answered: Option<u64>,
    /// What the Director named at the last check that got so far.
    named: Option<Install>,
    /// The pins that both repositories listed last.
    server_ca: Option<Verified<Listed>>,
    /// Why the Director's pins were not taken at the last check that got so far.
    server_ca_refusal: Option<Refusal>,
}

/// What the repositories say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The same as at the last check of this client that did not fail. Costs one signature.
    Idle,
    /// This device should run nothing in particular.
    Nothing,
    /// This device should run this image; both repositories say so.
    Install(Verified<Install>),
}

impl<S: Store> Client<S> {
    /// Opens both repositories; see [`Repository::open`]. The roots are the ones the firmware was
    /// built with.
    pub fn open(
        device: Device,
        (director, director_root): (S, &[u8]),
        (image, image_root): (S, &[u8]),
    ) -> Result<Self, Refusal> {
        let name = ["image/", &device.product].concat();
        let director =
            Repository::open(director, director_root, Some(DIRECTOR), Limits::DEVICE_DIRECTOR);
        let director = director.map_err(of_director)?;
        let image = Repository::open(image, image_root, Some(&name), Limits::DEVICE_IMAGE);
        let saved = director.timestamp().and_then(|timestamp| saved(timestamp));
        Ok(Self {
            device,
            director,
            image: image.map_err(of_image)?,
            saved,
            answered: None,
            named: None,
            server_ca: None,
            server_ca_refusal: None,
        })
    }

    /// Finds out what the repositories say, from what was delivered in answer to one poll.
    ///
    /// `nonce` is the random number sent with that poll and used for no other. `time_floor` is the
    /// build time of the running firmware, no more: the last attested time is kept here, where a root
    /// rotation can undo it.
    pub fn check(
        &mut self,
        nonce: &[u8; 16],
        time_floor: Time,
        director: &mut impl Fetch,
        image: &mut impl Fetch,
    ) -> Result<Answer, Refusal> {
        // Whatever an earlier Director named, a refusal of this answer is not about it.
        self.named = None;
        let now = self.check_director_time(nonce, time_floor, director);
        if now.as_ref().is_err_and(|refusal| refusal.cause == Cause::MoreRoots) {
            // Long off line: follow the other repository's roots meanwhile. What is wrong with one
            // of them is said when it is their turn.
            let _ = self.image.update_root(image);
        }
        let now = now.map_err(of_director)?;
        let announced = self.director.timestamp().map(|timestamp| timestamp.snapshot.version);
        let snapshot = self.director.snapshot().map(|snapshot| snapshot.header.version);
        if announced.is_some() && announced == snapshot && announced == self.answered {
            return Ok(Answer::Idle);
        }
        self.answered = None;
        let Choice { image: chosen, server_ca } =
            self.director_choice(director, now).map_err(of_director)?;
        let allowed = self.allowed(chosen).map_err(of_director);
        let refreshed = match (&allowed, &server_ca) {
            (Ok(None) | Err(_), None) => Ok(()),
            (Ok(Some(_)), _) | (_, Some(_)) => self.refresh_image(image, now).map_err(of_image),
        };
        self.update_server_ca(server_ca, refreshed.clone(), image, now);
        let answer = match allowed? {
            None => Answer::Nothing,
            Some(choice) => {
                refreshed?;
                Answer::Install(self.verify_install(&choice, image, now).map_err(of_image)?)
            }
        };
        // Pins that were refused are looked for again.
        self.answered = announced.filter(|_| self.server_ca_refusal.is_none());
        Ok(answer)
    }

    /// Follows one root that was delivered, the Director's before the Image repository's; false when there
    /// is none to follow. Roots in a row are the most that [`Client::check`] has to compute at a time,
    /// and who has something else to do goes through them before it, one by one. What is wrong with
    /// one is said there.
    pub fn follow_root(&mut self, director: &mut impl Fetch, image: &mut impl Fetch) -> bool {
        self.director.follow_root(director).unwrap_or(false)
            || self.image.follow_root(image).unwrap_or(false)
    }

    /// Checks a command to this device (D7). `now` is the attested time plus what has passed since on
    /// the device's own clock; `last_seq` is the number of the last command it accepted.
    pub fn verify_command(
        &self,
        bytes: &[u8],
        now: Time,
        last_seq: u64,
    ) -> Result<Verified<Command>, Refusal> {
        let attested = self.attested_time().ok_or(Cause::NoAttestedTime);
        let command = attested.and_then(|attested| {
            let signers = &self.director.root().timestamp;
            verify::verify_command(bytes, signers, &self.device.id, now.max(attested), last_seq)
        });
        command.map_err(|cause| cause.of("command"))
    }

    /// The time the Director last attested; `None` before the first poll and after the Director's
    /// keys were rotated.
    pub fn attested_time(&self) -> Option<Time> {
        Some(self.director.timestamp()?.attestation.as_ref()?.time)
    }

    /// What the Director named, if the last check got so far and was not idle: for the report about a
    /// refusal. It is the Director's word alone and must never be installed.
    pub fn named(&self) -> Option<&Install> {
        self.named.as_ref()
    }

    /// The certificates by which the device should know its server (D15): both repositories list this
    /// file, the Image repository in its top-level targets, which no channel can sign. `None` until
    /// the first check after a start that got so far, and where the Director names none.
    ///
    /// Whoever fetches the file compares it with [`Listed::content`] before any use. Pins never
    /// change an [`Answer`], and those that were taken count until others are: a server that lists
    /// bad ones keeps nobody from an update.
    pub fn server_ca(&self) -> Option<&Verified<Listed>> {
        self.server_ca.as_ref()
    }

    /// Why the pins that the Director named at the last check were not taken, for a report.
    pub fn server_ca_refusal(&self) -> Option<&Refusal> {
        self.server_ca_refusal.as_ref()
    }

    /// The files this device has, as the poll tells them to the server: `d` for the Director or `i`
    /// for the Image repository, the name without `.json`, and the version.
    pub fn have(&self) -> impl Iterator<Item = (char, &str, u64)> {
        let of = |repository, (name, version)| (repository, name, version);
        let director = self.director.versions().map(move |file| of('d', file));
        director.chain(self.image.versions().map(move |file| of('i', file)))
    }

    /// What this device is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Changes what this device is, such as a floor that rose. The next check answers anew.
    pub fn device_mut(&mut self) -> &mut Device {
        self.answered = None;
        &mut self.device
    }

    /// The Director's repository.
    pub fn director(&self) -> &Repository<S> {
        &self.director
    }

    /// The Image repository.
    pub fn image(&self) -> &Repository<S> {
        &self.image
    }

    /// Gives the stores back: the Director's and the Image repository's.
    pub fn into_stores(self) -> (S, S) {
        (self.director.into_store(), self.image.into_store())
    }

    /// Root chain and timestamp of the Director. Returns what time it is.
    fn check_director_time(
        &mut self,
        nonce: &[u8; 16],
        time_floor: Time,
        fetch: &mut impl Fetch,
    ) -> Result<Time, Refusal> {
        self.director.update_root(fetch)?;
        let refuse = |cause: Cause| cause.of("timestamp.json");
        let new = self.director.fetch_timestamp(fetch)?.ok_or_else(|| refuse(Cause::Missing))?;
        // D4: a Director timestamp without our own nonce is nothing to a device.
        let attestation =
            director::attestation(&new.timestamp, &self.device, nonce).map_err(refuse)?;
        let now = attestation.time;
        if now < self.attested_time().unwrap_or_default().max(time_floor) {
            return Err(refuse(Cause::TimeWentBack));
        }
        self.director.check_root_expiry(now)?;
        check_expiry(&new.timestamp.header, now).map_err(refuse)?;
        self.keep_timestamp(new)?;
        Ok(now)
    }

    fn keep_timestamp(&mut self, new: FetchedTimestamp) -> Result<(), Refusal> {
        let now = saved(&new.timestamp);
        // After a root rotation nothing is in the store any more.
        let before = self.saved.filter(|_| self.director.timestamp().is_some());
        let is_due = before.zip(now).is_none_or(|((then, before), (now, announced))| {
            before != announced
                || now.as_millis().saturating_sub(then.as_millis()) >= TIMESTAMP_SAVE_MILLIS
        });
        if is_due {
            self.director.trust_timestamp(new)?;
            self.saved = now;
        } else {
            self.director.trust_timestamp_unsaved(new);
        }
        Ok(())
    }

    /// What the Director wants of this device.
    fn director_choice(&mut self, fetch: &mut impl Fetch, now: Time) -> Result<Choice, Refusal> {
        self.director.update_snapshot(fetch, now)?;
        let targets = self.director.top_level_targets(fetch, now)?;
        director::choice(&targets, &self.device).map_err(|cause| cause.of("targets.json"))
    }

    /// The image the Director chose, if the device's own rules allow it.
    fn allowed(
        &mut self,
        choice: Option<Verified<Listed>>,
    ) -> Result<Option<Verified<Listed>>, Refusal> {
        if let Some(choice) = &choice {
            self.named = Install::decode(choice).ok();
            self.device.check(choice).map_err(|cause| cause.of(&*choice.path))?;
        }
        Ok(choice)
    }

    fn refresh_image(&mut self, fetch: &mut impl Fetch, now: Time) -> Result<(), Refusal> {
        self.image.update_root(fetch)?;
        self.image.check_root_expiry(now)?;
        // The server leaves out what we have: without a new timestamp ours counts until it expires.
        if let Some(new) = self.image.fetch_timestamp(fetch)? {
            self.image.accept_timestamp(new, now)?;
        }
        self.image.update_snapshot(fetch, now)
    }

    /// The Image repository's word on the image the Director chose.
    fn verify_install(
        &mut self,
        choice: &Verified<Listed>,
        fetch: &mut impl Fetch,
        now: Time,
    ) -> Result<Verified<Install>, Refusal> {
        let listed = self.image.target(&choice.path, fetch, now)?;
        let install = verify::verify_install(choice, &listed);
        let allowed =
            install.and_then(|install| ceiling::check(&listed, &self.device.id).map(|()| install));
        allowed.map_err(|cause| cause.of(&*choice.path))
    }

    fn update_server_ca(
        &mut self,
        named: Option<Verified<Listed>>,
        refreshed: Result<(), Refusal>,
        fetch: &mut impl Fetch,
        now: Time,
    ) {
        let taken = match named {
            None => Ok(None),
            Some(named) => {
                refreshed.and_then(|()| self.verify_server_ca(named, fetch, now).map(Some))
            }
        };
        match taken {
            Ok(server_ca) => {
                self.server_ca = server_ca;
                self.server_ca_refusal = None;
            }
            Err(refusal) => self.server_ca_refusal = Some(refusal),
        }
    }

    /// The Image repository's word on the pins the Director named. Only its top-level targets count:
    /// who may sign a channel may not say who the server is.
    fn verify_server_ca(
        &mut self,
        named: Verified<Listed>,
        fetch: &mut impl Fetch,
        now: Time,
    ) -> Result<Verified<Listed>, Refusal> {
        let refuse = |cause: Cause| cause.of(SERVER_CA_PATH);
        server_ca::check(&named).map_err(refuse).map_err(of_director)?;
        let targets = self.image.top_level_targets(fetch, now).map_err(of_image)?;
        let listed = targets.listed("targets", SERVER_CA_PATH).ok_or(Cause::NotListed);
        let agreed = listed.and_then(|listed| verify::check_agreement(&named, &listed));
        agreed.map_err(refuse).map_err(of_image)?;
        Ok(named)
    }
}

/// What is worth remembering of a Director timestamp that is in the store.
fn saved(timestamp: &Timestamp) -> Option<(Time, u64)> {
    let Attestation { time, .. } = timestamp.attestation.as_ref()?;
    Some((*time, timestamp.snapshot.version))
}

fn of_director(refusal: Refusal) -> Refusal {
    refusal.within(DIRECTOR)
}

fn of_image(refusal: Refusal) -> Refusal {
    refusal.within("image")
}
