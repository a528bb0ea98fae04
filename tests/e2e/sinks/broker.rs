//! Debian's Mosquitto as another broker, with a password, under TLS with certificates of both sides.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};

use anyhow::{Context as _, Result, bail};
use waxwing_e2e::process::{Line, Process, run};

/// The password of its only user.
const PASSWORD: &str = "correct-horse-battery-staple";

/// Its port, on an address that no other process has.
const PORT: &str = "18883";

/// A broker.
pub(super) struct Broker {
    folder: PathBuf,
    address: String,
    process: Option<Process>,
}

impl Broker {
    /// Makes its certificates and its user, and starts it.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let [_, high, middle, low] = id().to_be_bytes();
        let address = format!("127.{}.{middle}.{low}", high.saturating_add(64));
        for (name, subject) in [("broker", address.as_str()), ("client", "waxwing")] {
            let identity = rcgen::generate_simple_self_signed([subject.to_owned()])?;
            fs::write(folder.join(format!("{name}.pem")), identity.cert.pem())?;
            let key = folder.join(format!("{name}.key"));
            fs::write(&key, identity.signing_key.serialize_pem())?;
        }
        let users = folder.join("users");
        let mut passwd = Command::new("mosquitto_passwd");
        run(passwd.args(["-c", "-b"]).arg(users).args(["waxwing", PASSWORD]), b"")?;
        let mut broker = Self { folder: folder.to_owned(), address, process: None };
        broker.start()?;
        Ok(broker)
    }

    /// Starts it, with the sessions that it had.
    pub(super) fn start(&mut self) -> Result<()> {
        let folder = self.folder.display();
        let configuration = format!(
            "user root\nlistener {PORT} {}\nlog_dest stderr\nallow_anonymous false\n\
             password_file {folder}/users\npersistence true\npersistence_location {folder}/\n\
             certfile {folder}/broker.pem\nkeyfile {folder}/broker.key\n\
             cafile {folder}/client.pem\nrequire_certificate true\n",
            self.address
        );
        fs::write(self.folder.join("mosquitto.conf"), configuration)?;
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.folder.join("mosquitto.conf"));
        let process = Process::spawn("mosquitto", command, &self.folder)?;
        loop {
            match process.line()? {
                Some(Line::Error(line)) if line.ends_with(" running") => break,
                Some(_) => {}
                None => bail!("Mosquitto did not start; see {}", process.log().display()),
            }
        }
        self.process = Some(process);
        Ok(())
    }

    /// Ends it; sessions are kept.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.process.take().context("it runs")?.stop().map(drop)
    }

    /// Returns the section of the configuration by which a server publishes to it.
    pub(super) fn section(&self) -> Result<String> {
        let token = self.folder.join("token");
        fs::write(&token, PASSWORD)?;
        fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let folder = self.folder.display();
        Ok(format!(
            "[[sinks]]\nname = \"site\"\nkind = \"mqtt\"\nurl = \"mqtts://{}:{PORT}\"\n\
             user = \"waxwing\"\ntoken_file = \"{folder}/token\"\nca_file = \"{folder}/broker.pem\"\n\
             cert_file = \"{folder}/client.pem\"\nkey_file = \"{folder}/client.key\"\n\
             topic_prefix = \"site-7/\"\n",
            self.address
        ))
    }

    /// Begins a session that gets what is published from now on.
    pub(super) fn subscribe(&self) -> Result<()> {
        run(self.subscriber().arg("-E"), b"").map(drop)
    }

    /// Returns so many messages: topic, properties and payload.
    pub(super) fn messages(&self, count: usize) -> Result<Vec<String>> {
        let count = count.to_string();
        let format = ["-F", "%t|%P|%p", "-W", "100", "-C", &count];
        let said = run(self.subscriber().args(format), b"")?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    fn subscriber(&self) -> Command {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-V", "5", "-q", "1", "-c", "-x", "3600", "-i", "reader"]);
        command.args(["-h", &self.address, "-p", PORT, "-u", "waxwing", "-P", PASSWORD]);
        command.args(["-t", "site-7/waxwing/v1/+/telemetry"]);
        command.arg("--cafile").arg(self.folder.join("broker.pem"));
        command.arg("--cert").arg(self.folder.join("client.pem"));
        command.arg("--key").arg(self.folder.join("client.key"));
        command
    }
}
