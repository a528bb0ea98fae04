//! Images and metadata: `/api/v1/products/{product}/{images,metadata,releases}`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use waxwing_esp_image::Chip;
use waxwing_esp_image::write::AppBuilder;
use waxwing_tuf::uptane::ceiling_rank;

use crate::support::{Answer, Api, Files, Publisher, image, sha256};

async fn shop() -> (Api, Publisher) {
    let api = Api::open().await;
    let publisher = Publisher::new(&api);
    api.post("products", publisher.product()).await.ok();
    (api, publisher)
}

async fn put(api: &Api, image: &[u8]) -> Answer {
    let path = format!("products/th1/images/{}", sha256(image));
    api.put_bytes(&path, image.to_vec()).await
}

#[tokio::test]
async fn an_image_is_stored_once_and_an_upload_again_is_no_error() {
    let (api, _) = shop().await;
    let image = image("1.0.0");
    let first = put(&api, &image).await;
    assert_eq!(first.status, 201);
    let again = put(&api, &image).await;
    assert_eq!((again.status.as_u16(), again.json), (200, first.json));
    assert!(api.app.blobs.contains(&sha256(&image)));
}

#[tokio::test]
async fn uploads_of_one_image_at_once_store_it_once() {
    let (api, _) = shop().await;
    let image = image("1.0.0");
    let upload = || async { put(&api, &image).await.status.as_u16() };
    let (a, b, c, d) = tokio::join!(upload(), upload(), upload(), upload());
    let mut answers = [a, b, c, d];
    answers.sort_unstable();
    assert_eq!(answers, [200, 200, 200, 201]);
    let audit = api.get("audit").await.ok();
    let lines = audit["items"].as_array().unwrap().iter();
    assert_eq!(lines.filter(|line| line["action"] == "image_stored").count(), 1, "{audit:#}");
}

#[tokio::test]
async fn an_image_that_no_device_could_run_is_refused_and_not_kept() {
    let (api, _) = shop().await;
    let good = image("1.0.0");
    let other_chip = AppBuilder::new(Chip::Esp32).version("1.0.0").project("th1-fw");
    let other_project = AppBuilder::new(Chip::Esp32c3).version("1.0.0").project("x");
    let nameless = AppBuilder::new(Chip::Esp32c3).without_descriptor();
    let large = AppBuilder::new(Chip::Esp32c3).project("th1-fw").rodata(vec![0; 1 << 20]);
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    for (image, code) in [
        (other_chip.build().unwrap(), "image_unacceptable"),
        (other_project.build().unwrap(), "image_unacceptable"),
        (nameless.build().unwrap(), "image_unacceptable"),
        (large.build().unwrap(), "image_unacceptable"),
        (good[..good.len() - 40].to_vec(), "image_malformed"),
        (damaged, "image_malformed"),
        (b"MZ not an image".to_vec(), "image_malformed"),
        (Vec::new(), "image_malformed"),
    ] {
        put(&api, &image).await.refused(422, code, Some("sha256"));
        assert!(!api.app.blobs.contains(&sha256(&image)));
    }
}

#[tokio::test]
async fn an_image_under_a_wrong_name_is_refused() {
    let (api, _) = shop().await;
    let path = format!("products/th1/images/{}", sha256(b"other"));
    api.put_bytes(&path, image("1.0.0")).await.refused(422, "image_hash_mismatch", Some("sha256"));
    let answer = api.put_bytes("products/th1/images/xyz", image("1.0.0")).await;
    answer.refused(400, "invalid_digest", Some("sha256"));
    let path = format!("products/none/images/{}", sha256(b"other"));
    api.put_bytes(&path, image("1.0.0")).await.refused(404, "unknown_product", None);
}

#[tokio::test]
async fn a_publication_lists_releases_and_survives_a_restart() {
    let (api, mut publisher) = shop().await;
    let image = image("1.0.0");
    api.upload(&image).await;
    publisher.list("stable", "1.0.0", &image);
    let files = publisher.publication();
    let changes = api.publish(&files).await.ok();
    assert_eq!(changes["listed"], json!(["th1/stable/1.0.0/esp32c3.bin"]));
    let again = api.publish(&files).await.ok();
    assert_eq!(again["files"], json!([]), "the same publication again changes nothing");
    let api = api.restarted().await;
    let releases = api.get("products/th1/releases").await.ok();
    let release = &releases["items"][0];
    assert_eq!((&release["version"], &release["listed"]), (&json!("1.0.0"), &json!(true)));
    let served = api.app.repositories.image(&"th1".parse().unwrap()).unwrap();
    assert_eq!(served.get("timestamp.json").unwrap(), &files["timestamp.json"]);
}

