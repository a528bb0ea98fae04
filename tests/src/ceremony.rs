//! A key ceremony as people hold it, with the real tool: one person, one signature at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::run;
use crate::program::Program;

/// The product of the story.
pub const PRODUCT: &str = "acme-th1";
/// Its channel.
pub const CHANNEL: &str = "stable";
/// The passphrase of every key of the ceremony.
const PASSPHRASE: &str = "correct horse battery staple";
/// A third of the holders may be ill.
const HOLDERS: [&str; 3] = ["alice", "bob", "carol"];

/// Everything the keyholders have: their keys, the repositories, the definitions.
#[derive(Debug)]
pub struct Ceremony {
    folder: PathBuf,
}

/// A release to sign.
#[derive(Clone, Debug)]
pub struct Release<'a> {
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
    pub fn hold(folder: &Path, foreign_images: bool) -> Result<Self> {
        fs::create_dir_all(folder.join("keys"))?;
        let ceremony = Self { folder: folder.to_owned() };
        for role in ["root", "targets", "release", "director-root"] {
            for holder in HOLDERS {
                ceremony.make_key(&format!("{holder}-{role}"))?;
            }
        }
        ceremony.make_key("publisher")?;
        ceremony.make_key("standby")?;
        ceremony.define(foreign_images)?;
        ceremony.make_image_repository()?;
        Ok(ceremony)
    }

    /// Makes the Director's root for the server's online key (D6).
    ///
    /// # Errors
    ///
    /// Fails when the tool refuses a step.
    pub fn root_director(&self, online_key: &Value) -> Result<PathBuf> {
        fs::write(self.public("director"), serde_json::to_vec(online_key)?)?;
        let online = format!("1:{},{}", self.shown("director"), self.shown("standby"));
        let root = self.folder.join("director/metadata/1.root.json");
        self.init_root("director", &self.holders("director-root"), [&online, &online, &online])?;
        self.sign(&root, "director-root")?;
        Ok(root)
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
        let definition = self.folder.join(format!("releases/{PRODUCT}/{}.toml", release.version));
        let text = format!(
            "version = \"{}\"\nchannel = \"{CHANNEL}\"\nsecurity_version = {}\n",
            release.version, release.security_version
        );
        fs::write(&definition, text)?;
        let mut add = Program::Keys.command()?;
        add.args(["release", "add"]).arg(&definition).arg("--dir").arg(self.repository());
        run(add.arg("--file").arg(release.image), b"")?;
        let role = self.repository().join(format!("metadata/{PRODUCT}-{CHANNEL}.json"));
        self.sign(&role, "release")
    }

    /// Signs snapshot and timestamp and uploads.
    ///
    /// # Errors
    ///
    /// Fails when the tool or the server refuses a step.
    pub fn publish(&self, to: &Destination<'_>) -> Result<()> {
        run(&mut self.publish_command(to)?, &passphrases()).map(drop)
    }

    /// Prepares to publish.
    ///
    /// # Errors
    ///
    /// Fails when the tool was not built.
    pub fn publish_command(&self, to: &Destination<'_>) -> Result<Command> {
        let key = self.secret("publisher");
        let mut publish = Program::Keys.command()?;
        publish.arg("publish").arg("--dir").arg(self.repository());
        publish.arg("--snapshot-key").arg(&key).arg("--timestamp-key").arg(&key);
        publish.args(["--passphrase-fd", "0", "--server", to.url]);
        publish.arg("--server-ca").arg(to.ca).arg("--token-file").arg(to.token);
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
        self.sign(&self.image_root(), "root")?;
        let mut delegate = Program::Keys.command()?;
        delegate.arg("delegate").arg("--dir").arg(self.repository());
        delegate.args(["--role", &format!("{PRODUCT}-{CHANNEL}")]);
        run(delegate.args(["--keys", &self.holders("release")]), b"")?;
        self.sign(&self.repository().join("metadata/targets.json"), "targets")
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

    /// Two of the three holders sign, each with their own key for this role.
    fn sign(&self, file: &Path, role: &str) -> Result<()> {
        for holder in &HOLDERS[..2] {
            let mut sign = Program::Keys.command()?;
            sign.arg("sign").arg(file).arg("--key").arg(self.secret(&format!("{holder}-{role}")));
            run(sign.args(["--yes", "--passphrase-fd", "0"]), &passphrases())?;
        }
        Ok(())
    }

    fn make_key(&self, name: &str) -> Result<()> {
        let mut new = Program::Keys.command()?;
        new.args(["key", "new", "--passphrase-fd", "0", "-o"]).arg(self.secret(name));
        run(&mut new, &passphrases()).with_context(|| format!("key {name}")).map(drop)
    }

    fn define(&self, foreign_images: bool) -> Result<()> {
        let (version, project) =
            if foreign_images { ("ignore", "ignore") } else { ("match", PRODUCT) };
        let definition = self.product_definition();
        fs::create_dir_all(definition.parent().context("the definition lies in a folder")?)?;
        let text = format!(
            "id = \"{PRODUCT}\"\nchip = \"esp32c3\"\nhardware = [\"r1\"]\nchannels = [\"{CHANNEL}\"]\n\
             slot_bytes = 2031616\nimage_version = \"{version}\"\nimage_project = \"{project}\"\n"
        );
        Ok(fs::write(definition, text)?)
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
