//! The stage of a drill: a ceremony with two channels, the real server, real devices, and an
//! operator who repairs what was broken.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use waxwing_e2e::ceremony::{
    CHANNEL, DIRECTOR_ROOT_QUORUM, Plan, RELEASE_QUORUM, ROOT_QUORUM, Release, Repository,
    TARGETS_QUORUM,
};
use waxwing_e2e::fleet::{Batch, Event, Fleet};
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::operator::Operator;
use waxwing_e2e::process::run;
use waxwing_e2e::server::Listener;
use waxwing_e2e::world::{FACTORY_VERSION, World};

use super::director::Puppet;
use super::hostile::{Answers, Hostile};
use super::relay::Relay;

/// Everything that a drill plays with.
pub(crate) struct Stage {
    pub(crate) world: World,
    folder: TempDir,
    factory: PathBuf,
    rollouts: u32,
}

/// Executes statements, each of which must change something.
const EDIT: &str = "import sqlite3, sys\n\
    database = sqlite3.connect(sys.argv[1])\n\
    for statement in sys.argv[2:]: assert database.execute(statement).rowcount, statement\n\
    database.commit()";

/// The only device of most drills.
pub(crate) const DEVICE: &str = "th1-victim";

impl Stage {
    /// Holds a ceremony, starts the server, releases what devices are born with.
    pub(crate) fn set() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("waxwing-drill-").tempdir()?;
        let plan = Plan { dev_channel: true, worthless_keys: true, ..Plan::default() };
        let world = World::create_as(folder.path(), plan)?;
        let factory = world.make_image(FACTORY_VERSION, Behaviour::Work)?;
        world.publish(FACTORY_VERSION, 1, &factory)?;
        Ok(Self { world, folder, factory, rollouts: 0 })
    }

    /// Starts [`DEVICE`], which accepts the channel `stable`.
    pub(crate) fn device(&self) -> Result<Fleet> {
        self.devices(&Batch { names: &[DEVICE.to_owned()], ..Batch::default() })
    }

    /// Starts [`DEVICE`] again: with its identity, and what the factory gave it.
    pub(crate) fn device_again(&self) -> Result<Fleet> {
        let names = [DEVICE.to_owned()];
        let batch = Batch { names: &names, ..Batch::default() };
        let spent = [(DEVICE.to_owned(), "spent".to_owned())];
        self.world.start_with(&batch, &spent, &self.factory)
    }

    /// Starts devices that are alike.
    pub(crate) fn devices(&self, batch: &Batch<'_>) -> Result<Fleet> {
        let mut fleet = self.world.start_batch(batch, &self.factory)?;
        let booted = |event: &Event| event.text("event") == "booted";
        for _ in fleet.running()?.len()..batch.names.len() {
            fleet.wait_for(booted)?;
        }
        Ok(fleet)
    }

    /// Starts a device that has never polled but at this address.
    pub(crate) fn fresh(
        &self,
        device: &str,
        address: &str,
        security_version: u32,
    ) -> Result<Fleet> {
        self.devices(&Batch {
            folder: device,
            names: &[device.to_owned()],
            device_address: Some(address),
            security_version,
            ..Batch::default()
        })
    }

    /// Forwards what comes to an address to the server, for a device that was born there.
    pub(crate) fn relay_at(&self, address: &str, device: &str) -> Result<Hostile> {
        let server = &self.world.server;
        let relay = Arc::new(self.relay(device));
        Hostile::listen(address, &server.secrets(), relay)
    }

    /// A relay that reaches the server as this device, whose fleet is in a folder of its name.
    pub(crate) fn relay(&self, device: &str) -> Relay {
        let server = &self.world.server;
        let work = self.folder().join(device).join("work");
        let identity = work.join(device).join("identity.pem");
        Relay::new(server.url(Listener::Device), server.ca(), identity)
    }

    /// Makes an image.
    pub(crate) fn image(&self, version: &'static str) -> Result<PathBuf> {
        self.world.make_image(version, Behaviour::Work)
    }

    /// Signs and publishes a release in `stable`, and returns its image.
    pub(crate) fn publish(&self, version: &'static str, security_version: u32) -> Result<Vec<u8>> {
        let image = self.image(version)?;
        self.world.publish(version, security_version, &image)?;
        Ok(fs::read(image)?)
    }

    /// Begins a rollout of a published release to one device.
    pub(crate) fn begin_rollout(&mut self, device: &str, version: &str) -> Result<String> {
        self.begin_rollout_in(CHANNEL, device, version)
    }

    /// As [`Stage::begin_rollout`], and a download that fails is not offered again.
    pub(crate) fn begin_rollout_once(&mut self, device: &str, version: &str) -> Result<String> {
        let (group, rollout) = self.group_of(device)?;
        self.world.start_rollout_once(&rollout, version, &group, "100")?;
        Ok(rollout)
    }

    fn begin_rollout_in(&mut self, channel: &str, device: &str, version: &str) -> Result<String> {
        let (group, rollout) = self.group_of(device)?;
        self.world.start_rollout_in(channel, &rollout, version, &group, "100")?;
        Ok(rollout)
    }

    /// Makes a group of one device; returns its name and that of a rollout to come.
    fn group_of(&mut self, device: &str) -> Result<(String, String)> {
        self.rollouts += 1;
        let (group, rollout) = (format!("g{}", self.rollouts), format!("r{}", self.rollouts));
        self.world.make_group(&group, &[device.to_owned()])?;
        Ok((group, rollout))
    }

    /// Rolls a published release out to one device, and waits until that is well with it.
    pub(crate) fn roll_out(
        &mut self,
        fleet: &mut Fleet,
        device: &str,
        version: &str,
    ) -> Result<()> {
        self.roll_out_in(CHANNEL, fleet, device, version)
    }

    /// As [`Stage::roll_out`], in another channel.
    pub(crate) fn roll_out_in(
        &mut self,
        channel: &str,
        fleet: &mut Fleet,
        device: &str,
        version: &str,
    ) -> Result<()> {
        let rollout = self.begin_rollout_in(channel, device, version)?;
        let event = fleet.wait_for(|event| is_end(event, &rollout))?;
        ensure!(event.text("state") == "healthy", "{device} ended with {event:?}");
        ensure!(fleet.running()?.get(device).is_some_and(|running| running == version));
        Ok(())
    }

    /// Rolls a published release out to one device that must refuse it, and returns why it does.
    pub(crate) fn roll_out_in_vain(
        &mut self,
        fleet: &mut Fleet,
        device: &str,
        version: &str,
    ) -> Result<String> {
        let rollout = self.begin_rollout(device, version)?;
        let event = fleet.wait_for(|event| is_end(event, &rollout))?;
        ensure!(event.text("state") == "failed", "{device} ended with {event:?}");
        Ok(event.text("reason").to_owned())
    }

    /// Begins a rollout that gets nowhere, because the device does not believe the answers to its
    /// polls, and takes it back.
    pub(crate) fn stall(
        &mut self,
        fleet: &mut Fleet,
        device: &str,
        version: &str,
        reason: &str,
    ) -> Result<()> {
        let rollout = self.begin_rollout(device, version)?;
        wait_for_refusal(fleet, reason)?;
        self.world.operator.ask(&["rollout", "cancel", &rollout]).map(drop)
    }

    /// Publishes a new release and rolls it out: the happy end of a drill.
    pub(crate) fn update(
        &mut self,
        fleet: &mut Fleet,
        device: &str,
        version: &'static str,
        security_version: u32,
    ) -> Result<()> {
        self.publish(version, security_version)?;
        self.roll_out(fleet, device, version)
    }

    /// Where everything lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Takes the server off and puts somebody else in its place, who has everything it had.
    pub(crate) fn take_over(&mut self, answers: Arc<dyn Answers>) -> Result<Hostile> {
        self.world.server.kill()?;
        let address = self.world.server.address(Listener::Device).to_owned();
        Hostile::listen(&address, &self.world.server.secrets(), answers)
    }

    /// Breaks into the server: takes its place, its Director's key, and all public metadata.
    pub(crate) fn break_in(&mut self) -> Result<(Arc<Puppet>, Hostile)> {
        let puppet = Arc::new(Puppet::steal(&self.world.server.secrets(), &self.world.ceremony)?);
        let hostile = self.take_over(Arc::<Puppet>::clone(&puppet))?;
        Ok((puppet, hostile))
    }

    /// Recovery of the Director: a new online key on the server, and a root of the offline quorum
    /// that lists it instead of the stolen one. Tokens that went through the server are void, too.
    /// The server is stopped before.
    pub(crate) fn replace_director(&mut self) -> Result<()> {
        let mut seed = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        fs::write(self.world.server.secrets().join("director.key"), seed)?;
        self.edit_database(&["DELETE FROM admin_tokens"])?;
        self.world.server.restart_with_new_token()?;
        let home = self.folder().join("operator");
        self.world.operator = Operator::log_in(&home, &self.world.server)?;
        let key = self.world.operator.ask(&["director", "key"])?;
        let ceremony = &self.world.ceremony;
        ceremony.keep_public_key("director-2", &key)?;
        let roles = ["timestamp", "snapshot", "targets"];
        let root = ceremony.rotate(Repository::Director, &roles, &["director"], &["director-2"])?;
        ceremony.sign(&root, &DIRECTOR_ROOT_QUORUM)?;
        self.import_director_root(&root).map(drop)
    }

    /// Changes the database of a server that is stopped.
    pub(crate) fn edit_database(&self, statements: &[&str]) -> Result<()> {
        let mut python = Command::new("python3");
        python.args(["-c", EDIT]).arg(self.database()).args(statements);
        run(&mut python, b"").map(drop)
    }

    /// The file of the database.
    pub(crate) fn database(&self) -> PathBuf {
        self.world.server.data().join("waxwing.db")
    }

    /// Hands a root of the Director to the server.
    pub(crate) fn import_director_root(&self, root: &Path) -> Result<Value> {
        self.world.operator.ask(&["director", "import", &root.display().to_string()])
    }

    /// Recovery of a channel: three other keys sign it from now on, and what was listed by the
    /// stolen ones is taken off. Not yet published.
    pub(crate) fn replace_release_keys(&self, delist: &[&str]) -> Result<[&'static str; 3]> {
        const NEW: [&str; 3] = ["dora-release", "emil-release", "fritz-release"];
        let ceremony = &self.world.ceremony;
        for version in delist {
            ceremony.delist(CHANNEL, version)?;
        }
        NEW.iter().try_for_each(|key| ceremony.make_key(key))?;
        ceremony.delegate(CHANNEL, 2, &NEW)?;
        ceremony.sign(&ceremony.role_file(CHANNEL), &NEW[1..])?;
        ceremony.sign(&ceremony.targets_file(), &TARGETS_QUORUM)?;
        Ok(NEW)
    }

    /// Recovery of snapshot and timestamp: the root lists another publisher. Not yet published.
    pub(crate) fn replace_publisher(&self) -> Result<&'static str> {
        const NEW: &str = "publisher-2";
        let ceremony = &self.world.ceremony;
        ceremony.make_key(NEW)?;
        let roles = ["snapshot", "timestamp"];
        let root = ceremony.rotate(Repository::Image, &roles, &["publisher"], &[NEW])?;
        ceremony.sign(&root, &ROOT_QUORUM)?;
        Ok(NEW)
    }

    /// Publishes what the ceremony holds.
    pub(crate) fn publish_by(&self, publisher: &str) -> Result<()> {
        self.world.upload(|to| self.world.ceremony.publish_by(publisher, to))
    }

    /// Lists a release in `stable` with other keys than the first ones. Not yet published.
    pub(crate) fn list_by(
        &self,
        keys: &[&str],
        version: &'static str,
        security_version: u32,
    ) -> Result<()> {
        let image = self.image(version)?;
        let release = Release { channel: CHANNEL, version, security_version, image: &image };
        self.world.ceremony.list_by(&release, keys)
    }
}

/// Two of the first three who sign `stable`.
pub(crate) const STOLEN_QUORUM: [&str; 2] = RELEASE_QUORUM;

/// Tells whether a deployment came to its end.
pub(crate) fn is_end(event: &Event, rollout: &str) -> bool {
    ["failed", "healthy", "rolled_back"].iter().any(|state| event.is_report(rollout, state))
}

/// Waits for a poll that was refused for this reason; others may come before, such as
/// `unreachable` while servers change places.
pub(crate) fn wait_for_refusal(fleet: &mut Fleet, reason: &str) -> Result<()> {
    fleet
        .wait_for(|event| event.text("event") == "poll_failed" && event.text("reason") == reason)
        .map(drop)
}