#[tokio::test]
async fn a_release_that_is_no_longer_listed_is_offered_no_more() {
    let (api, mut publisher) = Api::with_fleet(1).await;
    let rollout = json!({
        "id": "r-1", "product": "th1", "channel": "stable", "version": "1.1.0", "group": "all",
    });
    api.post("rollouts", rollout).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    api.poll_all(1).await;
    assert!(api.offered("d-0").is_some());
    publisher.roles.get_mut("th1-stable").unwrap().remove("th1/stable/1.1.0/esp32c3.bin");
    let changes = api.publish(&publisher.publication()).await.ok();
    assert_eq!(changes["delisted"], json!(["th1/stable/1.1.0/esp32c3.bin"]));
    assert_eq!(api.offered("d-0"), None);
    let api = api.restarted().await;
    assert_eq!(api.offered("d-0"), None);
}

/// Publishes something spoilt after a good publication; nothing of it may be stored.
async fn check_refused(
    spoil: impl FnOnce(&mut Publisher) -> Option<Files>,
    code: &str,
    subject: &str,
) {
    let (api, mut publisher) = Api::with_fleet(0).await;
    let before = api.get("products/th1/releases").await.ok();
    let files = spoil(&mut publisher).unwrap_or_else(|| publisher.publication());
    api.publish(&files).await.refused(422, code, Some(subject));
    assert_eq!(api.get("products/th1/releases").await.ok(), before);
    let served = api.app.repositories.image(&"th1".parse().unwrap()).unwrap();
    assert!(served.get("2.snapshot.json").is_none());
    assert!(served.get("3.snapshot.json").is_none());
}

const NEW: &str = "th1/stable/1.2.0/esp32c3.bin";

/// Lists 1.2.0 with the image of 1.1.0, spoilt.
fn spoilt(spoil: impl FnOnce(&mut Value)) -> impl FnOnce(&mut Publisher) -> Option<Files> {
    |publisher| {
        spoil(publisher.list("stable", "1.2.0", &image("1.1.0")));
        None
    }
}

#[tokio::test]
async fn releases_that_no_device_could_install_are_refused_with_the_reason() {
    let code = "release_unacceptable";
    check_refused(spoilt(|t| t["custom"]["match"]["chip"] = json!("esp32")), code, NEW).await;
    check_refused(spoilt(|t| t["custom"]["match"]["hw"] = json!(["r9"])), code, NEW).await;
    check_refused(spoilt(|t| t["custom"]["match"]["kind"] = json!("boot")), code, NEW).await;
    check_refused(spoilt(|t| t["custom"]["match"]["version"] = json!("9.0.0")), code, NEW).await;
    check_refused(spoilt(|t| t["length"] = json!(2 << 20)), code, NEW).await;
}

#[tokio::test]
async fn a_release_must_fit_its_image() {
    check_refused(spoilt(|_| ()), "release_image_differs", NEW).await;
    let elsewhere = json!(sha256(b"never uploaded"));
    check_refused(spoilt(|t| t["hashes"]["sha256"] = elsewhere), "image_missing", NEW).await;
    check_refused(spoilt(|t| t["length"] = json!(17)), "image_missing", NEW).await;
    check_refused(spoilt(|t| t["custom"] = json!({})), "release_malformed", NEW).await;
}

#[tokio::test]
async fn a_version_means_one_image_for_ever() {
    let other = AppBuilder::new(Chip::Esp32c3).version("1.1.0").project("th1-fw").rodata("new");
    let other = other.build().unwrap();
    let (api, mut publisher) = Api::with_fleet(0).await;
    api.upload(&other).await;
    publisher.list("stable", "1.1.0", &other);
    let answer = api.publish(&publisher.publication()).await;
    answer.refused(422, "release_changed", Some("th1/stable/1.1.0/esp32c3.bin"));
}

#[tokio::test]
async fn releases_of_one_security_version_share_their_secure_version() {
    let (api, mut publisher) = Api::with_fleet(0).await;
    let burnt = AppBuilder::new(Chip::Esp32c3).version("1.2.0").project("th1-fw").secure_version(1);
    let burnt = burnt.build().unwrap();
    api.upload(&burnt).await;
    publisher.list("stable", "1.2.0", &burnt)["custom"]["match"]["secure_version"] = json!(1);
    let answer = api.publish(&publisher.publication()).await;
    answer.refused(422, "releases_conflict", Some("the roles of all channels"));
}

