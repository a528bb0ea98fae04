//! A room in which ceremonies are held: people with a token each, the real tool, and python-tuf,
//! which judges every file after every step beside our own verifier.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::UNIX_EPOCH;

use serde_json::Value;
use waxwing_e2e::process::{refusal, run};
use waxwing_e2e::program::Program;
use waxwing_tuf::client::{Limits, Repository};
use waxwing_tuf::{MemoryStore, Time};

/// The PIN of every token and the passphrase of every file in the room.
const PIN: &str = "correct horse battery staple";
const OFFICER_PIN: &str = "the officer's PIN";

/// Which kind of key a person makes.
pub(crate) const ED25519: &str = "ed25519";
pub(crate) const P256: &str = "p256";

pub(crate) struct Room {
    folder: tempfile::TempDir,
    judge: RefCell<Judge>,
}

impl Room {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        fs::create_dir_all(&tokens).unwrap();
        fs::create_dir_all(folder.path().join("ceremony/keys")).unwrap();
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
        fs::write(folder.path().join("softhsm2.conf"), text).unwrap();
        let pin = folder.path().join("pin");
        fs::write(&pin, PIN).unwrap();
        fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
        Self { folder, judge: RefCell::new(Judge::start()) }
    }

    /// The ceremony folder; every command runs in it.
    pub(crate) fn ceremony(&self) -> PathBuf {
        self.folder.path().join("ceremony")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.ceremony().join(name)
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Gives somebody a token of their own name.
    pub(crate) fn give_token(&self, holder: &str) {
        let init = ["--init-token", "--free", "--label", holder, "--pin", PIN];
        self.softhsm(&[&init[..], &["--so-pin", OFFICER_PIN]].concat());
    }

    /// Destroys a token, as fire does.
    pub(crate) fn destroy_token(&self, holder: &str) {
        self.softhsm(&["--delete-token", "--token", holder]);
    }

    /// Makes a key in a token; its public half lies in `keys/<holder>-<label>.pub.json`.
    pub(crate) fn make_key(&self, holder: &str, label: &str, algorithm: &str) {
        let new = ["key", "new", "--alg", algorithm, "--token", holder, "--label", label];
        run(self.tool().args(new).args(["--passphrase-fd", "0"]), &pin()).unwrap();
        let name = format!("{holder}-{label}");
        let public = ["key", "pub", &uri(holder, label), "--name", &name, "-o", &public(&name)];
        run(self.tool().args(public).args(["--passphrase-fd", "0"]), &pin()).unwrap();
    }

    /// Takes a step, and has everything judged that lies in the folder afterwards.
    #[track_caller]
    pub(crate) fn step(&self, args: &[&str]) -> String {
        let shown = run(self.tool().args(args), &pin()).unwrap();
        self.judge();
        shown
    }

    /// Tries what must be refused and must change nothing, and returns the reason.
    #[track_caller]
    pub(crate) fn is_refused(&self, args: &[&str]) -> String {
        let before = self.metadata();
        let reason = refusal(self.tool().args(args), &pin()).unwrap();
        assert_eq!(self.metadata(), before, "{args:?} changed something: {reason}");
        reason
    }

    /// Somebody signs with a key of their token.
    #[track_caller]
    pub(crate) fn sign(&self, file: &str, holder: &str, label: &str) -> String {
        self.step(&sign_args(file, &uri(holder, label)))
    }

    #[track_caller]
    pub(crate) fn cannot_sign(&self, file: &str, holder: &str, label: &str) -> String {
        self.is_refused(&sign_args(file, &uri(holder, label)))
    }

    /// Tells whether a file is signed by whom it must be, by both verifiers.
    #[track_caller]
    pub(crate) fn believes(&self, file: &str) -> bool {
        self.judge().files[file]
    }

    /// What clients say that know only the first root: `1 targets`.
    #[track_caller]
    pub(crate) fn walk(&self, repository: &str) -> String {
        self.judge().walks[repository].clone()
    }

    /// Prepares the real tool.
    pub(crate) fn tool(&self) -> Command {
        let mut tool = Program::Keys.command().unwrap();
        tool.current_dir(self.ceremony());
        tool.env("SOFTHSM2_CONF", self.folder.path().join("softhsm2.conf"));
        tool.env("WAXWING_PKCS11_MODULE", module());
        tool
    }

    /// Asks python-tuf and our own verifier, which must agree on every file and repository.
    #[track_caller]
    fn judge(&self) -> Verdict {
        let verdict = self.judge.borrow_mut().ask(&self.ceremony());
        for (file, believed) in &verdict.files {
            let ours = self.tool().args(["check", file]).output().unwrap();
            let reason = String::from_utf8_lossy(&ours.stderr).into_owned();
            assert_eq!(ours.status.success(), *believed, "python-tuf differs on {file}: {reason}");
        }
        for (repository, walked) in &verdict.walks {
            let ours = self.walk_ourselves(repository, &verdict);
            assert_eq!(ours.is_ok(), walked.ends_with(" targets"), "{walked}, but {ours:?}");
        }
        verdict
    }

    /// What a device does that knows only the first root.
    fn walk_ourselves(
        &self,
        repository: &str,
        verdict: &Verdict,
    ) -> Result<(), waxwing_tuf::Refusal> {
        let folder = format!("{repository}/metadata");
        let names = fs::read_dir(self.path(&folder)).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // A root that is not signed yet is no part of what is served.
        let served =
            names.filter(|name| verdict.files.get(&format!("{folder}/{name}")) != Some(&false));
        let files = served.map(|name| (name.clone(), self.bytes(&format!("{folder}/{name}"))));
        let mut fetch: MemoryStore = files.collect();
        let first = self.bytes(&format!("{folder}/1.root.json"));
        let mut client = Repository::open(MemoryStore::new(), &first, None, Limits::HOST)?;
        client.refresh(&mut fetch, self.now(repository))
    }

    /// When the repository was published, by the clock of this machine.
    pub(crate) fn now(&self, repository: &str) -> Time {
        let file = fs::metadata(self.path(&format!("{repository}/metadata/timestamp.json")));
        let written = file.unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
        Time::from_seconds(written.as_secs())
    }

    fn metadata(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for repository in ["acme-th1", "director"] {
            let Ok(entries) = fs::read_dir(self.path(&format!("{repository}/metadata"))) else {
                continue;
            };
            for path in entries.map(|entry| entry.unwrap().path()) {
                files.insert(path.clone(), fs::read(path).unwrap());
            }
        }
        files
    }

    fn softhsm(&self, args: &[&str]) {
        let mut tool = Command::new("softhsm2-util");
        tool.env("SOFTHSM2_CONF", self.folder.path().join("softhsm2.conf"));
        run(tool.args(args), b"").unwrap();
    }
}

