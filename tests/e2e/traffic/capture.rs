//! Debian's tshark: captures on loopback, and reads what was captured.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use waxwing_e2e::process::{Line, Process, run};

/// A capture that goes on.
pub(super) struct Capture {
    process: Process,
    file: PathBuf,
    /// What is sent here comes after everything that was sent before.
    marker: UdpSocket,
}

impl Capture {
    /// Captures the TCP traffic of these ports; needs the rights of root, or of Debian's group `wireshark`.
    pub(super) fn begin(folder: &Path, ports: &[u16]) -> Result<Self> {
        let marker = UdpSocket::bind("127.0.0.1:0")?;
        let ports = ports.iter().map(|port| format!("tcp port {port} or "));
        let filter = format!("{}udp port {}", ports.collect::<String>(), port(&marker)?);
        let file = folder.join("session.pcapng");
        let mut tshark = Command::new("tshark");
        // Each packet is shown when it is written.
        tshark.args(["-i", "lo", "-f", &filter, "-P", "-l", "-w"]).arg(&file);
        let process = Process::spawn("tshark", tshark, folder)?;
        wait_for(&process, |line| matches!(line, Line::Error(it) if it.ends_with("started.")))?;
        Ok(Self { process, file, marker })
    }

    /// Ends it, once everything that was sent is in the file.
    pub(super) fn end(self) -> Result<Packets> {
        self.marker.send_to(b"the end", self.marker.local_addr()?)?;
        let is_marker = |line: &Line| matches!(line, Line::Output(it) if it.contains(" UDP "));
        wait_for(&self.process, is_marker)?;
        self.process.stop()?;
        Ok(Packets(self.file))
    }
}

/// What was captured.
pub(super) struct Packets(PathBuf);

impl Packets {
    /// Returns all bytes that were sent to and from a port, in the order in which they were captured.
    pub(super) fn payload(&self, port: u16) -> Result<Vec<u8>> {
        let filter = format!("tcp.port == {port} && tcp.len > 0");
        let fields = self.read(&["-Y", &filter, "-T", "fields", "-e", "tcp.payload"])?;
        bytes(&fields.replace('\n', ""))
    }

    /// Returns the MQTT messages of a port with their topics, as far as they can be read: under TLS only with the
    /// keys of the sessions.
    pub(super) fn messages(&self, port: u16, keys: Option<&Path>) -> Result<Vec<(String, String)>> {
        let (tls, mqtt) = (format!("tcp.port=={port},tls"), format!("tls.port=={port},mqtt"));
        let plain = format!("tcp.port=={port},mqtt");
        let as_what = if port == 1883 { vec!["-d", &plain] } else { vec!["-d", &tls, "-d", &mqtt] };
        let keys = keys.map(|keys| format!("tls.keylog_file:{}", keys.display()));
        let keys: Vec<_> = keys.iter().flat_map(|keys| ["-o", keys.as_str()]).collect();
        let filter = format!("mqtt.msg && tcp.port == {port}");
        let what = ["-Y", &filter, "-T", "fields", "-E", "separator=|"];
        let fields = ["-e", "mqtt.topic", "-e", "mqtt.msg"];
        let said = self.read(&[&keys[..], &as_what, &what, &fields].concat())?;
        let messages = said.lines().map(messages).collect::<Result<Vec<_>>>()?;
        Ok(messages.concat())
    }

    fn read(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new("tshark").arg("-r").arg(&self.0).args(arguments), b"")
    }
}

/// Reads the messages of one packet.
fn messages(line: &str) -> Result<Vec<(String, String)>> {
    let (topics, payloads) = line.split_once('|').context("two fields")?;
    let pairs = topics.split(',').zip(payloads.split(','));
    pairs.map(|(topic, it)| Ok((topic.to_owned(), String::from_utf8(bytes(it)?)?))).collect()
}

fn bytes(hexadecimal: &str) -> Result<Vec<u8>> {
    let pairs = (0..hexadecimal.len()).step_by(2).map(|at| hexadecimal.get(at..at + 2));
    pairs.map(|pair| Ok(u8::from_str_radix(pair.context("two digits")?, 16)?)).collect()
}

fn port(socket: &UdpSocket) -> Result<u16> {
    Ok(socket.local_addr()?.port())
}

fn wait_for(process: &Process, is_it: impl Fn(&Line) -> bool) -> Result<()> {
    while let Some(line) = process.line()? {
        if is_it(&line) {
            return Ok(());
        }
    }
    bail!("tshark ended; see {}", process.log().display())
}