#[tokio::test]
async fn what_a_device_would_not_believe_is_refused() {
    let code = "metadata_unbelievable";
    let forged = |publisher: &mut Publisher| {
        publisher.key = waxwing_tuf::author::Ed25519Signer::from_seed(&[1; 32]).unwrap();
        let mut files = publisher.publication();
        files.remove("1.root.json");
        Some(files)
    };
    check_refused(forged, code, "timestamp.json").await;
    let expired = |publisher: &mut Publisher| {
        publisher.expires_s = 1;
        None
    };
    check_refused(expired, code, "timestamp.json").await;
    let of_another = |publisher: &mut Publisher| {
        publisher.repo = "image/other".to_owned();
        let mut files = publisher.publication();
        files.remove("1.root.json");
        Some(files)
    };
    check_refused(of_another, code, "timestamp.json").await;
    let incomplete = |publisher: &mut Publisher| {
        let mut files = publisher.publication();
        files.remove("2.th1-stable.json");
        Some(files)
    };
    check_refused(incomplete, code, "2.th1-stable.json").await;
    let rolled_back = |publisher: &mut Publisher| {
        publisher.version = 0;
        None
    };
    check_refused(rolled_back, code, "timestamp.json").await;
}

#[tokio::test]
async fn what_devices_cannot_see_is_refused_too() {
    let soon = |publisher: &mut Publisher| {
        publisher.expires_s -= 84 * 24 * 3600;
        None
    };
    check_refused(soon, "metadata_expires_soon", "timestamp").await;
    let leap = |publisher: &mut Publisher| {
        publisher.version += 1;
        None
    };
    check_refused(leap, "metadata_version_gap", "snapshot").await;
    let stray = |publisher: &mut Publisher| {
        let mut files = publisher.publication();
        files.insert("9.stray.json".to_owned(), b"{}".to_vec());
        Some(files)
    };
    check_refused(stray, "metadata_unused", "9.stray.json").await;
}

#[tokio::test]
async fn a_role_that_is_new_may_begin_at_any_version_and_goes_on_one_by_one() {
    let (api, mut publisher) = shop().await;
    publisher.version = 41;
    api.publish(&publisher.publication()).await.ok();
    // TUF counts no role from 1: a repository that moves to another server brings its versions.
    publisher.roles.insert("th1-late".to_owned(), BTreeMap::new());
    api.publish(&publisher.publication()).await.ok();
    publisher.version = 44;
    let answer = api.publish(&publisher.publication()).await;
    answer.refused(422, "metadata_version_gap", Some("snapshot"));
    publisher.version = 43;
    api.publish(&publisher.publication()).await.ok();
}

#[tokio::test]
async fn nothing_unverified_is_stored_under_a_name_that_looks_like_a_root() {
    for name in ["0.root.json", "01.root.json", "+1.root.json", "-1.root.json", "root.json"] {
        let stray = |publisher: &mut Publisher| {
            let mut files = publisher.publication();
            files.insert(name.to_owned(), b"anything".to_vec());
            Some(files)
        };
        check_refused(stray, "metadata_unused", name).await;
    }
}

#[tokio::test]
async fn a_role_lists_its_own_channel_only() {
    let stable = |publisher: &mut Publisher| {
        let target = publisher.list("stable", "1.2.0", &image("1.1.0")).clone();
        let role = publisher.roles.get_mut("th1-stable").unwrap();
        role.remove(NEW);
        role.insert("th1/beta/1.2.0/esp32c3.bin".to_owned(), target);
        None
    };
    check_refused(stable, "release_outside_role", "th1/beta/1.2.0/esp32c3.bin").await;
    let no_channel = |publisher: &mut Publisher| {
        publisher.list("nightly", "1.2.0", &image("1.1.0"));
        None
    };
    let subject = "th1/nightly/1.2.0/esp32c3.bin";
    check_refused(no_channel, "release_outside_role", subject).await;
}

/// Puts `count` roles that list nothing before the one of the channel.
fn detour(publisher: &mut Publisher, count: usize) {
    publisher.wide = (0..count).map(|n| format!("th1-z{n}")).collect();
    publisher.roles.extend(publisher.wide.iter().map(|role| (role.clone(), BTreeMap::new())));
}

#[tokio::test]
async fn a_release_that_no_answer_could_bring_a_device_to_is_refused() {
    let (code, first) = ("release_out_of_reach", "th1/stable/1.0.0/esp32c3.bin");
    let far = |publisher: &mut Publisher| {
        detour(publisher, 8);
        None
    };
    check_refused(far, code, first).await;
    let heavy = |publisher: &mut Publisher| {
        detour(publisher, 2);
        publisher.padding = 12_000;
        None
    };
    check_refused(heavy, code, first).await;
    let (api, mut publisher) = Api::with_fleet(0).await;
    detour(&mut publisher, 2);
    publisher.padding = 10_500;
    api.publish(&publisher.publication()).await.ok();
}

#[tokio::test]
async fn what_is_no_bundle_is_refused() {
    let (api, _) = shop().await;
    for body in [&b""[..], b"TB1\n", b"{}"] {
        let answer = api.call(axum::http::Method::POST, "products/th1/metadata", body.into()).await;
        answer.refused(400, "bundle_malformed", None);
    }
}

