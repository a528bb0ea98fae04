//! Who holds keys of the Image repository: of a publisher, of releases, of the top-level list.

use std::fs;
use std::path::Path;

use anyhow::Result;
use waxwing_e2e::ceremony::{
    CHANNEL, Ceremony, DEV_CHANNEL, DEV_KEY, RELEASE_QUORUM, ROOT_QUORUM, Release, Repository,
    TARGETS_QUORUM,
};
use waxwing_e2e::fleet::{Batch, Fleet};
use waxwing_e2e::world::FACTORY_VERSION;

use super::director::{Puppet, files, obeyed, refused};
use super::forge::{post, under_signed};
use super::network::Intercepted;
use super::relay::Mode;
use super::stage::{DEVICE, Stage, wait_for_refusal};

/// Whoever holds the key of snapshot and timestamp, and the network, **can** show old lists to
/// devices that never saw newer ones, and keep releases from all. They **cannot** show a device
/// older lists than it has seen, and install nothing that the Director does not order.
/// **Recovery**: a root with another publisher, which also lets versions start again.
#[test]
fn row_37_who_holds_the_publisher_key_and_the_network_keeps_releases_back_and_installs_nothing() {
    let mut stage = Stage::set().unwrap();
    let stolen = stage.world.ceremony.steal(&stage.folder().join("thief")).unwrap();
    let mut fresh = Intercepted::begin(&stage, "th1-fresh").unwrap();
    let mut knowing = Intercepted::begin(&stage, "th1-knowing").unwrap();
    stage.update(&mut knowing.fleet, "th1-knowing", "1.1.0", 1).unwrap();

    // The lists of the beginning, under numbers that are higher than those of today.
    (0..3).try_for_each(|_| stolen.refresh_here("publisher")).unwrap();
    let old = files(&stolen.metadata(Repository::Image)).unwrap();
    // Whoever saw nothing newer believes them; whoever did does not.
    fresh.relay.set(Mode::SwapImageFiles(old.clone()));
    let why = stage.roll_out_in_vain(&mut fresh.fleet, "th1-fresh", "1.1.0").unwrap();
    assert_eq!(why, "trust_unlisted");
    knowing.relay.set(Mode::SwapImageFiles(old));
    let (fleet, device) = (&mut knowing.fleet, "th1-knowing");
    stage.stall(fleet, device, FACTORY_VERSION, "trust_rollback").unwrap();
    // The numbers of the real files are lower now: the freeze outlives the attack.
    fresh.relay.set(Mode::Forward);
    knowing.relay.set(Mode::Forward);
    stage.publish("1.2.0", 1).unwrap();
    stage.stall(&mut fresh.fleet, "th1-fresh", "1.2.0", "trust_rollback").unwrap();

    let publisher = stage.replace_publisher().unwrap();
    stage.list_by(&RELEASE_QUORUM, "1.3.0", 1).unwrap();
    stage.publish_by(publisher).unwrap();
    stage.roll_out(&mut fresh.fleet, "th1-fresh", "1.3.0").unwrap();
    stage.roll_out(&mut knowing.fleet, "th1-knowing", "1.3.0").unwrap();
}

/// Whoever holds one of three release keys **can** do nothing, even together with the publisher's
/// key and the server's: tool, server and device count two. **Recovery**: the top-level list names
/// other keys for the channel.
#[test]
fn row_37_who_holds_one_release_key_can_do_nothing() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    let stolen = stage.world.ceremony.steal(&stage.folder().join("thief")).unwrap();
    let image = stage.image("6.6.6").unwrap();
    let release = bad(&image);
    stolen.list_by(&release, &RELEASE_QUORUM[..1]).unwrap();
    let why = stolen.publish_is_refused("publisher").unwrap();
    assert!(why.contains("signed by enough keys"), "{why}");

    let forged = under_signed(&stolen, CHANNEL, "publisher").unwrap();
    let answer = post(&stage.world.server, &forged).unwrap();
    assert!(answer.contains("metadata_unbelievable"), "{answer}");
    let (thief, hostile) = stage.break_in().unwrap();
    thief.order(|orders| orders.image = forged);
    thief.offer_listed(CHANNEL, "6.6.6", fs::read(&image).unwrap()).unwrap();
    wait_for_refusal(&mut fleet, "trust_signatures").unwrap();
    assert_eq!(fleet.running().unwrap()[DEVICE], FACTORY_VERSION);
    drop(hostile);

    // The server was broken into as well.
    stage.replace_director().unwrap();
    let keys = stage.replace_release_keys(&[]).unwrap();
    stage.list_by(&keys[..2], "1.1.0", 1).unwrap();
    let publisher = stage.replace_publisher().unwrap();
    stage.publish_by(publisher).unwrap();
    stage.roll_out(&mut fleet, DEVICE, "1.1.0").unwrap();
}

