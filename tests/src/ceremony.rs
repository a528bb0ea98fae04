//! A key ceremony as people hold it, with the real tool: one person, one signature at a time.

mod keys;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::files::{copy_folder, newest_root};
use crate::process::{refusal, run};
use crate::program::Program;

/// The product of the story.
pub const PRODUCT: &str = "acme-th1";
/// Its channel.
pub const CHANNEL: &str = "stable";
/// The channel of lab devices, which one key signs, where a plan has it.
pub const DEV_CHANNEL: &str = "dev";
/// The key of [`DEV_CHANNEL`].
pub const DEV_KEY: &str = "ci";
/// Two of the three who sign a release.
pub const RELEASE_QUORUM: [&str; 2] = ["alice-release", "bob-release"];
/// Two of the three who sign the top-level list.
pub const TARGETS_QUORUM: [&str; 2] = ["alice-targets", "bob-targets"];
/// Two of the three who sign the root of the Image repository.
pub const ROOT_QUORUM: [&str; 2] = ["alice-root", "bob-root"];
/// Two of the three who sign the Director's root.
pub const DIRECTOR_ROOT_QUORUM: [&str; 2] = ["alice-director-root", "bob-director-root"];
/// The passphrase of every key of the ceremony.
pub const PASSPHRASE: &str = "correct horse battery staple";
/// A third of the holders may be ill.
const HOLDERS: [&str; 3] = ["alice", "bob", "carol"];

/// Everything the keyholders have: their keys, the repositories, the definitions.
#[derive(Debug)]
pub struct Ceremony {
    folder: PathBuf,
    plan: Plan,
}

/// How a ceremony is held.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// Whether descriptors of images built elsewhere are ignored.
    pub foreign_images: bool,
    /// Whether there is a channel for lab devices, too.
    pub dev_channel: bool,
    /// The project that the product's images are of, if not [`PRODUCT`].
    pub project: Option<&'static str>,
    /// Makes keys that cost nothing to open. Only their making is not the real tool's.
    pub worthless_keys: bool,
}

/// Which of the two repositories.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repository {
    /// What each device should run.
    Director,
    /// What may be installed at all.
    Image,
}

/// A release to sign.
#[derive(Clone, Debug)]
pub struct Release<'a> {
    /// Its channel.
    pub channel: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its security version.
    pub security_version: u32,
    /// The image.
    pub image: &'a Path,
}

/// Who may upload, and where to.
#[derive(Clone, Debug)]
pub struct Destination<'a> {
    /// Address of the admin listener.
    pub url: &'a str,
    /// The server's CA.
    pub ca: &'a Path,
    /// The file with the token.
    pub token: &'a Path,
}

impl Ceremony {
    /// Makes every key and the Image repository of the product, signed by two of three.
    ///
    /// # Errors
    ///
    /// Fails when the tool refuses a step.
    pub fn hold(folder: &Path, plan: Plan) -> Result<Self> {
        fs::create_dir_all(folder.join("keys"))?;
        let ceremony = Self { folder: folder.to_owned(), plan };
        for role in ["root", "targets", "release", "director-root"] {
            for holder in HOLDERS {
                ceremony.make_key(&format!("{holder}-{role}"))?;
            }
        }
        ceremony.make_key("publisher")?;
        ceremony.make_key("standby")?;
        ceremony.define()?;
        ceremony.make_image_repository()?;
        Ok(ceremony)
    }

    /// Copies everything the keyholders have: what a thief of all of it would hold.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be copied.
    pub fn steal(&self, folder: &Path) -> Result<Self> {
        copy_folder(&self.folder, folder)?;
        Ok(Self { folder: folder.to_owned(), plan: self.plan })
    }

    /// Makes the Director's root for the server's online key (D6).
    ///
    /// # Errors
    ///
    /// Fails when the tool refuses a step.
    pub fn root_director(&self, online_key: &Value) -> Result<PathBuf> {
        self.keep_public_key("director", online_key)?;
        let online = format!("1:{},{}", self.shown("director"), self.shown("standby"));
        let root = self.folder.join("director/metadata/1.root.json");
        self.init_root("director", &self.holders("director-root"), [&online, &online, &online])?;
        self.sign(&root, &DIRECTOR_ROOT_QUORUM)?;
        Ok(root)
    }

