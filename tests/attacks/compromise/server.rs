//! Who holds the server: its database, or all of it with the Director's key.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use sha2::{Digest as _, Sha256};
use waxwing_e2e::ceremony::{CHANNEL, DEV_CHANNEL, Repository};
use waxwing_e2e::fleet::{Batch, Fleet};
use waxwing_e2e::image::{self, Behaviour, Recipe};
use waxwing_e2e::world::FACTORY_VERSION;

use super::director::{Files, Puppet, files, listed, obeyed, refused, target_path};
use super::stage::{DEVICE, STOLEN_QUORUM, Stage, wait_for_refusal};

/// Milliseconds in a day.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Whoever writes the database **can** choose among what is listed, and shut devices out. They
/// **cannot** get anything else installed, neither unlisted code nor a lower security version.
/// **Recovery**: the database of the last backup; the audit log says what else happened.
#[test]
fn row_37_who_writes_the_database_chooses_among_signed_releases_only() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    stage.update(&mut fleet, DEVICE, "1.1.0", 2).unwrap();
    stage.publish("1.2.0", 2).unwrap();
    // A rollout that is for somebody else.
    stage.world.register("th1-other").unwrap();
    let others = stage.begin_rollout("th1-other", "1.2.0").unwrap();
    let backup = Backup::make(&mut stage).unwrap();

    edit(
        &mut stage,
        &[
            "INSERT INTO group_members SELECT group_id, 'th1-victim' FROM rollouts \
         WHERE version = '1.2.0'",
            "UPDATE rollout_phases SET cutoff = x'ffffffffffffffffffffffffffffffff\
                                             ffffffffffffffffffffffffffffffff'",
        ],
    )
    .unwrap();
    fleet.wait_for(|event| event.is_report(&others, "healthy")).unwrap();
    assert_eq!(fleet.running().unwrap()[DEVICE], "1.2.0");

    let evil = evil_image().unwrap();
    edit(
        &mut stage,
        &[&format!(
            "UPDATE releases SET sha256 = '{:x}', length = {} WHERE version = '1.1.0'",
            Sha256::digest(&evil),
            evil.len()
        )],
    )
    .unwrap();
    let why = stage.roll_out_in_vain(&mut fleet, DEVICE, "1.1.0").unwrap();
    assert_eq!(why, "trust_mismatch", "code that nobody signed, under the name of a release");

    edit(
        &mut stage,
        &["UPDATE releases SET security_version = 2, \
                        \"match\" = replace(\"match\", '\"security_version\":1', \
                        '\"security_version\":2') WHERE version = '1.0.0'"],
    )
    .unwrap();
    let why = stage.roll_out_in_vain(&mut fleet, DEVICE, FACTORY_VERSION).unwrap();
    assert_eq!(why, "trust_mismatch", "a lower security version, with a better number");

    edit(&mut stage, &["UPDATE devices SET status = 'revoked'"]).unwrap();
    // What happened before the server was up again does not count.
    fleet.running().unwrap();
    wait_for_refusal(&mut fleet, "no_contact").unwrap();
    assert_eq!(fleet.running().unwrap()[DEVICE], "1.2.0");

    backup.restore(&mut stage).unwrap();
    stage.update(&mut fleet, DEVICE, "1.3.0", 2).unwrap();
}