/// Whoever holds two release keys, and deceives the publisher, **can** put a bad release on the
/// list. It is **not** installed as long as no operator rolls it out. **Recovery**: other keys for
/// the channel, the bad release off the list, and the next one with a higher security version.
#[test]
fn row_37_who_holds_a_quorum_of_release_keys_without_the_server_installs_nothing() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    let image = stage.image("6.6.6").unwrap();
    stage.world.ceremony.list_by(&bad(&image), &RELEASE_QUORUM).unwrap();
    stage.publish_by("publisher").unwrap();
    // It is listed, and every poll since is answered with something else.
    stage.update(&mut fleet, DEVICE, "1.1.0", 1).unwrap();

    let keys = stage.replace_release_keys(&["6.6.6"]).unwrap();
    stage.list_by(&keys[..2], "1.2.0", 2).unwrap();
    stage.publish_by("publisher").unwrap();
    stage.roll_out(&mut fleet, DEVICE, "1.2.0").unwrap();
    // The stolen keys sign for nobody now.
    let stolen = stage.world.ceremony.steal(&stage.folder().join("thief")).unwrap();
    stolen.list_by(&bad(&image), &keys[..1]).unwrap();
    let why = stage.list_by(&RELEASE_QUORUM, "1.3.0", 2).unwrap_err().to_string();
    assert!(why.contains("failed"), "{why}");
}

/// Whoever holds two release keys, the publisher's and the server **can** install code on devices
/// of that product and channel. They **cannot** reach another channel. **Recovery**: other keys for
/// the channel, another publisher, another Director; the next release has a higher security
/// version. What the bad code did to the devices meanwhile, no metadata can undo.
#[test]
fn row_37_who_holds_a_quorum_of_release_keys_and_the_server_reaches_one_channel_only() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    let mut lab = lab(&stage).unwrap();
    let image = stage.image("6.6.6").unwrap();
    let stolen = stage.world.ceremony.steal(&stage.folder().join("thief")).unwrap();
    stolen.list_by(&bad(&image), &RELEASE_QUORUM).unwrap();
    stolen.publish_here("publisher").unwrap();

    let (thief, hostile) = stage.break_in().unwrap();
    use_files_of(&thief, &stolen);
    thief.offer_listed(CHANNEL, "6.6.6", fs::read(&image).unwrap()).unwrap();
    fleet.wait_for(obeyed("healthy")).unwrap();
    assert_eq!(fleet.running().unwrap()[DEVICE], "6.6.6", "it is code of the thief");
    lab.wait_for(refused("policy_channel")).unwrap();
    assert_eq!(lab.running().unwrap()["th1-lab"], FACTORY_VERSION);
    drop(hostile);

    stage.replace_director().unwrap();
    let publisher = stage.replace_publisher().unwrap();
    let keys = stage.replace_release_keys(&[]).unwrap();
    stage.list_by(&keys[..2], "1.1.0", 2).unwrap();
    stage.publish_by(publisher).unwrap();
    stage.roll_out(&mut fleet, DEVICE, "1.1.0").unwrap();
}

/// Whoever holds the key of the lab's channel, the publisher's and the server **can** install code
/// on devices that accept that channel. They **cannot** on any other. **Recovery**: another key for
/// the channel, another publisher, another Director.
#[test]
fn row_37_who_holds_the_dev_key_and_the_server_reaches_lab_devices_only() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    let mut lab = lab(&stage).unwrap();
    let image = stage.image("6.6.6").unwrap();
    let stolen = stage.world.ceremony.steal(&stage.folder().join("thief")).unwrap();
    stolen.list_by(&Release { channel: DEV_CHANNEL, ..bad(&image) }, &[DEV_KEY]).unwrap();
    stolen.publish_here("publisher").unwrap();

    let (thief, hostile) = stage.break_in().unwrap();
    use_files_of(&thief, &stolen);
    thief.offer_listed(DEV_CHANNEL, "6.6.6", fs::read(&image).unwrap()).unwrap();
    lab.wait_for(obeyed("healthy")).unwrap();
    assert_eq!(lab.running().unwrap()["th1-lab"], "6.6.6", "it is code of the thief");
    fleet.wait_for(refused("policy_channel")).unwrap();
    assert_eq!(fleet.running().unwrap()[DEVICE], FACTORY_VERSION);
    drop(hostile);

    stage.replace_director().unwrap();
    let publisher = stage.replace_publisher().unwrap();
    let ceremony = &stage.world.ceremony;
    ceremony.make_key("ci-2").unwrap();
    ceremony.delegate(DEV_CHANNEL, 1, &["ci-2"]).unwrap();
    ceremony.sign(&ceremony.targets_file(), &TARGETS_QUORUM).unwrap();
    let image = stage.image("1.1.0").unwrap();
    let good = Release { channel: DEV_CHANNEL, ..good(&image) };
    ceremony.list_by(&good, &["ci-2"]).unwrap();
    stage.publish_by(publisher).unwrap();
    stage.roll_out_in(DEV_CHANNEL, &mut lab, "th1-lab", "1.1.0").unwrap();
    stage.list_by(&RELEASE_QUORUM, "1.2.0", 1).unwrap();
    stage.publish_by(publisher).unwrap();
    stage.roll_out(&mut fleet, DEVICE, "1.2.0").unwrap();
}