    /// Writes the next root of `director` or of the Image repository: in these roles `remove` leave
    /// and `add` join. Nobody has signed it yet.
    ///
    /// # Errors
    ///
    /// Fails when the tool refuses.
    pub fn rotate(
        &self,
        repository: Repository,
        roles: &[&str],
        remove: &[&str],
        add: &[&str],
    ) -> Result<PathBuf> {
        self.rotate_to(repository, roles, remove, add, None)
    }

    /// As [`Ceremony::rotate`], with another threshold for these roles.
    ///
    /// # Errors
    ///
    /// Fails when the tool refuses.
    pub fn rotate_to(
        &self,
        repository: Repository,
        roles: &[&str],
        remove: &[&str],
        add: &[&str],
        threshold: Option<usize>,
    ) -> Result<PathBuf> {
        let metadata = self.metadata(repository);
        let newest = newest_root(&metadata)?;
        let next = metadata.join(format!("{}.root.json", newest + 1));
        let mut rotate = Program::Keys.command()?;
        rotate.args(["root", "rotate", "--from"]);
        rotate.arg(metadata.join(format!("{newest}.root.json")));
        rotate.args(roles.iter().flat_map(|role| ["--role", role]));
        rotate.args(remove.iter().flat_map(|key| ["--remove".to_owned(), self.shown(key)]));
        rotate.args(add.iter().flat_map(|key| ["--add".to_owned(), self.shown(key)]));
        rotate.args(threshold.map(|threshold| format!("--threshold={threshold}")));
        run(rotate.arg("-o").arg(&next), b"")?;
        Ok(next)
    }

    /// Adds one signature after another to a file.
    ///
    /// # Errors
    ///
    /// Fails when the tool refuses one.
    pub fn sign(&self, file: &Path, keys: &[&str]) -> Result<()> {
        for key in keys {
            let mut sign = Program::Keys.command()?;
            sign.arg("sign").arg(file).arg("--key").arg(self.secret(key));
            run(sign.args(["--yes", "--passphrase-fd", "0"]), &passphrases())?;
        }
        Ok(())
    }

    /// Lists a release in the channel, signs by two of three, and uploads.
    ///
    /// # Errors
    ///
    /// Fails when the tool or the server refuses a step.
    pub fn release(&self, release: &Release<'_>, to: &Destination<'_>) -> Result<()> {
        self.list(release)?;
        self.publish(to)
    }

    /// Lists a release in the channel and signs by two of three.
    ///
    /// # Errors
    ///
    /// Fails when the tool refuses a step.
    pub fn list(&self, release: &Release<'_>) -> Result<()> {
        let is_dev = release.channel == DEV_CHANNEL;
        self.list_by(release, if is_dev { &[DEV_KEY] } else { &RELEASE_QUORUM })
    }

    /// Lists a release in its channel and signs with these keys.
    ///
    /// # Errors
    ///
    /// Fails when the tool refuses a step.
    pub fn list_by(&self, release: &Release<'_>, keys: &[&str]) -> Result<()> {
        let definition = self.folder.join(format!("releases/{PRODUCT}/{}.toml", release.version));
        let text = format!(
            "version = \"{}\"\nchannel = \"{}\"\nsecurity_version = {}\n",
            release.version, release.channel, release.security_version
        );
        fs::write(&definition, text)?;
        let mut add = Program::Keys.command()?;
        add.args(["release", "add"]).arg(&definition).arg("--dir").arg(self.repository());
        run(add.arg("--file").arg(release.image), b"")?;
        self.sign(&self.role_file(release.channel), keys)
    }

    /// Takes a release off the list of its channel. Nobody has signed that yet.
    ///
    /// # Errors
    ///
    /// Fails when it is not on it.
    pub fn delist(&self, channel: &str, version: &str) -> Result<PathBuf> {
        let mut remove = Program::Keys.command()?;
        remove.args(["release", "remove", "--dir"]).arg(self.repository());
        remove.args(["--role", &format!("{PRODUCT}-{channel}")]);
        run(remove.arg(format!("{PRODUCT}/{channel}/{version}/esp32c3.bin")), b"")?;
        Ok(self.role_file(channel))
    }

