//! Who holds what lies between server and device.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use waxwing_e2e::fleet::Fleet;
use waxwing_e2e::operator::Operator;
use waxwing_e2e::server::{Listener, Server};

use super::hostile::Hostile;
use super::relay::{Mode, Relay};
use super::stage::{DEVICE, Stage, is_end, wait_for_refusal};

/// A device that reaches the server through a relay.
pub(crate) struct Intercepted {
    pub(crate) relay: Arc<Relay>,
    pub(crate) hostile: Hostile,
    pub(crate) fleet: Fleet,
}

impl Intercepted {
    /// Puts a relay between a device of this name and the server; it forwards.
    pub(crate) fn begin(stage: &Stage, device: &str) -> Result<Self> {
        Self::begin_as(stage, device, device)
    }

    /// As [`Intercepted::begin`]; the relay reaches the server as another device.
    pub(crate) fn begin_as(stage: &Stage, device: &str, identity: &str) -> Result<Self> {
        let relay = Arc::new(stage.relay(identity));
        let answers = Arc::<Relay>::clone(&relay);
        let secrets = stage.world.server.secrets();
        let hostile = Hostile::listen("127.0.0.1:0", &secrets, answers)?;
        let fleet = stage.fresh(device, &hostile.address.to_string(), 1)?;
        hostile.wait_for_polls(device, 2)?;
        Ok(Self { relay, hostile, fleet })
    }
}

/// **Can** drop and see. **Cannot** replay, lie about the time, or get changed bytes installed.
/// **Recovery**: nothing on the devices; the relay goes. A server CA whose key was stolen is replaced:
/// see the next drill.
#[test]
fn row_37_who_holds_the_network_and_the_tls_ca_delays_updates_and_installs_nothing() {
    let mut stage = Stage::set().unwrap();
    let Intercepted { relay, hostile, mut fleet } = Intercepted::begin(&stage, DEVICE).unwrap();
    relay.set(Mode::Replay);
    wait_for_refusal(&mut fleet, "trust_nonce").unwrap();
    relay.set(Mode::LieAboutTime);
    wait_for_refusal(&mut fleet, "trust_signatures").unwrap();
    relay.set(Mode::Drop);
    hostile.forget();
    hostile.wait_for_polls(DEVICE, 2).unwrap();

    stage.publish("1.1.0", 1).unwrap();
    relay.set(Mode::DamageImages);
    let why = stage.roll_out_in_vain(&mut fleet, DEVICE, "1.1.0").unwrap();
    assert_eq!(why, "download_hash");
    assert_eq!(fleet.running().unwrap()[DEVICE], "1.0.0");

    relay.set(Mode::Forward);
    stage.update(&mut fleet, DEVICE, "1.2.0", 1).unwrap();
}

/// **Can** stand in the server's place, and keep updates back. **Cannot** go on once the devices have
/// other pins. **Recovery**: the way to the server is given back; both CAs are signed in, the server
/// changes over, the stolen one is signed out; and the thief is nobody.
#[test]
fn row_37_who_stole_the_server_ca_is_nobody_once_signed_pins_replaced_it() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    let [stolen, new] = ["stolen", "new"].map(|name| stage.folder().join(name));
    let secrets = stage.world.server.secrets();
    Server::copy_server_ca(&secrets, &stolen).unwrap();
    // Which devices to let in is public.
    fs::copy(secrets.join("device-ca.pem"), stolen.join("device-ca.pem")).unwrap();
    let relay = Arc::new(stage.relay(DEVICE));
    relay.set(Mode::Drop);
    let thief = stage.take_over(Arc::<Relay>::clone(&relay)).unwrap();
    thief.wait_for_polls(DEVICE, 2).unwrap();
    drop(thief);

    stage.world.server.restart().unwrap();
    Server::make_server_ca(&new).unwrap();
    let [old_pem, new_pem] =
        [&stolen, &new].map(|folder| fs::read(folder.join("server-ca.pem")).unwrap());
    let file = stage.folder().join("pins.pem");
    stage.world.trust_server_ca(&file, &[old_pem, new_pem.clone()].concat()).unwrap();
    wait_for(&mut fleet, "pinned", 1).unwrap();
    Server::copy_server_ca(&new, &secrets).unwrap();
    let said = stage.world.server.reload().unwrap();
    assert!(said.contains("was read"), "{said}");
    stage.world.trust_server_ca(&file, &new_pem).unwrap();
    wait_for(&mut fleet, "pinned", 1).unwrap();

    stage.world.server.kill().unwrap();
    let address = stage.world.server.address(Listener::Device).to_owned();
    let thief = Hostile::listen(&address, &stolen, relay).unwrap();
    fleet.running().unwrap();
    // The first of them may be that the server is gone.
    wait_for(&mut fleet, "poll_failed", 4).unwrap();
    assert!(thief.is_unasked(), "a device believed a CA that was signed out");
    drop(thief);
    stage.world.server.restart().unwrap();
    let home = stage.folder().join("operator");
    stage.world.operator = Operator::log_in(&home, &stage.world.server).unwrap();
    stage.update(&mut fleet, DEVICE, "1.1.0", 1).unwrap();
}

/// Waits until this has happened so many times to the only device.
fn wait_for(fleet: &mut Fleet, event: &str, times: usize) -> Result<()> {
    (0..times).try_for_each(|_| fleet.wait_for(|it| it.text("event") == event).map(drop))
}

/// **Can** make downloads fail, and so halt a rollout. **Cannot** anything else: the server hashes
/// what it reads, and devices hash what they wrote. **Recovery**: publish again, which uploads the
/// images again; then a new rollout.
#[test]
fn row_37_who_holds_the_blob_store_makes_downloads_fail_and_nothing_else() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    let image = stage.publish("1.1.0", 1).unwrap();
    let blob = blob(&stage.world.server.data(), &image).unwrap();
    overwrite(&blob, b"anything else").unwrap();
    let rollout = stage.begin_rollout_once(DEVICE, "1.1.0").unwrap();
    let event = fleet.wait_for(|event| is_end(event, &rollout)).unwrap();
    assert_eq!((event.text("state"), event.text("reason")), ("failed", "download_status"));
    assert_eq!(fleet.running().unwrap()[DEVICE], "1.0.0");
    assert_eq!(stage.world.rollout_state(&rollout).unwrap(), "halted");

    stage.publish_by("publisher").unwrap();
    stage.roll_out(&mut fleet, DEVICE, "1.1.0").unwrap();
}

/// The file in which the server keeps an image.
fn blob(data: &Path, image: &[u8]) -> Result<PathBuf> {
    let name = format!("{:x}", Sha256::digest(image));
    let folder = data.join("images").join(name.get(..2).context("a hash is long")?);
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is no file", path.display());
    Ok(path)
}

/// Changes a file in place, as somebody with a shell on the server would.
fn overwrite(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(fs::write(path, bytes)?)
}
