//! Who holds keys of a root.

use std::fs;
use std::path::PathBuf;

use waxwing_e2e::ceremony::{
    CHANNEL, Ceremony, DIRECTOR_ROOT_QUORUM, RELEASE_QUORUM, ROOT_QUORUM, Release, Repository,
};
use waxwing_e2e::fleet::Batch;
use waxwing_e2e::world::FACTORY_VERSION;

use super::director::{Puppet, files, listed, obeyed, refused, target_path};
use super::forge::post;
use super::network::Intercepted;
use super::relay::Mode;
use super::server::evil_image;
use super::stage::{DEVICE, Stage, wait_for_refusal};

/// Whoever holds one of three root keys **can** do nothing, not even with the server: server and
/// device count two of the old keys and two of the new. **Recovery**: a root without that key.
#[test]
fn row_37_who_holds_one_root_key_of_either_repository_can_do_nothing() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    let stolen = stage.world.ceremony.steal(&stage.folder().join("thief")).unwrap();
    seize(&stolen, Repository::Image, &["carol-root"]);
    let director_root = seize(&stolen, Repository::Director, &["carol-director-root"]);
    let forged = files(&stolen.metadata(Repository::Image)).unwrap();
    assert!(forged.contains_key("2.root.json"));
    let answer = post(&stage.world.server, &forged).unwrap();
    assert!(answer.contains("metadata_unbelievable"), "{answer}");
    let arguments = ["director", "import", &director_root.display().to_string()];
    let why = stage.world.operator.is_refused(&arguments).unwrap();
    assert!(why.contains("metadata_unbelievable"), "{why}");

    let (thief, hostile) = stage.break_in().unwrap();
    let factory = fs::read(stage.folder().join("images/1.0.0.bin")).unwrap();
    thief.order(|orders| orders.image = forged);
    thief.offer_listed(CHANNEL, FACTORY_VERSION, factory).unwrap();
    wait_for_refusal(&mut fleet, "trust_signatures").unwrap();
    let forged = files(&stolen.metadata(Repository::Director)).unwrap();
    thief.order(|orders| orders.roots = forged);
    wait_for_refusal(&mut fleet, "trust_signatures").unwrap();
    drop(hostile);

    // The server was broken into as well.
    stage.replace_director().unwrap();
    for (repository, lost, new, quorum) in [
        (Repository::Image, "carol-root", "dave-root", ROOT_QUORUM),
        (Repository::Director, "carol-director-root", "dave-director-root", DIRECTOR_ROOT_QUORUM),
    ] {
        let ceremony = &stage.world.ceremony;
        ceremony.make_key(new).unwrap();
        let root = ceremony.rotate(repository, &["root"], &[lost], &[new]).unwrap();
        ceremony.sign(&root, &quorum).unwrap();
        if repository == Repository::Director {
            stage.import_director_root(&root).unwrap();
        }
    }
    stage.update(&mut fleet, DEVICE, "1.1.0", 1).unwrap();
}

/// Whoever holds two root keys of the Image repository, and the network, **can** take that
/// repository over on devices they reach, which then believe no real release any more. They
/// **cannot** install anything: the Director names nothing of theirs. **Recovery**: a root with
/// other keys, before the thief reaches a device; a device that was reached gets the new root with
/// a cable.
#[test]
fn row_37_who_holds_a_quorum_of_image_root_keys_still_needs_the_director() {
    let mut stage = Stage::set().unwrap();
    let Intercepted { relay, hostile: _hostile, mut fleet } =
        Intercepted::begin(&stage, "th1-reached").unwrap();
    let mut spared = stage.device().unwrap();
    let stolen = stage.world.ceremony.steal(&stage.folder().join("thief")).unwrap();
    seize(&stolen, Repository::Image, &ROOT_QUORUM);
    let image = stage.image("6.6.6").unwrap();
    stolen.delegate(CHANNEL, 1, &["thief-targets"]).unwrap();
    let bad = Release { channel: CHANNEL, version: "6.6.6", security_version: 1, image: &image };
    stolen.list_by(&bad, &["thief-targets"]).unwrap();
    stolen.sign(&stolen.targets_file(), &["thief-targets"]).unwrap();
    stolen.publish_here("thief-publisher").unwrap();

    relay.set(Mode::SwapImageFiles(files(&stolen.metadata(Repository::Image)).unwrap()));
    stage.publish("1.1.0", 1).unwrap();
    let why = stage.roll_out_in_vain(&mut fleet, "th1-reached", "1.1.0").unwrap();
    assert_eq!(why, "trust_unlisted");
    relay.set(Mode::Forward);

    let ceremony = &stage.world.ceremony;
    let new = ["dora-root", "emil-root", "fritz-root"];
    new.iter().try_for_each(|key| ceremony.make_key(key)).unwrap();
    let old = ["alice-root", "bob-root", "carol-root"];
    let root = ceremony.rotate(Repository::Image, &["root"], &old, &new).unwrap();
    ceremony.sign(&root, &[ROOT_QUORUM, [new[0], new[1]]].concat()).unwrap();
    stage.update(&mut spared, DEVICE, "1.2.0", 1).unwrap();
    // A device that was reached is the thief's to update, and still runs our code.
    stage.stall(&mut fleet, "th1-reached", "1.2.0", "trust_signatures").unwrap();
    assert_eq!(fleet.running().unwrap()["th1-reached"], FACTORY_VERSION);

    let names = ["th1-reached-again".to_owned()];
    let batch =
        Batch { folder: "cable", names: &names, image_root: Some(&root), ..Batch::default() };
    let mut again = stage.devices(&batch).unwrap();
    stage.roll_out(&mut again, &names[0], "1.2.0").unwrap();
}

