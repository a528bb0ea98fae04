//! The program itself: its command line, its signals, what it says when it cannot start.

#[expect(dead_code, reason = "the tests of the REST API use the rest")]
#[path = "../api/mail/drip.rs"]
mod drip;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use waxwing_server::run::Addresses;

use self::drip::Drip;
use crate::support::tls;
use crate::webhooks::Admin;

const PROGRAM: &str = env!("CARGO_BIN_EXE_waxwing-server");

const ANY_PORTS: &str = "
[listen]
device = '127.0.0.1:0'
enrol = '127.0.0.1:0'
admin = '127.0.0.1:0'
mqtt = '127.0.0.1:0'
crl = '127.0.0.1:0'
ops = '127.0.0.1:0'
";

/// Far more than an answer takes, far less than an idle connection may last.
const SOON: Duration = Duration::from_secs(5);

/// A folder with a configuration file.
pub(crate) fn folder(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let text = format!("data_dir = '{}'\n{more}\n{ANY_PORTS}", data.display());
    fs::write(folder.path().join("server.toml"), text).unwrap();
    folder
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(folder.join("server.toml")).env_remove("RUST_BACKTRACE");
    command
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn check_fails(folder: &TempDir, expected: &[&str]) {
    let output = run(&mut command(folder.path()));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{message}");
    for part in expected {
        assert!(message.contains(part), "{part} in {message}");
    }
}

/// Starts the program and waits until it listens.
pub(crate) fn start(folder: &TempDir) -> Child {
    start_as(&mut command(folder.path()))
}

fn start_as(command: &mut Command) -> Child {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listens = lines.any(|line| line.unwrap().contains("listening"));
    assert!(listens);
    // Keeps reading, so that the program can go on writing.
    thread::spawn(move || lines.count());
    child
}

pub(crate) fn stop(mut child: Child) -> String {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let mut shown = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut shown).unwrap();
    }
    assert!(child.wait().unwrap().success());
    shown
}

#[test]
fn the_first_start_shows_what_is_needed_and_later_ones_do_not() {
    let folder = folder("");
    let shown = stop(start(&folder));
    for part in
        ["admin token: wxa_", "server-ca.pem", "director.pub.json", "director fingerprint: "]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(stop(start(&folder)), "");
    let token = shown.split("wxa_").nth(1).unwrap().lines().next().unwrap();
    for entry in walk(folder.path()) {
        let content = fs::read(&entry).unwrap();
        let found = content.windows(token.len()).any(|part| part == token.as_bytes());
        assert!(!found, "the token is in {}", entry.display());
    }
}

#[test]
fn the_effective_configuration_is_printed() {
    let folder = folder("server_names = ['ota.example']");
    let mut command = command(folder.path());
    command.arg("--print-config").env("WAXWING_SERVER__POLL__RETRY_AFTER_S", "77");
    let text = String::from_utf8(run(&mut command).stdout).unwrap();
    assert!(text.contains("ota.example") && text.contains("retry_after_s = 77"), "{text}");
    assert!(!folder.path().join("data").exists(), "and nothing else is done");
}

#[test]
fn help_has_examples() {
    let output = run(Command::new(PROGRAM).arg("--help"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Examples:") && text.contains("--print-config"), "{text}");
}

#[test]
fn mistakes_are_named_with_file_and_key() {
    check_fails(&folder("server_name = ['x']"), &["server.toml", "line 2", "server_name"]);
    check_fails(&folder("server_names = []"), &["server_names"]);
    let missing = tempfile::tempdir().unwrap();
    check_fails(&missing, &["server.toml", "cannot be read"]);
    check_fails(&folder("[log]\nfilter = 'a=b=c'"), &["log.filter"]);
}

#[test]
fn a_secret_that_others_can_read_or_nobody_stops_the_server() {
    let folder = folder("");
    stop(start(&folder));
    let key = folder.path().join("data/secrets/device-ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    check_fails(&folder, &["device-ca.key", "chmod 600"]);
    fs::remove_file(&key).unwrap();
    check_fails(&folder, &["device-ca.key"]);
}

#[tokio::test]
async fn one_stranger_does_not_use_up_the_files_of_the_process() {
    let folder = folder("");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\"", PROGRAM]);
    limited.arg("--config").arg(folder.path().join("server.toml"));
    let child = start_as(&mut limited);
    let data = folder.path().join("data");
    let addresses: Addresses =
        serde_json::from_slice(&fs::read(data.join("run/listeners.json")).unwrap()).unwrap();
    let connector = connector(&data.join("server-ca.pem"));
    // Until the first is not let in: then the others are not idle for too long yet.
    let mut idle = Vec::new();
    while let Ok(Ok(stream)) = timeout(SOON, tls(&connector, addresses.enrol)).await {
        idle.push(stream);
    }
    timeout(SOON, tls(&connector, addresses.admin)).await.unwrap().unwrap();
    let health = reqwest::get(format!("http://{}/healthz", addresses.ops));
    assert_eq!(timeout(SOON, health).await.unwrap().unwrap().status(), 200);
    drop(idle);
    stop(child);
}

#[tokio::test]
async fn a_mail_server_that_never_comes_to_an_end_keeps_no_server_from_its_own() {
    let drip = Drip::open();
    let folder = folder(&format!(
        "[limits]\ndrain_s = 1\n[mail]\nserver = '127.0.0.1'\nport = {}\ntls = 'unsafe_loopback'\n\
         from = 'waxwing@updates.example'\nto = ['ops@example.com']\ntimeout_s = 1",
        drip.port
    ));
    let mut child = start(&folder);
    Admin::of(&mut child, folder.path()).post("mail/test", &json!({})).await;
    drip.next();
    let (say, ended) = channel();
    thread::spawn(move || say.send(stop(child)));
    ended.recv_timeout(4 * SOON).expect("it hangs with the mail server");
}

/// Returns a TLS client without a certificate.
fn connector(server_ca: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server_ca).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
