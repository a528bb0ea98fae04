//! Everything together: a ceremony held, a server rooted, an operator logged in, a fleet enrolled.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use reqwest::Certificate;
use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::ceremony::{CHANNEL, Ceremony, Destination, PRODUCT, Plan, Release};
use crate::fleet::{Batch, Birth, Fleet};
use crate::image::{self, Behaviour, Recipe};
use crate::operator::Operator;
use crate::server::{Listener, Server};

/// The group of every device.
pub const EVERYBODY: &str = "everybody";
/// The group of the first two devices.
pub const PILOTS: &str = "pilots";
/// How many pilots there are.
pub const PILOT_COUNT: usize = 2;
/// The release that devices are born with.
pub const FACTORY_VERSION: &str = "1.0.0";

/// A whole Waxwing, without devices.
#[derive(Debug)]
pub struct World {
    /// The keyholders.
    pub ceremony: Ceremony,
    /// The operator.
    pub operator: Operator,
    /// The server.
    pub server: Server,
    director_root: PathBuf,
    folder: PathBuf,
    plan: Plan,
}

impl World {
    /// Holds the ceremony, starts the server, roots its Director, registers the product.
    ///
    /// # Errors
    ///
    /// Fails when any program refuses a step.
    pub fn create(folder: &Path, foreign_images: bool) -> Result<Self> {
        Self::create_as(folder, Plan { foreign_images, ..Plan::default() })
    }

    /// As [`World::create`], with a ceremony after another plan.
    ///
    /// # Errors
    ///
    /// Fails when any program refuses a step.
    pub fn create_as(folder: &Path, plan: Plan) -> Result<Self> {
        Self::create_with(folder, plan, "")
    }

    /// As [`World::create_as`], with more configuration of the server: TOML with sections of its own.
    ///
    /// # Errors
    ///
    /// Fails when any program refuses a step.
    pub fn create_with(folder: &Path, plan: Plan, more: &str) -> Result<Self> {
        let ceremony = Ceremony::hold(&folder.join("ceremony"), plan)?;
        let server = Server::create_with(&folder.join("server"), more)?;
        let operator = Operator::log_in(&folder.join("operator"), &server)?;
        let online_key = operator.ask(&["director", "key"])?;
        let director_root = ceremony.root_director(&online_key)?;
        operator.ask(&["director", "import", text(&director_root)?])?;
        let definition = ceremony.product_definition();
        let root = ceremony.image_root();
        operator.ask(&["product", "create", text(&definition)?, "--root", text(&root)?])?;
        let folder = folder.to_owned();
        Ok(Self { ceremony, operator, server, director_root, folder, plan })
    }

    /// Makes an image of our own and returns where it lies.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written.
    pub fn make_image(&self, version: &'static str, behaviour: Behaviour) -> Result<PathBuf> {
        let path = self.folder.join(format!("images/{version}.bin"));
        fs::create_dir_all(self.folder.join("images"))?;
        fs::write(&path, image::make(Recipe { version, behaviour, code_bytes: 300_000 })?)?;
        Ok(path)
    }

    /// The root of the Director that devices are born with.
    pub fn director_root(&self) -> &Path {
        &self.director_root
    }

    /// Signs and publishes a release.
    ///
    /// # Errors
    ///
    /// Fails when the tool or the server refuses.
    pub fn publish(&self, version: &str, security_version: u32, image: &Path) -> Result<()> {
        let release = Release { channel: CHANNEL, version, security_version, image };
        self.upload(|to| self.ceremony.release(&release, to))
    }