/// Whoever holds two root keys of the Director **can** make a Director of their own: they choose
/// among listed releases, as with the server. They **cannot** install anything else. **Recovery**:
/// as above; a device that was reached gets the new root with a cable.
#[test]
fn row_37_who_holds_a_quorum_of_director_root_keys_still_needs_the_image_repository() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    let listed_too = stage.publish("1.1.0", 1).unwrap();
    let stolen = stage.world.ceremony.steal(&stage.folder().join("thief")).unwrap();
    seize(&stolen, Repository::Director, &DIRECTOR_ROOT_QUORUM);
    let key = stolen.open_key("thief-director").unwrap();
    let thief = std::sync::Arc::new(Puppet::with_key(Box::new(key), &stolen).unwrap());
    let hostile = stage.take_over(std::sync::Arc::<Puppet>::clone(&thief)).unwrap();
    thief.offer_listed(CHANNEL, "1.1.0", listed_too).unwrap();
    fleet.wait_for(obeyed("healthy")).unwrap();
    let path = target_path(CHANNEL, "1.1.0");
    let image = files(&stolen.metadata(Repository::Image)).unwrap();
    let attributes = listed(&image, CHANNEL, &path).unwrap();
    thief.order(|orders| orders.offer_image(path, attributes, evil_image().unwrap()));
    fleet.wait_for(refused("trust_mismatch")).unwrap();
    drop(hostile);
    stage.world.server.restart().unwrap();
    wait_for_refusal(&mut fleet, "trust_signatures").unwrap();

    let ceremony = &stage.world.ceremony;
    let new = ["dora-director-root", "emil-director-root", "fritz-director-root"];
    new.iter().try_for_each(|key| ceremony.make_key(key)).unwrap();
    let old = ["alice-director-root", "bob-director-root", "carol-director-root"];
    let root = ceremony.rotate(Repository::Director, &["root"], &old, &new).unwrap();
    ceremony.sign(&root, &[DIRECTOR_ROOT_QUORUM, [new[0], new[1]]].concat()).unwrap();
    stage.import_director_root(&root).unwrap();
    let names = ["th1-reached-again".to_owned()];
    let batch =
        Batch { folder: "cable", names: &names, director_root: Some(&root), ..Batch::default() };
    let mut again = stage.devices(&batch).unwrap();
    stage.list_by(&RELEASE_QUORUM, "1.2.0", 1).unwrap();
    stage.publish_by("publisher").unwrap();
    stage.roll_out(&mut again, &names[0], "1.2.0").unwrap();
}

/// Writes and signs roots that give every role to keys of the thief, and returns the first.
fn seize(stolen: &Ceremony, repository: Repository, with: &[&str]) -> PathBuf {
    let rotate = |roles: &[&str], remove: &[&str], key: &str| {
        stolen.make_key(key).unwrap();
        let root = stolen.rotate_to(repository, roles, remove, &[key], Some(1)).unwrap();
        stolen.sign(&root, with).unwrap();
        root
    };
    let holders = |role: &str| ["alice", "bob", "carol"].map(|holder| format!("{holder}-{role}"));
    let (first, root) = match repository {
        Repository::Director => {
            let online = ["timestamp", "snapshot", "targets"];
            (rotate(&online, &["director", "standby"], "thief-director"), "director-root")
        }
        Repository::Image => {
            let targets = holders("targets");
            let targets = targets.each_ref().map(String::as_str);
            let first = rotate(&["targets"], &targets, "thief-targets");
            rotate(&["snapshot", "timestamp"], &["publisher"], "thief-publisher");
            (first, "root")
        }
    };
    let (key, old) = (format!("thief-{root}"), holders(root));
    let last = rotate(&["root"], &old.each_ref().map(String::as_str), &key);
    stolen.sign(&last, &[&key]).unwrap();
    first
}