/// The file with somebody's public key.
pub(crate) fn public(name: &str) -> String {
    format!("keys/{name}.pub.json")
}

/// `2:keys/alice-root.pub.json,keys/bob-root.pub.json`.
pub(crate) fn quorum(threshold: usize, people: &[&str], label: &str) -> String {
    let files: Vec<_> = people.iter().map(|who| public(&format!("{who}-{label}"))).collect();
    format!("{threshold}:{}", files.join(","))
}

/// The name of a key in somebody's token.
pub(crate) fn uri(holder: &str, label: &str) -> String {
    format!("pkcs11:token={holder};object={label}")
}

/// The PKCS#11 module that the environment names, or Debian's.
pub(crate) fn module() -> PathBuf {
    let named = std::env::var_os("WAXWING_PKCS11_MODULE").map(PathBuf::from);
    let module = named.unwrap_or_else(|| PathBuf::from("/usr/lib/softhsm/libsofthsm2.so"));
    assert!(module.exists(), "install softhsm2, or name a module with WAXWING_PKCS11_MODULE");
    module
}

fn sign_args<'a>(file: &'a str, key: &'a str) -> [&'a str; 7] {
    ["sign", file, "--key", key, "--yes", "--passphrase-fd", "0"]
}

/// As many lines as any command may ask for.
fn pin() -> Vec<u8> {
    format!("{PIN}\n{PIN}\n").into_bytes()
}

/// What both verifiers say.
pub(crate) struct Verdict {
    /// Of each file, whether it is signed by whom it must be.
    pub(crate) files: BTreeMap<String, bool>,
    /// Of each repository, what python-tuf's client says.
    pub(crate) walks: BTreeMap<String, String>,
}

/// python-tuf in a process of its own.
pub(crate) struct Judge {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Judge {
    pub(crate) fn start() -> Self {
        let python = std::env::var_os("WAXWING_PYTHON").expect(
            "WAXWING_PYTHON must name a Python interpreter with tuf 7.0.0; \
             `cargo xtask test` installs one and sets it",
        );
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/attacks/keys/judge.py");
        let mut python = Command::new(python);
        python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let questions = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, questions, answers }
    }

    pub(crate) fn ask(&mut self, ceremony: &Path) -> Verdict {
        writeln!(self.questions, "{}", ceremony.display()).unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: BTreeMap<String, Value> =
            serde_json::from_str(&line).expect("python-tuf has read every file");
        let mut part = |name| answer.remove(name).unwrap();
        Verdict {
            files: serde_json::from_value(part("files")).unwrap(),
            walks: serde_json::from_value(part("walks")).unwrap(),
        }
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