    /// Calls `step` with where to upload.
    ///
    /// # Errors
    ///
    /// Those of `step`.
    pub fn upload<T>(&self, step: impl FnOnce(&Destination<'_>) -> Result<T>) -> Result<T> {
        let url = self.server.url(Listener::Admin);
        step(&Destination { url: &url, ca: &self.server.ca(), token: &self.server.token() })
    }

    /// Has the keyholders sign these certificates as those by which devices know their server, and
    /// publishes; they are written to `file` for it.
    ///
    /// # Errors
    ///
    /// Fails when the tool or the server refuses a step.
    pub fn trust_server_ca(&self, file: &Path, pem: &[u8]) -> Result<()> {
        fs::write(file, pem)?;
        self.ceremony.trust_server_ca(file)?;
        self.upload(|to| self.ceremony.publish(to))
    }

    /// Registers devices with a token each, makes the groups, and starts the fleet.
    ///
    /// # Errors
    ///
    /// Fails when a step is refused or a device does not enrol.
    pub fn enrol(&self, devices: usize, factory: &Path) -> Result<Fleet> {
        let names: Vec<_> = (1..=devices).map(|number| format!("th1-{number:04}")).collect();
        let fleet = self.start_batch(&Batch { names: &names, ..Batch::default() }, factory)?;
        self.make_group(EVERYBODY, &names)?;
        self.make_group(PILOTS, &names[..PILOT_COUNT.min(devices)])?;
        Ok(fleet)
    }

    /// Registers devices with a token each and starts them as a fleet of their own.
    ///
    /// # Errors
    ///
    /// Fails when a step is refused or a device does not enrol.
    pub fn start_batch(&self, batch: &Batch<'_>, factory: &Path) -> Result<Fleet> {
        let tokens = batch.names.iter().map(|name| Ok((name.clone(), self.register(name)?)));
        let tokens = tokens.collect::<Result<Vec<_>>>()?;
        self.start_with(batch, &tokens, factory)
    }

    /// Starts devices that are registered, with these tokens.
    ///
    /// # Errors
    ///
    /// Fails when a device does not enrol.
    pub fn start_with(
        &self,
        batch: &Batch<'_>,
        tokens: &[(String, String)],
        factory: &Path,
    ) -> Result<Fleet> {
        let birth = Birth {
            batch,
            tokens,
            factory: (factory, FACTORY_VERSION),
            director_root: &self.director_root,
            image_root: &self.ceremony.image_root(),
            foreign_images: self.plan.foreign_images,
        };
        let folder = self.folder.join(batch.folder);
        let mut fleet = Fleet::start(&folder, &self.server, &birth)?;
        fleet.wait_for_many(batch.names.len(), |event| event.text("event") == "enrolled")?;
        Ok(fleet)
    }

    /// Drafts and starts a rollout.
    ///
    /// # Errors
    ///
    /// Fails when the server refuses.
    pub fn start_rollout(&self, id: &str, version: &str, group: &str, phases: &str) -> Result<()> {
        self.start_rollout_with(CHANNEL, id, version, group, phases, &[])
    }

    /// As [`World::start_rollout`], and a download that fails is not offered again.
    ///
    /// # Errors
    ///
    /// Fails when the server refuses.
    pub fn start_rollout_once(
        &self,
        id: &str,
        version: &str,
        group: &str,
        phases: &str,
    ) -> Result<()> {
        self.start_rollout_with(CHANNEL, id, version, group, phases, &["--tries", "1"])
    }

    /// As [`World::start_rollout`], in another channel.
    ///
    /// # Errors
    ///
    /// Fails when the server refuses.
    pub fn start_rollout_in(
        &self,
        channel: &str,
        id: &str,
        version: &str,
        group: &str,
        phases: &str,
    ) -> Result<()> {
        self.start_rollout_with(channel, id, version, group, phases, &[])
    }

    fn start_rollout_with(
        &self,
        channel: &str,
        id: &str,
        version: &str,
        group: &str,
        phases: &str,
        more: &[&str],
    ) -> Result<()> {
        let create = [
            "rollout",
            "create",
            "--id",
            id,
            "--product",
            PRODUCT,
            "--channel",
            channel,
            "--release",
            version,
            "--group",
            group,
            "--phases",
            phases,
            "--soak",
            "1s",
        ];
        self.operator.ask(&[&create, more].concat())?;
        self.operator.ask(&["rollout", "start", id]).map(drop)
    }

    /// Returns a rollout's state, `running` or another word.
    ///
    /// # Errors
    ///
    /// Fails when the server does not answer.
    pub fn rollout_state(&self, id: &str) -> Result<String> {
        let rollout = self.operator.ask(&["rollout", "status", id])?;
        Ok(rollout["state"].as_str().context("a rollout has a state")?.to_owned())
    }

    /// Returns a rollout's counters beside a recount from the signed reports.
    ///
    /// # Errors
    ///
    /// Fails when the server does not answer.
    pub fn recount(&self, id: &str) -> Result<Value> {
        self.operator.ask(&["rollout", "recount", id])
    }

    /// Registers a device, and returns its one-time token.
    ///
    /// # Errors
    ///
    /// Fails when the server refuses.
    pub fn register(&self, device: &str) -> Result<String> {
        self.operator.ask(&["device", "add", device, "--product", PRODUCT])?;
        self.token(device)
    }

    /// Registers many devices, with a tag by which [`EVERYBODY`] is a group from now on, and returns
    /// them with a token each. Over one connection: a program for each would take minutes.
    ///
    /// # Errors
    ///
    /// Fails when the server refuses.
    pub fn register_all(&self, names: &[String]) -> Result<Vec<(String, String)>> {
        let ca = Certificate::from_pem(&fs::read(self.server.ca())?)?;
        let client = Client::builder().tls_certs_only([ca]).build()?;
        let token = fs::read_to_string(self.server.token())?;
        let url = format!("{}/api/v1/devices", self.server.url(Listener::Admin));
        let post = |url: &str, body: Value| -> Result<Value> {
            let answer = client.post(url).bearer_auth(token.trim()).json(&body).send()?;
            Ok(serde_json::from_str(&answer.error_for_status()?.text()?)?)
        };
        let register = |name: &String| {
            let device = json!({"id": name, "product": PRODUCT, "tags": {"group": EVERYBODY}});
            post(&url, device)?;
            let answer = post(&format!("{url}/{name}/tokens"), json!({}))?;
            let token = answer["token"].as_str().context("the answer holds a token")?;
            Ok((name.clone(), token.to_owned()))
        };
        let tag = format!("group={EVERYBODY}");
        let group = ["group", "create", EVERYBODY, "--product", PRODUCT, "--tag", &tag];
        self.operator.ask(&group)?;
        names.iter().map(register).collect()
    }

    /// Returns a one-time token for a registered device.
    ///
    /// # Errors
    ///
    /// Fails when the server refuses.
    pub fn token(&self, device: &str) -> Result<String> {
        let answer = self.operator.ask(&["device", "token", device])?;
        Ok(answer["token"].as_str().context("the answer holds a token")?.to_owned())
    }

    /// Makes a group of devices.
    ///
    /// # Errors
    ///
    /// Fails when the server refuses.
    pub fn make_group(&self, group: &str, devices: &[String]) -> Result<()> {
        let mut create = vec!["group", "create", group, "--product", PRODUCT];
        create.extend(devices.iter().flat_map(|device| ["--device", device]));
        self.operator.ask(&create).map(drop)
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("paths of this test are UTF-8")
}