/// Whoever holds two keys of the top-level list, the publisher's and the server **can** name their
/// own keys for every channel of the product, and install code there. They **cannot** replace a
/// root. **Recovery**: a root with other keys for the list and another publisher; a list that names
/// the real release keys again; another Director.
#[test]
fn row_37_who_holds_a_quorum_of_targets_keys_and_the_server_reaches_every_channel() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    let mut lab = lab(&stage).unwrap();
    let image = stage.image("6.6.6").unwrap();
    let stolen = stage.world.ceremony.steal(&stage.folder().join("thief")).unwrap();
    stolen.make_key("thief").unwrap();
    for channel in [CHANNEL, DEV_CHANNEL] {
        stolen.delegate(channel, 1, &["thief"]).unwrap();
        stolen.list_by(&Release { channel, ..bad(&image) }, &["thief"]).unwrap();
    }
    stolen.sign(&stolen.targets_file(), &TARGETS_QUORUM).unwrap();
    stolen.publish_here("publisher").unwrap();

    let (thief, hostile) = stage.break_in().unwrap();
    use_files_of(&thief, &stolen);
    for (channel, fleet) in [(CHANNEL, &mut fleet), (DEV_CHANNEL, &mut lab)] {
        thief.offer_listed(channel, "6.6.6", fs::read(&image).unwrap()).unwrap();
        fleet.wait_for(obeyed("healthy")).unwrap();
    }
    // A root needs the root's quorum.
    let root = stolen.rotate(Repository::Image, &["root"], &["carol-root"], &["thief"]).unwrap();
    stolen.sign(&root, &["thief"]).unwrap();
    use_files_of(&thief, &stolen);
    wait_for_refusal(&mut lab, "trust_signatures").unwrap();
    drop(hostile);

    stage.replace_director().unwrap();
    let ceremony = &stage.world.ceremony;
    let new = ["dora-targets", "emil-targets", "fritz-targets"];
    new.iter().try_for_each(|key| ceremony.make_key(key)).unwrap();
    let old = ["alice-targets", "bob-targets", "carol-targets"];
    let root = ceremony.rotate(Repository::Image, &["targets"], &old, &new).unwrap();
    ceremony.sign(&root, &ROOT_QUORUM).unwrap();
    let publisher = stage.replace_publisher().unwrap();
    ceremony.sign(&ceremony.renew("targets").unwrap(), &new[..2]).unwrap();
    let image = stage.image("1.1.0").unwrap();
    let good = Release { channel: DEV_CHANNEL, ..good(&image) };
    ceremony.list_by(&good, &[DEV_KEY]).unwrap();
    stage.list_by(&RELEASE_QUORUM, "1.1.0", 2).unwrap();
    stage.publish_by(publisher).unwrap();
    stage.roll_out(&mut fleet, DEVICE, "1.1.0").unwrap();
    stage.roll_out_in(DEV_CHANNEL, &mut lab, "th1-lab", "1.1.0").unwrap();
}

/// A release that its keyholders never made.
fn bad(image: &Path) -> Release<'_> {
    Release { channel: CHANNEL, version: "6.6.6", security_version: 1, image }
}

/// The next one that they make.
fn good(image: &Path) -> Release<'_> {
    Release { channel: CHANNEL, version: "1.1.0", security_version: 2, image }
}

/// A device that accepts the channel `dev` only.
fn lab(stage: &Stage) -> Result<Fleet> {
    stage.devices(&Batch {
        folder: "lab",
        names: &["th1-lab".to_owned()],
        channels: &[DEV_CHANNEL],
        ..Batch::default()
    })
}

/// Lets the stolen Director serve what a thief published at home.
fn use_files_of(thief: &Puppet, stolen: &Ceremony) {
    let image = files(&stolen.metadata(Repository::Image)).unwrap();
    thief.order(|orders| orders.image = image);
}
