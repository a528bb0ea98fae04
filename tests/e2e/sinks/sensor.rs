//! A sensor: a real MQTT client, a certificate from the real enrolment, and a key that signs what it says.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SigningKey as _};
use reqwest::Certificate;
use reqwest::blocking::Client;
use waxwing_e2e::process::run;
use waxwing_e2e::server::{Listener, Server};
use waxwing_e2e::world::World;
use waxwing_wire::envelope::Header;
use waxwing_wire::topic::{Kind, Topic};
use waxwing_wire::{DeviceId, MessageId};

/// Where sensors say what they say, and how they know it.
pub(crate) struct Door {
    /// Host and port.
    pub(crate) address: String,
    /// Who signs its certificate.
    pub(crate) ca: PathBuf,
    /// What is spoken there.
    pub(crate) version: Version,
}

/// A version of MQTT.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    Mqtt311,
    Mqtt5,
}

impl Version {
    /// Returns how a client of Mosquitto's is told, and that its session lasts.
    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Mqtt311 => &["-V", "311", "-c"],
            Self::Mqtt5 => &["-V", "5", "-c", "-x", "3600"],
        }
    }
}

impl Door {
    fn of(server: &Server) -> Self {
        let address = server.address(Listener::Mqtt).to_owned();
        Self { address, ca: server.ca(), version: Version::Mqtt5 }
    }
}

/// A sensor.
pub(crate) struct Sensor {
    pub(crate) device: DeviceId,
    key: KeyPair,
    pub(crate) folder: PathBuf,
}

impl Sensor {
    /// Registers and enrols a sensor.
    pub(crate) fn enrol(world: &World, folder: &Path, device: &str) -> Result<Self> {
        let token = world.register(device)?;
        let folder = folder.join(device);
        fs::create_dir_all(&folder)?;
        let key = KeyPair::generate()?;
        fs::write(folder.join("key.pem"), key.serialize_pem())?;
        let mut request = CertificateParams::default();
        request.distinguished_name = DistinguishedName::new();
        let request = base64(request.serialize_request(&key)?.der());
        let ca = Certificate::from_pem(&fs::read(world.server.ca())?)?;
        let url = format!("{}/.well-known/est/simpleenroll", world.server.url(Listener::Enrol));
        let client = Client::builder().tls_certs_only([ca]).build()?;
        let answer = client.post(url).basic_auth(device, Some(token)).body(request).send()?;
        let pkcs7 = answer.error_for_status()?.text()?;
        let pkcs7 = format!("-----BEGIN PKCS7-----\n{}\n-----END PKCS7-----\n", pkcs7.trim());
        let mut openssl = Command::new("openssl");
        let pem = run(openssl.args(["pkcs7", "-print_certs"]), pkcs7.as_bytes())?;
        fs::write(folder.join("cert.pem"), pem)?;
        Ok(Self { device: DeviceId::parse(device)?, key, folder })
    }

    /// Seals telemetry as this sensor, at the present time.
    pub(crate) fn seal(&self, id: &str, payload: &str) -> Result<String> {
        self.seal_as(Kind::Telemetry, id, payload)
    }

    /// Seals a message as this sensor, at the present time.
    pub(crate) fn seal_as(&self, kind: Kind, id: &str, payload: &str) -> Result<String> {
        #[expect(clippy::disallowed_methods, reason = "the server judges it by the real time")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let (device_id, timestamp) = (self.device.clone(), now.as_secs());
        let header = Header { device_id, timestamp, message_id: MessageId::parse(id)? };
        let signed = header.signed_prefix(kind) + payload;
        let signature = self.key.sign(signed.as_bytes())?;
        Ok(header.seal(payload, &hex(&signature)))
    }

    /// Begins a session in which what is sent to it is kept.
    pub(crate) fn listen(&self, server: &Server) -> Result<()> {
        self.listen_at(&Door::of(server))
    }

    /// As [`Sensor::listen`], somewhere.
    pub(crate) fn listen_at(&self, door: &Door) -> Result<()> {
        self.listen_on(door, &self.topic(Kind::Command))
    }

    /// As [`Sensor::listen_at`], under the name that existing devices use.
    pub(crate) fn listen_existing_at(&self, door: &Door) -> Result<()> {
        self.listen_on(door, &format!("device/{}/response", self.device))
    }

    fn listen_on(&self, door: &Door, topic: &str) -> Result<()> {
        run(self.client("mosquitto_sub", door)?.args(["-t", topic, "-E"]), b"").map(drop)
    }