    /// Lets a list say the same in a next version. Nobody has signed that yet.
    ///
    /// # Errors
    ///
    /// Fails when there is no such list.
    pub fn renew(&self, role: &str) -> Result<PathBuf> {
        let mut renew = Program::Keys.command()?;
        run(renew.args(["renew", role, "--dir"]).arg(self.repository()), b"")?;
        Ok(self.metadata(Repository::Image).join(format!("{role}.json")))
    }

    /// Lets `threshold` of these keys sign a channel from now on. Neither the top-level list nor the
    /// channel's is signed yet.
    ///
    /// # Errors
    ///
    /// Fails when the tool refuses.
    pub fn delegate(&self, channel: &str, threshold: usize, keys: &[&str]) -> Result<()> {
        let keys: Vec<_> = keys.iter().map(|key| self.shown(key)).collect();
        let mut delegate = Program::Keys.command()?;
        delegate.arg("delegate").arg("--dir").arg(self.repository());
        delegate.args(["--role", &format!("{PRODUCT}-{channel}")]);
        run(delegate.args(["--keys", &format!("{threshold}:{}", keys.join(","))]), b"").map(drop)
    }

    /// Says by which CA certificates, PEM, devices know their server, and signs by two of three.
    ///
    /// # Errors
    ///
    /// Fails when the tool refuses a step.
    pub fn trust_server_ca(&self, file: &Path) -> Result<()> {
        let mut trust = Program::Keys.command()?;
        trust.args(["trust", "server-ca", "--dir"]).arg(self.repository());
        run(trust.arg("--file").arg(file), b"")?;
        self.sign(&self.targets_file(), &TARGETS_QUORUM)
    }

    /// Signs snapshot and timestamp with these keys, without a server.
    ///
    /// # Errors
    ///
    /// Fails when a device would refuse the repository.
    pub fn publish_here(&self, publisher: &str) -> Result<()> {
        run(&mut self.publish_with(publisher)?, &passphrases()).map(drop)
    }

    /// Signs snapshot and timestamp anew although nothing has changed, without a server.
    ///
    /// # Errors
    ///
    /// Fails when a device would refuse the repository.
    pub fn refresh_here(&self, publisher: &str) -> Result<()> {
        run(self.publish_with(publisher)?.arg("--refresh"), &passphrases()).map(drop)
    }

    /// Tries to publish what the tool must refuse, and returns why it does.
    ///
    /// # Errors
    ///
    /// Fails when it is published.
    pub fn publish_is_refused(&self, publisher: &str) -> Result<String> {
        refusal(&mut self.publish_with(publisher)?, &passphrases())
    }

    /// The working copy of the list of a channel.
    pub fn role_file(&self, channel: &str) -> PathBuf {
        self.metadata(Repository::Image).join(format!("{PRODUCT}-{channel}.json"))
    }

    /// The working copy of the top-level list.
    pub fn targets_file(&self) -> PathBuf {
        self.metadata(Repository::Image).join("targets.json")
    }

    /// The folder of the metadata of a repository.
    pub fn metadata(&self, repository: Repository) -> PathBuf {
        match repository {
            Repository::Director => self.folder.join("director/metadata"),
            Repository::Image => self.repository().join("metadata"),
        }
    }

    /// Signs snapshot and timestamp and uploads.
    ///
    /// # Errors
    ///
    /// Fails when the tool or the server refuses a step.
    pub fn publish(&self, to: &Destination<'_>) -> Result<()> {
        self.publish_by("publisher", to)
    }

    /// Signs snapshot and timestamp with another key than `publisher`, and uploads.
    ///
    /// # Errors
    ///
    /// Fails when the tool or the server refuses a step.
    pub fn publish_by(&self, publisher: &str, to: &Destination<'_>) -> Result<()> {
        let mut publish = self.publish_with(publisher)?;
        run(Self::upload_to(&mut publish, to), &passphrases()).map(drop)
    }

    /// Prepares to publish.
    ///
    /// # Errors
    ///
    /// Fails when the tool was not built.
    pub fn publish_command(&self, to: &Destination<'_>) -> Result<Command> {
        let mut publish = self.publish_with("publisher")?;
        Self::upload_to(&mut publish, to);
        Ok(publish)
    }

