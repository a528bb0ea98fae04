//! The real server with everything around it, and what somebody can do who owns its disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reqwest::blocking::Client;
use reqwest::{Certificate, Identity};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use waxwing_e2e::ceremony::{PRODUCT, Plan};
use waxwing_e2e::fleet::Fleet;
use waxwing_e2e::process::run;
use waxwing_e2e::server::Server;
use waxwing_e2e::world::World;

/// Runs statements on a database whose server is not running, without asking it about references.
const CHANGE: &str = "import sqlite3, sys\n\
    database = sqlite3.connect(sys.argv[1])\n\
    database.executescript(sys.argv[2])\n\
    database.commit()\n\
    database.close()";

/// A ceremony held, a server rooted, an operator logged in, a product registered.
pub(crate) fn world() -> (TempDir, World) {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { worthless_keys: true, ..Plan::default() };
    let world = World::create_as(folder.path(), plan).unwrap();
    (folder, world)
}

/// Changes the database of a server that is not running.
pub(crate) fn tamper(server: &Server, statements: &str) {
    let python = std::env::var_os("WAXWING_PYTHON").unwrap_or_else(|| "python3".into());
    let mut change = Command::new(python);
    change.arg("-c").arg(CHANGE).arg(server.data().join("waxwing.db")).arg(statements);
    run(&mut change, b"").unwrap();
}

/// Ends the server, changes its database, and starts it again.
pub(crate) fn tamper_and_restart(server: &mut Server, statements: &str) {
    server.stop().unwrap();
    tamper(server, statements);
    server.restart().unwrap();
}

/// Returns what the server wrote into its log so far.
pub(crate) fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("server/logs/server.log")).unwrap()
}

/// Runs `waxwing doctor` and returns its exit code and its verdicts.
pub(crate) fn doctor(world: &World, arguments: &[&str]) -> (i32, Vec<Json>) {
    let arguments = [&["doctor", "--json"], arguments].concat();
    let Output { status, stdout, stderr } =
        world.operator.command(&arguments).unwrap().output().unwrap();
    let verdicts = serde_json::from_slice(&stdout);
    let verdicts = verdicts.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr)));
    (status.code().unwrap(), verdicts)
}

/// The certificate and the key of a device, in the hands of somebody.
pub(crate) fn identity(fleet: &Fleet, device: &str) -> PathBuf {
    fleet.identity(device)
}

/// A client that shows a device's certificate.
pub(crate) fn client_of(server: &Server, identity: &Path) -> Client {
    let identity = Identity::from_pem(&std::fs::read(identity).unwrap()).unwrap();
    let ca = Certificate::from_pem(&std::fs::read(server.ca()).unwrap()).unwrap();
    Client::builder().tls_certs_only([ca]).identity(identity).build().unwrap()
}

/// A poll of a device that has nothing and runs 1.0.0.
pub(crate) fn poll() -> Json {
    json!({
        "nonce": "01".repeat(16), "product": PRODUCT, "hw": "r1", "fw": "1.0.0",
        "fw_sha256": "02".repeat(32), "security_version": 1, "have": {"d.root": 1}, "reports": [],
    })
}

/// Tells whether an answer speaks of something.
pub(crate) fn mentions(answer: &[u8], text: &str) -> bool {
    answer.windows(text.len()).any(|window| window == text.as_bytes())
}
