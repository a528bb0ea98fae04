//! A ceremony folder, keys of no worth, and the real program.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use waxwing_esp_image::Chip;
use waxwing_esp_image::write::AppBuilder;
use waxwing_keys::key_file::{self, Cost};
use waxwing_keys::secret::Secret;
use waxwing_tuf::author::{Algorithm, PublicKeyFile, SecretKey};

/// The passphrase of every key in these tests.
pub(crate) const WORDS: &str = "correct horse battery staple";

/// Where `root init` of the product writes.
pub(crate) const ROOT: &str = "acme-th1/metadata/1.root.json";

/// The role file of the stable channel.
pub(crate) const STABLE: &str = "acme-th1/metadata/acme-th1-stable.json";

/// The file that delegates.
pub(crate) const TARGETS: &str = "acme-th1/metadata/targets.json";

/// A folder in which ceremonies are held.
pub(crate) struct Ceremony {
    folder: tempfile::TempDir,
}

impl Ceremony {
    /// An empty folder with keys for everybody, half of them P-256.
    pub(crate) fn new() -> Self {
        let ceremony = Self { folder: tempfile::tempdir().unwrap() };
        let names = ["alice", "bob", "carol", "dave", "at", "bt", "ar", "br", "s", "t"];
        for (seed, name) in (1..).zip(names) {
            let algorithm = if seed % 2 == 0 { Algorithm::EcdsaP256 } else { Algorithm::Ed25519 };
            ceremony.key(name, algorithm, seed);
        }
        ceremony.define("1.0.0", "stable", 1);
        ceremony
    }

    /// A folder with a signed 2-of-3 root and a channel `stable` that lists nothing yet, unsigned.
    pub(crate) fn delegated() -> Self {
        let ceremony = Self::new();
        ceremony.run(&root_init("image/acme-th1", ROOT)).good();
        ceremony.sign(ROOT, "alice").good();
        ceremony.sign(ROOT, "carol").good();
        ceremony.run(&delegate("stable", "2:ar.pub.json,br.pub.json")).good();
        ceremony
    }

    /// The same with release 1.0.0 listed and everything signed.
    pub(crate) fn signed() -> Self {
        let ceremony = Self::delegated();
        ceremony.image("1.0.0.bin", "1.0.0", 0);
        ceremony.add("1.0.0").good();
        for (file, key) in [(STABLE, "br"), (TARGETS, "at"), (STABLE, "ar"), (TARGETS, "bt")] {
            ceremony.sign(file, key).good();
        }
        ceremony
    }

    /// The same, published.
    pub(crate) fn published() -> Self {
        let ceremony = Self::signed();
        ceremony.publish(&[]).good();
        ceremony
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// Replaces text in a file, which must contain it.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.text(name);
        assert!(text.contains(from), "{name} has no {from}: {text}");
        self.write(name, text.replace(from, to));
    }

    /// Makes a key whose encryption costs nothing, so that tests are fast.
    pub(crate) fn key(&self, name: &str, algorithm: Algorithm, seed: u8) -> SecretKey {
        let path = self.path(&format!("{name}.key"));
        let secret = Secret::new(WORDS.to_owned());
        let mut random = |bytes: &mut [u8]| {
            bytes.fill(seed);
            Ok(())
        };
        let cost = Cost::DANGER_NONE;
        let key = key_file::create(&path, algorithm, &secret, cost, &mut random).unwrap();
        let public = PublicKeyFile::of(&key, name).to_bytes().unwrap();
        self.write(&format!("{name}.pub.json"), &public);
        key
    }

    /// Writes the definition of a release of acme-th1.
    pub(crate) fn define(&self, version: &str, channel: &str, security_version: u32) {
        let product = "id = \"acme-th1\"\nchip = \"esp32c3\"\nhardware = [\"r1\"]\n\
                       channels = [\"stable\", \"beta\"]\nslot_bytes = 65536\n";
        self.write("releases/acme-th1/product.toml", product);
        let release = format!(
            "version = \"{version}\"\nchannel = \"{channel}\"\n\
             security_version = {security_version}\nimage = \"{version}.bin\"\n"
        );
        self.write(&format!("releases/acme-th1/{version}.toml"), release);
    }