    /// As [`Sensor::next_at`], under the name that existing devices use.
    pub(crate) fn next_existing_at(&self, door: &Door) -> Result<String> {
        self.next_on(door, &format!("device/{}/response", self.device))
    }

    /// Returns the next message to it.
    pub(crate) fn next(&self, server: &Server) -> Result<String> {
        self.next_at(&Door::of(server))
    }

    /// As [`Sensor::next`], somewhere.
    pub(crate) fn next_at(&self, door: &Door) -> Result<String> {
        self.next_on(door, &self.topic(Kind::Command))
    }

    fn next_on(&self, door: &Door, topic: &str) -> Result<String> {
        let mut client = self.client("mosquitto_sub", door)?;
        run(client.args(["-t", topic, "-C", "1", "-W", "60"]), b"")
    }

    /// Says these with `QoS` 1, each a payload, and returns what it sent once all are acknowledged. Their ids
    /// are numbers from `first` on.
    pub(crate) fn say(&self, server: &Server, first: usize, payloads: &[String]) -> Result<String> {
        self.say_at(&Door::of(server), first, payloads)
    }

    /// As [`Sensor::say`], somewhere.
    pub(crate) fn say_at(&self, door: &Door, first: usize, payloads: &[String]) -> Result<String> {
        let sealed = payloads.iter().enumerate();
        let sealed = sealed.map(|(n, it)| self.seal(&format!("m-{}", first + n), it));
        let lines = sealed.collect::<Result<Vec<_>>>()?.join("\n") + "\n";
        self.publish_at(door, &self.topic(Kind::Telemetry), &lines)?;
        Ok(lines)
    }

    /// Says this with `QoS` 1.
    pub(crate) fn publish(&self, server: &Server, kind: Kind, sealed: &str) -> Result<()> {
        self.publish_on(server, &self.topic(kind), sealed)
    }

    /// Says this with `QoS` 1 on any topic.
    pub(crate) fn publish_on(&self, server: &Server, topic: &str, message: &str) -> Result<()> {
        let mut client = self.client("mosquitto_pub", &Door::of(server))?;
        run(client.args(["-t", topic, "-m", message]), b"").map(drop)
    }

    /// Publishes each line on a topic with `QoS` 1, and waits until all are acknowledged.
    pub(crate) fn publish_at(&self, door: &Door, topic: &str, lines: &str) -> Result<()> {
        let output = self.try_publish_at(door, topic, lines)?;
        ensure!(output.is_empty(), "mosquitto_pub says: {output}");
        Ok(())
    }

    /// Publishes as [`Sensor::publish_at`], and returns what the client says of it.
    pub(crate) fn try_publish_at(&self, door: &Door, topic: &str, lines: &str) -> Result<String> {
        let mut client = self.client("mosquitto_pub", door)?;
        client.args(["-l", "-t", topic]);
        said(&mut client, lines.as_bytes())
    }

    /// Tells whether it can connect: it publishes nothing on a topic that nobody takes from it.
    pub(crate) fn is_let_in(&self, door: &Door) -> Result<bool> {
        let mut client = self.client("mosquitto_pub", door)?;
        client.args(["-t", &self.topic(Kind::State), "-n"]);
        // Not by lines: mosquitto_pub then may wait for ever for a connection that was refused.
        Ok(said(&mut client, b"")?.is_empty())
    }

    pub(crate) fn topic(&self, kind: Kind) -> String {
        Topic { device: self.device.clone(), kind }.to_string()
    }

    /// Prepares a client of Mosquitto's, in a session that lasts.
    fn client(&self, program: &str, door: &Door) -> Result<Command> {
        let (host, port) = door.address.rsplit_once(':').context("an address")?;
        let mut client = Command::new(program);
        client.args(door.version.options()).args(["-q", "1", "-i", self.device.as_str()]);
        client.args(["-h", host, "-p", port]).arg("--cafile").arg(&door.ca);
        client.arg("--cert").arg(self.folder.join("cert.pem"));
        client.arg("--key").arg(self.folder.join("key.pem"));
        Ok(client)
    }
}

/// Runs a client, and returns what it says on either output.
fn said(client: &mut Command, stdin: &[u8]) -> Result<String> {
    let mut child =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut pipe = child.stdin.take().context("standard input is piped")?;
    // One that is not let in reads nothing.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    let output = child.wait_with_output()?;
    Ok(String::from_utf8([output.stdout, output.stderr].concat())?)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