#[tokio::test]
async fn a_root_rotation_comes_with_the_publication() {
    let (api, mut publisher) = Api::with_fleet(0).await;
    let mut files = publisher.publication();
    files.insert("2.root.json".to_owned(), publisher.root(2));
    let changes = api.publish(&files).await.ok();
    assert!(changes["files"].as_array().unwrap().contains(&json!("2.root.json")));
    let served = api.app.repositories.image(&"th1".parse().unwrap()).unwrap();
    assert!(served.get("2.root.json").is_some());
}

/// Uploads and lists a release with these security and secure versions.
async fn list_burnt(
    api: &Api,
    publisher: &mut Publisher,
    version: &str,
    (security_version, secure_version): (u32, u32),
) {
    let image = AppBuilder::new(Chip::Esp32c3).version(version).project("th1-fw");
    let image = image.secure_version(secure_version).build().unwrap();
    api.upload(&image).await;
    let attributes = &mut publisher.list("stable", version, &image)["custom"]["match"];
    attributes["security_version"] = json!(security_version);
    attributes["secure_version"] = json!(secure_version);
}

#[tokio::test]
async fn a_later_security_version_never_falls_back_behind_burned_efuses() {
    let (api, mut publisher) = Api::with_fleet(0).await;
    list_burnt(&api, &mut publisher, "1.2.0", (2, 2)).await;
    api.publish(&publisher.publication()).await.ok();
    list_burnt(&api, &mut publisher, "1.3.0", (3, 1)).await;
    let path = "th1/stable/1.3.0/esp32c3.bin";
    let role = |publisher: &mut Publisher| publisher.roles.get_mut("th1-stable").unwrap().clone();
    let together = api.publish(&publisher.publication()).await;
    together.refused(422, "releases_conflict", Some(path));
    // Nor when the earlier one is not listed any more: devices may have installed it.
    let mut targets = role(&mut publisher);
    targets.remove("th1/stable/1.2.0/esp32c3.bin");
    publisher.roles.insert("th1-stable".to_owned(), targets);
    publisher.version = 3;
    let alone = api.publish(&publisher.publication()).await;
    assert!(alone.json["detail"].as_str().unwrap().contains("secure_version"), "{alone:?}");
    alone.refused(422, "releases_conflict", Some(path));
}

#[tokio::test]
async fn a_secure_version_that_the_chip_cannot_count_to_is_refused_on_upload_and_publication() {
    let (api, _) = shop().await;
    let image = AppBuilder::new(Chip::Esp32c3).version("1.2.0").project("th1-fw");
    let image = image.secure_version(17).build().unwrap();
    put(&api, &image).await.refused(422, "image_unacceptable", Some("sha256"));
    let code = "release_unacceptable";
    check_refused(spoilt(|t| t["custom"]["match"]["secure_version"] = json!(17)), code, NEW).await;
}

#[tokio::test]
async fn a_release_is_offered_to_devices_below_its_ceiling_only() {
    let (api, mut publisher) = Api::with_fleet(40).await;
    let path = "th1/stable/1.1.0/esp32c3.bin";
    let mut limit = |permille: u16| {
        let target = publisher.roles.get_mut("th1-stable").unwrap().get_mut(path).unwrap();
        target["custom"]["ceiling_permille"] = json!(permille);
        publisher.publication()
    };
    api.publish(&limit(300)).await.ok();
    let rollout = json!({
        "id": "r-1", "product": "th1", "channel": "stable", "version": "1.1.0", "group": "all",
        "plan": {"risk": 100},
    });
    api.post("rollouts", rollout).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    let below = |permille: u16| move |n: &u32| ceiling_rank(&format!("d-{n}"), path) < permille;
    let check = async |api: &Api, permille: u16| {
        api.poll_all(40).await;
        for n in 0..40 {
            let offered = api.offered(&format!("d-{n}")).is_some();
            assert_eq!(offered, below(permille)(&n), "{n} at {permille}");
        }
        let rollout = api.get("rollouts/r-1").await.ok();
        let offered = (0..40).filter(below(permille)).count();
        assert_eq!(rollout["counts"]["offered"], json!(offered), "{rollout:#}");
        let releases = api.get("products/th1/releases").await.ok();
        assert_eq!(releases["items"][1]["ceiling_permille"], json!(permille));
    };
    let some = (0..40).filter(below(300)).count();
    assert!(some > 0 && some < 30, "{some}");
    check(&api, 300).await;
    let api = api.restarted().await;
    check(&api, 300).await;
    api.publish(&limit(700)).await.ok();
    check(&api, 700).await;
    let answer = api.publish(&limit(1001)).await;
    answer.refused(422, "releases_conflict", Some(path));
}
