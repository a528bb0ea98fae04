//! `/api/v1/director`.

use waxwing_tuf::author::{Ed25519Signer, Signer as _};

use crate::support::{Api, Publisher};

fn ceremony(api: &Api) -> Publisher {
    let mut ceremony = Publisher::new(api);
    ceremony.repo = "director".into();
    ceremony
}

#[tokio::test]
async fn a_root_with_the_servers_key_makes_devices_believe_it() {
    let api = Api::open().await;
    let before = api.get("director").await.ok();
    assert_eq!(before["root"], serde_json::Value::Null);
    assert_eq!(
        before["public_key"]["key"]["keyval"]["public"],
        api.app.director.public().public_text()
    );
    assert!(api.app.repositories.director().is_none());
    let root = ceremony(&api).root_of(1, api.app.director.public());
    let after = api.put_bytes("director/root", root.clone()).await.ok();
    assert_eq!(after["root"]["version"], 1);
    assert!(api.app.repositories.director().is_some());
    assert_eq!(api.put_bytes("director/root", root).await.ok(), after, "twice is no error");
    let api = api.restarted().await;
    assert_eq!(api.get("director").await.ok(), after);
}

#[tokio::test]
async fn the_next_root_follows_and_no_other() {
    let api = Api::open().await;
    let ceremony = ceremony(&api);
    let root = |version| ceremony.root_of(version, api.app.director.public());
    api.put_bytes("director/root", root(1)).await.ok();
    let answer = api.put_bytes("director/root", root(3)).await;
    answer.refused(422, "metadata_unbelievable", Some("root.json"));
    assert_eq!(api.put_bytes("director/root", root(2)).await.ok()["root"]["version"], 2);
    let answer = api.put_bytes("director/root", root(1)).await;
    answer.refused(422, "metadata_unbelievable", Some("root.json"));
}

#[tokio::test]
async fn a_root_that_would_leave_this_server_mute_is_refused() {
    let api = Api::open().await;
    let other = Ed25519Signer::from_seed(&[5; 32]).unwrap();
    let root = ceremony(&api).root_of(1, other.public());
    let answer = api.put_bytes("director/root", root).await;
    answer.refused(422, "director_key_missing", Some("timestamp"));
    assert!(api.app.repositories.director().is_none());
}

#[tokio::test]
async fn a_root_of_an_image_repository_or_no_root_is_refused() {
    let api = Api::open().await;
    let image = Publisher::new(&api).root_of(1, api.app.director.public());
    for bytes in [image, b"{}".to_vec(), Vec::new(), vec![b' '; 20_000]] {
        let answer = api.put_bytes("director/root", bytes).await;
        answer.refused(422, "metadata_unbelievable", Some("root.json"));
    }
}