    /// Writes an app image for acme-th1.
    pub(crate) fn image(&self, name: &str, version: &str, secure_version: u32) {
        self.write(name, app(Chip::Esp32c3, version, "acme-th1", secure_version, 4096));
    }

    pub(crate) fn add(&self, version: &str) -> Ran {
        let definition = format!("releases/acme-th1/{version}.toml");
        self.run(&["release", "add", &definition, "--dir", "acme-th1"])
    }

    pub(crate) fn sign(&self, file: &str, key: &str) -> Ran {
        let key = format!("{key}.key");
        let args = ["sign", file, "--key", &key, "--yes", "--passphrase-fd", "0"];
        self.run_with(&args, &format!("{WORDS}\n"))
    }

    pub(crate) fn publish(&self, more: &[&str]) -> Ran {
        let keys = ["--snapshot-key", "s.key", "--timestamp-key", "t.key"];
        let args = [&["publish", "--dir", "acme-th1", "--passphrase-fd", "0"], &keys[..], more];
        self.run_with(&args.concat(), &format!("{WORDS}\n{WORDS}\n"))
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ran {
        Ran::of(self.command().args(args), input)
    }

    /// The real program, in this folder.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waxwing-keys"));
        command.current_dir(self.folder.path()).env_remove("WAXWING_PKCS11_MODULE");
        command
    }

    /// The lines of the transcript.
    pub(crate) fn transcript(&self) -> Vec<Value> {
        let text = self.text("transcript.jsonl");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Every metadata file of the product with its content.
    pub(crate) fn metadata(&self) -> Vec<(String, Vec<u8>)> {
        let files = fs::read_dir(self.path("acme-th1/metadata")).unwrap();
        let mut files: Vec<_> = files
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }
}

/// Arguments of `root init` with alice, bob and carol for root, two of three.
pub(crate) fn root_init<'a>(repo: &'a str, out: &'a str) -> Vec<&'a str> {
    let root = "2:alice.pub.json,bob.pub.json,carol.pub.json";
    let targets = "2:at.pub.json,bt.pub.json";
    let (snapshot, timestamp) = ("1:s.pub.json", "1:t.pub.json");
    vec![
        "root",
        "init",
        "--repo",
        repo,
        "--root",
        root,
        "--targets",
        targets,
        "--snapshot",
        snapshot,
        "--timestamp",
        timestamp,
        "-o",
        out,
    ]
}

/// Arguments of `delegate`.
pub(crate) fn delegate<'a>(channel: &str, keys: &'a str) -> Vec<&'a str> {
    let role = match channel {
        "beta" => "acme-th1-beta",
        _ => "acme-th1-stable",
    };
    vec!["delegate", "--dir", "acme-th1", "--role", role, "--keys", keys]
}

/// An app image with `rodata` bytes of content.
pub(crate) fn app(
    chip: Chip,
    version: &str,
    project: &str,
    secure_version: u32,
    rodata: usize,
) -> Vec<u8> {
    AppBuilder::new(chip)
        .version(version)
        .project(project)
        .secure_version(secure_version)
        .rodata(vec![7; rodata])
        .build()
        .unwrap()
}

/// What a run of the program left.
pub(crate) struct Ran(pub(crate) Output);

impl Ran {
    pub(crate) fn of(command: &mut Command, input: &str) -> Self {
        Self::into(command, input, Stdio::piped())
    }

    /// Runs it where nothing more can be said on standard output.
    pub(crate) fn to_a_full_disk(command: &mut Command, input: &str) -> Self {
        Self::into(command, input, File::create("/dev/full").unwrap().into())
    }

    fn into(command: &mut Command, input: &str, output: Stdio) -> Self {
        command.stdin(Stdio::piped()).stdout(output).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that refuses at once does not wait for input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Self(child.wait_with_output().unwrap())
    }

    /// Asserts success and returns what was shown.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        let errors = String::from_utf8_lossy(&self.0.stderr).into_owned();
        assert!(self.0.status.success(), "{errors}");
        String::from_utf8(self.0.stdout).unwrap()
    }

    /// Asserts a refusal whose reason contains `reason`.
    #[track_caller]
    pub(crate) fn refused(self, reason: &str) {
        let errors = String::from_utf8_lossy(&self.0.stderr).into_owned();
        assert_eq!(self.0.status.code(), Some(1), "{errors}");
        assert!(errors.contains(reason), "expected `{reason}`: {errors}");
    }
}
