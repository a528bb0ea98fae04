//! Who holds what lies between server and device.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use waxwing_e2e::fleet::Fleet;

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
/// **Recovery**: nothing on the devices; the relay goes. How a server CA whose key was stolen is then
/// replaced by signed pins is played in `tests/e2e/server_ca.rs`: it takes a device that reaches its
/// server again.
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
    let rollout = stage.begin_rollout(DEVICE, "1.1.0").unwrap();
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
