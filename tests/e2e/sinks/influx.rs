//! Debian's InfluxDB in a folder of its own, over TLS, with a user and a password.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Certificate;
use reqwest::blocking::Client;
use serde_json::Value;
use waxwing_e2e::process::{Line, Process};

/// The password of its only user, in a file of its own.
const PASSWORD: &str = "correct-horse-battery-staple";

/// How often it is asked for what must come: a question takes a millisecond or more.
const QUERIES_MAX: usize = 100_000;

/// An InfluxDB.
pub(crate) struct Influx {
    folder: PathBuf,
    process: Option<Process>,
    address: String,
    client: Client,
}

impl Influx {
    /// Starts it for the first time, and makes its user and its database.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let identity = rcgen::generate_simple_self_signed(names)?;
        fs::write(folder.join("ca.pem"), identity.cert.pem())?;
        fs::write(folder.join("key.pem"), identity.signing_key.serialize_pem())?;
        let ca = Certificate::from_pem(identity.cert.pem().as_bytes())?;
        let client = Client::builder().tls_certs_only([ca]).build()?;
        let address = "127.0.0.1:0".to_owned();
        let mut influx = Self { folder: folder.to_owned(), process: None, address, client };
        influx.start()?;
        let create = format!("CREATE USER waxwing WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES");
        influx.ask(&create)?;
        influx.ask("CREATE DATABASE waxwing")?;
        Ok(influx)
    }

    /// Starts it, where it listened before.
    pub(crate) fn start(&mut self) -> Result<()> {
        fs::write(self.folder.join("influxdb.conf"), self.configuration())?;
        let mut command = Command::new("influxd");
        command.arg("-config").arg(self.folder.join("influxdb.conf")).env("HOME", &self.folder);
        let process = Process::spawn("influxd", command, &self.folder)?;
        self.address = loop {
            let Some(Line::Error(line) | Line::Output(line)) = process.line()? else {
                bail!("InfluxDB did not start; see {}", process.log().display());
            };
            if let Some(rest) = line.split_once("Listening on HTTP").map(|(_, rest)| rest) {
                let address = rest.split_once("addr=").context("it says where")?.1;
                break address.split_whitespace().next().unwrap_or_default().to_owned();
            }
        };
        self.process = Some(process);
        Ok(())
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.take().context("it runs")?.kill()
    }

    /// Returns the section of the configuration by which a server writes to it.
    pub(crate) fn section(&self) -> Result<String> {
        let token = self.folder.join("token");
        fs::write(&token, PASSWORD)?;
        fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(format!(
            "[[sinks]]\nname = \"influx\"\nkind = \"influxdb\"\nuser = \"waxwing\"\n\
             url = \"https://{}/write?db=waxwing\"\ntoken_file = \"{}\"\nca_file = \"{}\"\n",
            self.address,
            token.display(),
            self.folder.join("ca.pem").display(),
        ))
    }

    /// Asks until the one number of the answer is at least this.
    pub(crate) fn count_reaches(&self, query: &str, wanted: u64) -> Result<u64> {
        let mut found = 0;
        for _ in 0..QUERIES_MAX {
            let answer = self.ask(query)?;
            let number = answer.pointer("/results/0/series/0/values/0/1");
            found = number.and_then(Value::as_u64).unwrap_or(0);
            if found >= wanted {
                return Ok(found);
            }
        }
        bail!("{query}: {found} of {wanted}")
    }

    /// Makes a user who may read and nothing else, with the password of the other.
    pub(crate) fn add_reader(&self, name: &str) -> Result<()> {
        self.ask(&format!("CREATE USER {name} WITH PASSWORD '{PASSWORD}'"))?;
        self.ask(&format!("GRANT READ ON waxwing TO {name}")).map(drop)
    }

    /// Asks as its user.
    pub(crate) fn ask(&self, query: &str) -> Result<Value> {
        self.ask_as("waxwing", query)
    }

    /// Asks as one of its users.
    pub(crate) fn ask_as(&self, user: &str, query: &str) -> Result<Value> {
        let url = format!("https://{}/query", self.address);
        let request = self.client.post(url).basic_auth(user, Some(PASSWORD));
        let answer = request.query(&[("db", "waxwing"), ("q", query)]).send()?.text()?;
        let answer: Value = serde_json::from_str(&answer)?;
        let failed = [answer.pointer("/error"), answer.pointer("/results/0/error")];
        ensure!(failed == [None, None], "{answer}");
        Ok(answer)
    }

    /// Asks as nobody, and returns the status.
    pub(crate) fn ask_as_nobody(&self) -> Result<u16> {
        let url = format!("https://{}/query?db=waxwing&q=SHOW+MEASUREMENTS", self.address);
        Ok(self.client.get(url).send()?.status().as_u16())
    }

    fn configuration(&self) -> String {
        let folder = self.folder.display();
        format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n\
             [meta]\ndir = \"{folder}/meta\"\n\
             [data]\ndir = \"{folder}/data\"\nwal-dir = \"{folder}/wal\"\n\
             [monitor]\nstore-enabled = false\n\
             [http]\nbind-address = \"{}\"\nauth-enabled = true\nhttps-enabled = true\n\
             https-certificate = \"{folder}/ca.pem\"\nhttps-private-key = \"{folder}/key.pem\"\n",
            self.address
        )
    }
}
