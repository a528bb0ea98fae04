//! `espsecure` 5.6.0 as an oracle, and a folder with keys and signed images it has made.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use tempfile::TempDir;
use waxwing_esp_image::Chip;
use waxwing_esp_image::signature::Sector;
use waxwing_esp_image::write::AppBuilder;
use waxwing_secure_boot::{Refusal, Signed, verify};

/// What `espsecure` said to one command.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) accepted: bool,
    pub(crate) text: String,
}

/// A folder in which `espsecure` works.
pub(crate) struct Workshop {
    folder: TempDir,
    steps: Vec<Vec<String>>,
}

impl Workshop {
    /// Makes a folder with an unsigned image.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workshop = Self { folder, steps: Vec::new() };
        let image = AppBuilder::new(Chip::Esp32c6).project("th1").version("1.4.2");
        workshop.write("image.bin", &image.rodata(*b"hello").build().unwrap());
        workshop
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(name)).unwrap()
    }

    /// Adds a command, with words that begin with `@` as files of the folder.
    pub(crate) fn step(&mut self, command: &str) -> &mut Self {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let word = |word: &str| word.strip_prefix('@').map_or_else(|| word.to_owned(), path);
        let words = command.split(' ').map(word).collect();
        self.steps.push(words);
        self
    }

    /// Runs the commands.
    pub(crate) fn run(&mut self) -> Vec<Answer> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run_espsecure.py");
        let python = std::env::var_os("WAXWING_PYTHON").expect(
            "WAXWING_PYTHON must name a Python interpreter with esptool 5.6.0; \
             `cargo xtask test` prepares one and sets it",
        );
        let mut python = Command::new(python)
            .arg(script)
            .env("PYTHONIOENCODING", "utf-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("WAXWING_PYTHON cannot be run");
        let steps = serde_json::to_vec(&std::mem::take(&mut self.steps)).unwrap();
        python.stdin.take().unwrap().write_all(&steps).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs the commands, which must all succeed.
    #[track_caller]
    pub(crate) fn run_all(&mut self) -> Vec<Answer> {
        let answers = self.run();
        for answer in &answers {
            assert!(answer.accepted, "{}", answer.text);
        }
        answers
    }

    /// Makes a key of a scheme as espsecure calls them, with its public half in `<name>.pub`: loading
    /// a secret RSA key takes half a second.
    pub(crate) fn key(&mut self, scheme: &str, name: &str) -> &mut Self {
        self.step(&format!("generate-signing-key --version 2 --scheme {scheme} @{name}"));
        self.step(&format!("extract-public-key --version 2 --keyfile @{name} @{name}.pub"))
    }

    /// Signs a file.
    pub(crate) fn sign(&mut self, from: &str, key: &str, to: &str) -> &mut Self {
        self.step(&format!("sign-data --version 2 --keyfile @{key} --output @{to} @{from}"))
    }

    /// Adds a signature to a signed file.
    pub(crate) fn append(&mut self, from: &str, key: &str, to: &str) -> &mut Self {
        let output = format!("--append-signatures --output @{to}");
        self.step(&format!("sign-data --version 2 --keyfile @{key} {output} @{from}"))
    }
}

/// Our verdict on a file.
pub(crate) fn ours(file: &[u8]) -> Result<Vec<Signed>, Refusal> {
    verify(&Sector::of_file(file)?)
}

/// The key digests that `signature-info-v2` prints.
pub(crate) fn key_digests(text: &str) -> Vec<String> {
    let digests = text.split("Public key digest for block ").skip(1);
    digests
        .map(|rest| {
            let (_, rest) = rest.split_once(':').unwrap();
            // Log lines may be wrapped.
            let hex: String = rest.chars().filter(|c| !c.is_whitespace()).take(64).collect();
            hex
        })
        .collect()
}
