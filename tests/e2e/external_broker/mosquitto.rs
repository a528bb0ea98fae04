//! Debian's Mosquitto with the configuration that we ship.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};

use anyhow::{Context as _, Result, bail, ensure};
use waxwing_e2e::process::{Line, Process, run};
use waxwing_e2e::program::Program;

use crate::sinks::sensor::{Door, Sensor, Version};

/// Where the configuration that we ship looks for its files, and keeps what waits.
const FILES: &str = "/etc/mosquitto/waxwing";
const KEPT: &str = "/var/lib/mosquitto/";

/// Its ports, on an address that no other process has.
const DEVICES: &str = "8883";
const SERVERS: &str = "8884";

/// A Mosquitto.
pub(crate) struct Mosquitto {
    folder: PathBuf,
    address: String,
    /// Where another broker may stand with the same certificate.
    pub(crate) neighbour: String,
    /// What is configured besides.
    bridge: String,
    process: Option<Process>,
}

impl Mosquitto {
    /// Has the server make the certificates: of the broker, and of two servers.
    pub(crate) fn prepare(folder: &Path, data: &Path) -> Result<Self> {
        let [_, high, middle, low] = id().to_be_bytes();
        let address_of = |first: u8| format!("127.{}.{middle}.{low}", high.saturating_add(first));
        let [address, neighbour] = [128, 64].map(address_of);
        let configuration = folder.with_extension("toml");
        fs::write(&configuration, format!("data_dir = \"{}\"\n", data.display()))?;
        let mut make = Program::Server.command()?;
        make.arg("--config").arg(configuration).arg("--make-broker-files").arg(folder);
        run(make.args(["--broker-name", &address, "--broker-name", &neighbour]), b"")?;
        for name in ["devices.acl", "servers.acl"] {
            fs::copy(shipped(name), folder.join(name))?;
        }
        let folder = folder.to_owned();
        Ok(Self { folder, address, neighbour, bridge: String::new(), process: None })
    }

    /// Has it take messages over from another broker, from its next start on.
    pub(crate) fn bridge(&mut self, configuration: String) {
        self.bridge = configuration;
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the section of the configuration by which a server uses it.
    pub(crate) fn section(&self) -> String {
        let folder = self.folder.display();
        format!(
            "[broker]\nurl = \"mqtts://{}:{SERVERS}\"\nca_file = \"{folder}/server-ca.pem\"\n\
             cert_file = \"{folder}/server-1.pem\"\nkey_file = \"{folder}/server-1.key\"\n",
            self.address
        )
    }

    /// Returns the variables that make another process of the same configuration.
    pub(crate) fn other(&self) -> [(&str, String); 2] {
        let file = |name: &str| self.folder.join(name).display().to_string();
        [
            ("WAXWING_SERVER__BROKER__CERT_FILE", file("server-2.pem")),
            ("WAXWING_SERVER__BROKER__KEY_FILE", file("server-2.key")),
        ]
    }

    /// Fetches the list of revoked certificates as the certificate of a device says, by the script that we
    /// ship; a Mosquitto that runs reads it again.
    pub(crate) fn renew_crl(&self, device: &Sensor) -> Result<()> {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-ext", "crlDistributionPoints", "-in"]);
        let said = run(openssl.arg(device.folder.join("cert.pem")), b"")?;
        let url = said.split_whitespace().find_map(|word| word.strip_prefix("URI:"));
        let mut script = Command::new(shipped("renew-crl"));
        script.arg(url.context("certificates say where the list is")?).arg(&self.folder);
        script.args(self.process.as_ref().map(|process| process.id().to_string()));
        run(&mut script, b"").map(drop)
    }

    /// Starts it, with what waited when it ended.
    pub(crate) fn start(&mut self) -> Result<()> {
        let text = fs::read_to_string(shipped("mosquitto.conf"))?;
        let folder = self.folder.display().to_string();
        let mut own = text.replace(FILES, &folder).replace(KEPT, &format!("{folder}/"));
        for port in [DEVICES, SERVERS] {
            let listener = format!("listener {port}\n");
            ensure!(own.contains(&listener), "the ports are those of the documentation");
            own = own.replace(&listener, &format!("listener {port} {}\n", self.address));
        }
        own += "user root\nlog_dest stderr\n";
        own += &self.bridge;
        fs::write(self.folder.join("mosquitto.conf"), own)?;
        let mut command = Command::new("mosquitto");
        command.arg("-v").arg("-c").arg(self.folder.join("mosquitto.conf"));
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

    /// Waits until it says something.
    pub(crate) fn says(&self, what: &str) -> Result<()> {
        self.says_each(&[what])
    }

    /// Waits until it has said each of these, in any order.
    pub(crate) fn says_each(&self, whats: &[&str]) -> Result<()> {
        let process = self.process.as_ref().context("it runs")?;
        let mut missing = whats.to_vec();
        while let Some(Line::Error(line) | Line::Output(line)) = process.line()? {
            missing.retain(|what| !line.contains(what));
            if missing.is_empty() {
                return Ok(());
            }
        }
        bail!("Mosquitto never says {missing:?}")
    }

    /// Ends it; what waits is kept.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.take().context("it runs")?.stop().map(drop)
    }

    /// Where devices are let in, and where servers are.
    pub(crate) fn devices(&self) -> Door {
        self.door(DEVICES)
    }

    pub(crate) fn servers(&self) -> Door {
        self.door(SERVERS)
    }

    fn door(&self, port: &str) -> Door {
        let address = format!("{}:{port}", self.address);
        Door { address, ca: self.folder.join("server-ca.pem"), version: Version::Mqtt5 }
    }
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/mosquitto").join(name)
}
