//! A real mail server on this machine: aiosmtpd, which somebody else wrote.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{fs, thread};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Far longer than a message takes on one machine.
const SOON: Duration = Duration::from_secs(20);

/// The name and password that it asks for.
pub(crate) const LOGIN: [&str; 2] = ["waxwing", "correct horse"];

/// How it is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Not at all, and it offers nothing else.
    Plain,
    Starttls,
    Tls,
}

/// A mail server, until it is dropped.
pub(crate) struct Smtpd {
    pub(crate) port: u16,
    /// The certificate that it shows, which signed itself.
    pub(crate) ca_file: PathBuf,
    /// A file with the password.
    pub(crate) password_file: PathBuf,
    child: Child,
    said: Receiver<Value>,
    _folder: TempDir,
}

impl Smtpd {
    /// Starts one that asks for a login, and answers these first, instead of taking a message.
    pub(crate) fn start(mode: Mode, answers: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(path("certificate.pem"), identity.cert.pem()).unwrap();
        fs::write(path("key.pem"), identity.signing_key.serialize_pem()).unwrap();
        write_secret(&path("password"), LOGIN[1]);
        let word = format!("{mode:?}").to_lowercase();
        let settings = json!({
            "mode": word, "certificate": path("certificate.pem"), "key": path("key.pem"),
            "login": LOGIN, "answers": answers,
        });
        let python = std::env::var_os("WAXWING_PYTHON").expect(
            "WAXWING_PYTHON must name a Python interpreter with aiosmtpd 1.4.6; `cargo xtask test` does",
        );
        let mut child = Command::new(python)
            .args(["-c", include_str!("smtpd.py"), &settings.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (say, said) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                say.send(serde_json::from_str(&line).unwrap()).ok();
            }
        });
        let first: Value = said.recv_timeout(SOON).expect("aiosmtpd did not start");
        let port = first["port"].as_u64().unwrap().try_into().unwrap();
        let (ca_file, password_file) = (path("certificate.pem"), path("password"));
        Self { port, ca_file, password_file, child, said, _folder: folder }
    }

    /// Returns the next message that came.
    pub(crate) fn next(&self) -> Value {
        self.said.recv_timeout(SOON).expect("no mail came")
    }

    /// Expects that nothing else has come: neither a message nor a wrong login.
    #[track_caller]
    pub(crate) fn nothing_more(&self) {
        assert!(self.said.try_recv().is_err());
    }
}

impl Drop for Smtpd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Writes a file for its owner only.
fn write_secret(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
