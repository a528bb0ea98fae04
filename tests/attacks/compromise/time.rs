//! Old metadata and long absence.

use std::sync::Arc;

use waxwing_e2e::ceremony::{
    CHANNEL, DEV_KEY, DIRECTOR_ROOT_QUORUM, ROOT_QUORUM, Repository, TARGETS_QUORUM,
};
use waxwing_e2e::fleet::Fleet;
use waxwing_e2e::program;

use super::director::{Puppet, files, now_ms, obeyed, refused};
use super::hostile::Hostile;
use super::stage::{DEVICE, STOLEN_QUORUM, Stage, wait_for_refusal};

/// Milliseconds in a day.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// When the simulated firmware was built, in Unix milliseconds: 2026-11-01.
const BUILT_AT_MS: i64 = 1_793_491_200_000;

/// Whoever shows old files to a device fresh from the factory **can** have the oldest ones believed
/// that have not expired; with the Director's key, as of the day the firmware was built. They
/// **cannot** show expired ones, set the clock before that day, or go below the factory's security
/// version. **Recovery**: none is needed; the first honest answer brings the device up to date.
#[test]
fn row_37_who_shows_old_files_to_a_fresh_device_is_believed_until_they_expire() {
    let mut stage = Stage::set().unwrap();
    let old_image = stage.publish("1.1.0", 1).unwrap();
    let old = files(&stage.world.ceremony.metadata(Repository::Image)).unwrap();
    let list = stage.world.ceremony.delist(CHANNEL, "1.1.0").unwrap();
    stage.world.ceremony.sign(&list, &STOLEN_QUORUM).unwrap();
    stage.publish_by("publisher").unwrap();

    let secrets = stage.world.server.secrets();
    let thief = Arc::new(Puppet::steal(&secrets, &stage.world.ceremony).unwrap());
    let answers = Arc::<Puppet>::clone(&thief);
    let hostile = Hostile::listen("127.0.0.1:0", &secrets, answers).unwrap();
    let address = hostile.address.to_string();
    thief.order(|orders| orders.image = old);
    thief.offer_listed(CHANNEL, "1.1.0", old_image).unwrap();

    let born = |name: &str, security_version: u32| -> Fleet {
        stage.fresh(name, &address, security_version).unwrap()
    };
    // Next month: only the Director's own files are young enough.
    thief.order(|orders| orders.lie_ms = 31 * DAY_MS);
    wait_for_refusal(&mut born("th1-next-month", 1), "trust_expired").unwrap();
    thief.order(|orders| orders.lie_ms = to(BUILT_AT_MS - DAY_MS));
    wait_for_refusal(&mut born("th1-last-year", 1), "trust_time").unwrap();
    thief.order(|orders| orders.lie_ms = 0);
    born("th1-newer", 2).wait_for(refused("policy_security_version")).unwrap();
    // The day after it was built, which is the past, and a release that was taken back since.
    thief.order(|orders| orders.lie_ms = to(BUILT_AT_MS + DAY_MS));
    let mut fresh = born(DEVICE, 1);
    fresh.wait_for(obeyed("healthy")).unwrap();
    assert_eq!(fresh.running().unwrap()[DEVICE], "1.1.0");

    // The thief's place is taken by nobody else: from now on it forwards.
    thief.order(|orders| orders.offer = None);
    drop(hostile);
    let _honest = stage.relay_at(&address, DEVICE).unwrap();
    stage.update(&mut fresh, DEVICE, "1.2.0", 1).unwrap();
}

/// By how much to lie for it to be this time.
fn to(unix_ms: i64) -> i64 {
    unix_ms - i64::try_from(now_ms()).unwrap()
}

/// A device that was away while every root was replaced ten times **needs** all old roots, which the
/// server keeps for ever, and two polls, for one poll follows eight.
#[test]
fn row_37_a_device_that_was_away_for_ten_roots_follows_them_all() {
    let mut stage = Stage::set().unwrap();
    for _ in 0..10 {
        let ceremony = &stage.world.ceremony;
        let root = ceremony.rotate(Repository::Image, &["root"], &[], &[]).unwrap();
        ceremony.sign(&root, &ROOT_QUORUM).unwrap();
        let root = ceremony.rotate(Repository::Director, &["root"], &[], &[]).unwrap();
        ceremony.sign(&root, &DIRECTOR_ROOT_QUORUM).unwrap();
        stage.import_director_root(&root).unwrap();
    }
    stage.publish("1.1.0", 1).unwrap();
    // It was born with the first roots.
    let mut fleet = stage.device().unwrap();
    stage.roll_out(&mut fleet, DEVICE, "1.1.0").unwrap();
}

/// A device that lay in a drawer for eighteen months: its certificate has expired, and so have all
/// files it could know, and every root was replaced. **Recovery**: none is needed; it renews its
/// certificate (D14), follows the roots and updates.
#[test]
fn row_37_a_device_that_lay_in_a_drawer_for_eighteen_months_comes_back_by_itself() {
    let mut stage = Stage::set().unwrap();
    drop(stage.device().unwrap());
    stage.world.server.stop().unwrap();

    program::live_ahead(540);
    stage.world.server.restart_with_confirmed_clock().unwrap();
    for _ in 0..2 {
        let ceremony = &stage.world.ceremony;
        let root = ceremony.rotate(Repository::Image, &["root"], &[], &[]).unwrap();
        ceremony.sign(&root, &ROOT_QUORUM).unwrap();
        let root = ceremony.rotate(Repository::Director, &["root"], &[], &[]).unwrap();
        ceremony.sign(&root, &DIRECTOR_ROOT_QUORUM).unwrap();
        stage.import_director_root(&root).unwrap();
    }
    let ceremony = &stage.world.ceremony;
    ceremony.sign(&ceremony.renew("targets").unwrap(), &TARGETS_QUORUM).unwrap();
    ceremony.sign(&ceremony.renew("acme-th1-dev").unwrap(), &[DEV_KEY]).unwrap();
    stage.publish("1.1.0", 1).unwrap();

    let mut fleet = stage.device_again().unwrap();
    fleet.wait_for(|event| event.text("event") == "renewed").unwrap();
    stage.roll_out(&mut fleet, DEVICE, "1.1.0").unwrap();
}