/// Whoever has the server and the Director's key **can** choose, for each device, among the listed
/// releases of its product and channel that are not below its security version; can say nothing;
/// and can set the device's clock forward. They **cannot** install anything that is not listed, what
/// was taken off the list and the device knows it, what is not for this device, or set the clock
/// back. **Recovery**: a new key and a new token on the server, and a root of the offline quorum with
/// that key instead of the stolen one; the next poll is believed again, whatever time it was.
#[test]
fn row_37_who_holds_the_server_and_the_director_key_chooses_among_signed_releases_only() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    let lab = Batch {
        folder: "lab",
        names: &["th1-lab".to_owned()],
        channels: &[DEV_CHANNEL],
        ..Batch::default()
    };
    let mut lab = stage.devices(&lab).unwrap();
    let other = ["th1-other".to_owned()];
    let other = Batch { folder: "other", names: &other, hardware: "r2", ..Batch::default() };
    let mut other = stage.devices(&other).unwrap();
    stage.update(&mut fleet, DEVICE, "1.1.0", 2).unwrap();
    let (delisted, listed_too) =
        (stage.publish("1.2.0", 2).unwrap(), stage.publish("1.3.0", 2).unwrap());
    let old = files(&stage.world.ceremony.metadata(Repository::Image)).unwrap();
    let role = stage.world.ceremony.delist(CHANNEL, "1.2.0").unwrap();
    stage.world.ceremony.sign(&role, &STOLEN_QUORUM).unwrap();
    stage.publish_by("publisher").unwrap();
    stage.update(&mut fleet, DEVICE, "1.4.0", 2).unwrap();

    let (thief, hostile) = stage.break_in().unwrap();
    // Any listed release of the same security version.
    thief.offer_listed(CHANNEL, "1.3.0", listed_too).unwrap();
    fleet.wait_for(obeyed("healthy")).unwrap();
    assert_eq!(fleet.running().unwrap()[DEVICE], "1.3.0");
    // Not the factory's, of a lower one.
    let factory = fs::read(stage.folder().join("images/1.0.0.bin")).unwrap();
    thief.offer_listed(CHANNEL, FACTORY_VERSION, factory).unwrap();
    fleet.wait_for(refused("policy_security_version")).unwrap();
    // Not on a device of another channel, or with other hardware.
    lab.wait_for(refused("policy_channel")).unwrap();
    other.wait_for(refused("policy_hardware")).unwrap();
    installs_nothing_else(&thief, &mut fleet, old, delisted);
    // Not another time in the past: its timestamp is older than the last one.
    thief.order(|orders| (orders.lie_ms, orders.offer) = (-DAY_MS, None));
    hostile.forget();
    hostile.wait_for_polls(DEVICE, 2).unwrap();
    fleet.running().unwrap();
    wait_for_refusal(&mut fleet, "trust_rollback").unwrap();
    // It can say nothing at all; devices run on.
    thief.order(|orders| orders.withhold = true);
    wait_for_refusal(&mut fleet, "no_contact").unwrap();
    thief.order(|orders| orders.withhold = false);
    // And set the clock forward, as long as the Director's root lives.
    thief.order(|orders| orders.lie_ms = 300 * DAY_MS);
    hostile.forget();
    hostile.wait_for_polls(DEVICE, 3).unwrap();
    drop(hostile);
    stage.world.server.restart().unwrap();
    fleet.running().unwrap();
    wait_for_refusal(&mut fleet, "trust_rollback").unwrap();

    stage.world.server.stop().unwrap();
    let old_token = fs::read(stage.world.server.token()).unwrap();
    stage.replace_director().unwrap();
    assert_ne!(fs::read(stage.world.server.token()).unwrap(), old_token);
    stage.update(&mut fleet, DEVICE, "1.5.0", 2).unwrap();
    // And the stolen key is worth nothing any more.
    thief.order(|orders| orders.lie_ms = 0);
    let _hostile = stage.take_over(Arc::<Puppet>::clone(&thief)).unwrap();
    wait_for_refusal(&mut fleet, "trust_signatures").unwrap();
}

/// Orders what is not listed now, with the list of today and, in the end, with that of yesterday.
fn installs_nothing_else(thief: &Puppet, fleet: &mut Fleet, old: Files, delisted: Vec<u8>) {
    // Not its own code.
    let path = target_path(CHANNEL, "1.3.0");
    let attributes = listed(&old, CHANNEL, &path).unwrap();
    thief.order(|orders| orders.offer_image(path, attributes, evil_image().unwrap()));
    fleet.wait_for(refused("trust_mismatch")).unwrap();
    // Not what was taken off the list: not with the list of today, not with that of yesterday.
    let path = target_path(CHANNEL, "1.2.0");
    let attributes = listed(&old, CHANNEL, &path).unwrap();
    thief.order(|orders| orders.offer_image(path.clone(), attributes.clone(), delisted.clone()));
    fleet.wait_for(refused("trust_unlisted")).unwrap();
    thief.order(|orders| {
        orders.image = old;
        orders.offer_image(path, attributes, delisted);
    });
    wait_for_refusal(fleet, "trust_rollback").unwrap();
}

/// The database as it was.
struct Backup(PathBuf);

impl Backup {
    fn make(stage: &mut Stage) -> Result<Self> {
        let copy = stage.folder().join("backup.db");
        stage.world.server.stop()?;
        fs::copy(stage.database(), &copy)?;
        stage.world.server.restart()?;
        Ok(Self(copy))
    }

    fn restore(&self, stage: &mut Stage) -> Result<()> {
        stage.world.server.stop()?;
        fs::copy(&self.0, stage.database())?;
        stage.world.server.restart()
    }
}

/// Changes the database behind the server's back.
fn edit(stage: &mut Stage, statements: &[&str]) -> Result<()> {
    stage.world.server.stop()?;
    stage.edit_database(statements)?;
    stage.world.server.restart()
}

/// Code that nobody released.
pub(crate) fn evil_image() -> Result<Vec<u8>> {
    image::make(Recipe { version: "6.6.6", behaviour: Behaviour::Work, code_bytes: 100_000 })
}