    /// The product's definition.
    pub fn product_definition(&self) -> PathBuf {
        self.folder.join(format!("releases/{PRODUCT}/product.toml"))
    }

    /// The first root of the Image repository.
    pub fn image_root(&self) -> PathBuf {
        self.repository().join("metadata/1.root.json")
    }

    fn make_image_repository(&self) -> Result<()> {
        let publisher = format!("1:{}", self.shown("publisher"));
        let targets = self.holders("targets");
        let repo = format!("image/{PRODUCT}");
        self.init_root(&repo, &self.holders("root"), [&targets, &publisher, &publisher])?;
        self.sign(&self.image_root(), &ROOT_QUORUM)?;
        let release = HOLDERS.map(|holder| format!("{holder}-release"));
        self.delegate(CHANNEL, 2, &release.each_ref().map(String::as_str))?;
        if self.plan.dev_channel {
            self.make_key(DEV_KEY)?;
            self.delegate(DEV_CHANNEL, 1, &[DEV_KEY])?;
            self.sign(&self.role_file(DEV_CHANNEL), &[DEV_KEY])?;
        }
        self.sign(&self.targets_file(), &TARGETS_QUORUM)
    }

    fn init_root(
        &self,
        repo: &str,
        root: &str,
        [targets, snapshot, timestamp]: [&str; 3],
    ) -> Result<()> {
        let folder =
            if repo == "director" { self.folder.join("director") } else { self.repository() };
        let mut init = Program::Keys.command()?;
        init.args(["root", "init", "--repo", repo, "--root", root, "--targets", targets]);
        init.args(["--snapshot", snapshot, "--timestamp", timestamp]);
        run(init.arg("-o").arg(folder.join("metadata/1.root.json")), b"").map(drop)
    }

    fn publish_with(&self, publisher: &str) -> Result<Command> {
        let key = self.secret(publisher);
        let mut publish = Program::Keys.command()?;
        publish.arg("publish").arg("--dir").arg(self.repository());
        publish.arg("--snapshot-key").arg(&key).arg("--timestamp-key").arg(&key);
        publish.args(["--passphrase-fd", "0"]);
        Ok(publish)
    }

    fn upload_to<'c>(publish: &'c mut Command, to: &Destination<'_>) -> &'c mut Command {
        publish.args(["--server", to.url]).arg("--server-ca").arg(to.ca);
        publish.arg("--token-file").arg(to.token)
    }

    fn define(&self) -> Result<()> {
        let project = self.plan.project.unwrap_or(PRODUCT);
        let (version, project) =
            if self.plan.foreign_images { ("ignore", "ignore") } else { ("match", project) };
        let definition = self.product_definition();
        fs::create_dir_all(definition.parent().context("the definition lies in a folder")?)?;
        let channels = self.channels();
        let text = format!(
            "id = \"{PRODUCT}\"\nchip = \"esp32c3\"\nhardware = [\"r1\"]\nchannels = [{channels}]\n\
             slot_bytes = 2031616\nimage_version = \"{version}\"\nimage_project = \"{project}\"\n"
        );
        Ok(fs::write(definition, text)?)
    }

    fn channels(&self) -> String {
        let dev =
            if self.plan.dev_channel { format!(", \"{DEV_CHANNEL}\"") } else { String::new() };
        format!("\"{CHANNEL}\"{dev}")
    }

    fn repository(&self) -> PathBuf {
        self.folder.join("image").join(PRODUCT)
    }

    fn holders(&self, role: &str) -> String {
        let public = HOLDERS.map(|holder| self.shown(&format!("{holder}-{role}")));
        format!("2:{}", public.join(","))
    }

    fn secret(&self, name: &str) -> PathBuf {
        self.folder.join(format!("keys/{name}.key"))
    }

    fn public(&self, name: &str) -> PathBuf {
        self.folder.join(format!("keys/{name}.pub.json"))
    }

    fn shown(&self, name: &str) -> String {
        self.public(name).display().to_string()
    }
}

/// As many lines as any command may ask for.
fn passphrases() -> Vec<u8> {
    format!("{PASSPHRASE}\n{PASSPHRASE}\n").into_bytes()
}
