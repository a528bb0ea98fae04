//! SBOMs and provenance: `/api/v1/products/{product}/{documents,affected}`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waxwing_server::domain::Running;
use waxwing_server::jobs::flush::flush_sightings;
use waxwing_server::repositories::Files;
use waxwing_tuf::{Fetch, FetchError, Limits, MemoryStore, Repository, Time};
use waxwing_wire::{DeviceId, Digest};

use crate::support::{Answer, Api, Publisher, image, sha256};

fn sbom(mbedtls: &str) -> Vec<u8> {
    let purl = format!("pkg:github/Mbed-TLS/mbedtls@{mbedtls}");
    let components = json!([
        {"type": "library", "name": "mbedtls", "version": mbedtls, "purl": purl},
        {"type": "framework", "name": "esp-idf", "version": "5.3.1"},
    ]);
    let sbom = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components});
    sbom.to_string().into_bytes()
}

fn provenance(image: &[u8]) -> Vec<u8> {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "th1.bin", "digest": {"sha256": sha256(image)}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {"buildType": "https://ci.example/build/v1"},
            "runDetails": {"builder": {"id": "https://ci.example/runner"}},
        },
    });
    let envelope = json!({
        "payloadType": "application/vnd.in-toto+json",
        "payload": STANDARD.encode(statement.to_string()),
        "signatures": [{"keyid": "k", "sig": STANDARD.encode("s")}],
    });
    format!("{envelope}\n").into_bytes()
}

async fn put(api: &Api, document: &[u8]) -> Answer {
    let path = format!("products/th1/documents/{}", sha256(document));
    api.put_bytes(&path, document.to_vec()).await
}

/// Lists a document beside a release.
fn attach(publisher: &mut Publisher, version: &str, name: &str, document: &[u8]) {
    let path = format!("th1/stable/{version}/{name}");
    let target = json!({"length": document.len(), "hashes": {"sha256": sha256(document)}});
    publisher.roles.entry("th1-stable-docs".to_owned()).or_default().insert(path, target);
}

/// Lets a device say what it runs.
async fn seen(api: &Api, device: &str, image: Digest) {
    let running = Running {
        version: "1.0.0".parse().unwrap(),
        sha256: image,
        security_version: 1,
        pins: None,
        out_s: 0,
    };
    let device = DeviceId::parse(device).unwrap();
    api.app.fleet.poll(&device, &running, api.now_s() * 1000).unwrap();
    flush_sightings(&api.app.store, &api.app.fleet).await.unwrap();
}

#[tokio::test]
async fn one_query_tells_which_devices_run_an_affected_version() {
    let (api, mut publisher) = Api::with_fleet(4).await;
    for (version, mbedtls) in [("1.0.0", "3.5.2"), ("1.1.0", "3.6.1")] {
        put(&api, &sbom(mbedtls)).await.ok();
        attach(&mut publisher, version, "sbom.cdx.json", &sbom(mbedtls));
    }
    api.publish(&publisher.publication()).await.ok();
    seen(&api, "d-0", sha256(&image("1.0.0"))).await;
    seen(&api, "d-1", sha256(&image("1.1.0"))).await;
    seen(&api, "d-3", sha256(&image("1.0.0"))).await;
    let api = api.restarted().await;
    let affected = async |query: &str| -> Vec<String> {
        let answer = api.get(&format!("products/th1/affected?{query}")).await.ok();
        let items = answer["items"].as_array().unwrap().iter();
        items.map(|item| item["device"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(affected("name=mbedtls").await, ["d-0", "d-1", "d-3"]);
    assert_eq!(affected("name=mbedtls&version=%3C3.6").await, ["d-0", "d-3"]);
    assert_eq!(affected("name=mbedtls&version=%3E%3D3.6,%3C4").await, ["d-1"]);
    assert_eq!(affected("purl=pkg:github/Mbed-TLS/mbedtls").await, ["d-0", "d-1", "d-3"]);
    assert_eq!(affected("purl=pkg:github/Mbed-TLS/mbedtls@3.6.1").await, ["d-1"]);
    assert_eq!(affected("purl=pkg:github/Mbed-TLS/mbed").await, [""; 0]);
    assert_eq!(affected("name=openssl").await, [""; 0]);
    let first = api.get("products/th1/affected?name=mbedtls&limit=1").await.ok();
    let expected = json!({
        "device": "d-0", "channel": "stable", "release": "1.0.0", "component": "mbedtls",
        "component_version": "3.5.2", "purl": "pkg:github/Mbed-TLS/mbedtls@3.5.2",
    });
    assert_eq!((&first["items"][0], &first["next"]), (&expected, &json!("d-0")));
    assert_eq!(affected("name=mbedtls&after=d-0").await, ["d-1", "d-3"]);
    api.get("products/th1/affected").await.refused(400, "invalid_query", Some("name"));
    let answer = api.get("products/th1/affected?name=x&version=%3C").await;
    answer.refused(400, "invalid_query", Some("version"));
}

/// What is served, and what was asked for.
struct Log<'a> {
    served: &'a Files,
    asked: Vec<String>,
}

impl Fetch for Log<'_> {
    fn metadata(&mut self, name: &str, _: usize) -> Result<Option<Vec<u8>>, FetchError> {
        self.asked.push(name.to_owned());
        Ok(self.served.get(name).map(|bytes| bytes.to_vec()))
    }
}

#[tokio::test]
async fn no_device_gets_documents_or_their_role() {
    let (api, mut publisher) = Api::with_fleet(1).await;
    put(&api, &sbom("3.6.0")).await.ok();
    attach(&mut publisher, "1.0.0", "sbom.cdx.json", &sbom("3.6.0"));
    let files = publisher.publication();
    api.publish(&files).await.ok();
    let served = api.app.repositories.image(&"th1".parse().unwrap()).unwrap();
    let sent: Vec<_> =
        served.lacking(Some("th1/stable/1.0.0/esp32c3.bin"), |_| 0).map(|file| file.name).collect();
    assert_eq!(sent, ["timestamp.json", "2.snapshot.json", "2.targets.json", "2.th1-stable.json"]);
    // A device asks for nothing else: with the other files it finds its release.
    let mut log = Log { served: &served, asked: Vec::new() };
    let root = served.get("1.root.json").unwrap();
    let limits = Limits::DEVICE_IMAGE;
    let mut device = Repository::open(MemoryStore::new(), root, Some("image/th1"), limits).unwrap();
    let now = Time::from_seconds(api.now_s());
    device.refresh(&mut log, now).unwrap();
    device.target("th1/stable/1.0.0/esp32c3.bin", &mut log, now).unwrap();
    log.asked.retain(|name| !name.contains("root"));
    assert_eq!(log.asked, sent);
    // Auditors find it like any other file.
    assert_eq!(served.get("2.th1-stable-docs.json").unwrap(), &files["2.th1-stable-docs.json"]);
}

#[tokio::test]
async fn a_document_is_stored_once_and_comes_back_as_it_was() {
    let (api, _) = Api::with_fleet(0).await;
    let first = put(&api, &sbom("3.6.0")).await;
    assert_eq!((first.status.as_u16(), &first.json["format"]), (201, &json!("cyclonedx")));
    let again = put(&api, &sbom("3.6.0")).await;
    assert_eq!((again.status.as_u16(), again.json), (200, first.json));
    let path = format!("products/th1/documents/{}", sha256(&sbom("3.6.0")));
    let stored = api.get(&path).await.ok();
    assert_eq!(stored, serde_json::from_slice::<Value>(&sbom("3.6.0")).unwrap());
    let path = format!("products/th1/documents/{}", sha256(b"other"));
    api.get(&path).await.refused(404, "unknown_document", None);
    api.put_bytes(&path, sbom("3.6.0")).await.refused(
        422,
        "document_hash_mismatch",
        Some("sha256"),
    );
    put(&api, b"{}").await.refused(422, "document_malformed", Some("sha256"));
    put(&api, &vec![b' '; 1 << 21]).await.refused(413, "body_too_large", None);
    api.get("products/th1/documents/xyz").await.refused(400, "invalid_digest", Some("sha256"));
}

#[tokio::test]
async fn what_releases_must_come_with_can_be_changed_later() {
    let (api, mut publisher) = Api::with_fleet(0).await;
    let path = "products/th1/required-documents";
    for (rules, field) in [
        (json!({"required_documents": {"beta": ["sbom"]}}), "required_documents"),
        (json!({"required_documents": {}, "builders": [""]}), "builders"),
        (json!({"required_documents": {}, "builders": vec!["x"; 17]}), "builders"),
    ] {
        api.put(path, rules).await.refused(422, "invalid_product", Some(field));
    }
    let rules =
        json!({"required_documents": {"stable": ["provenance"]}, "builders": ["https://other"]});
    api.put("products/none/required-documents", rules.clone()).await.refused(
        404,
        "unknown_product",
        None,
    );
    let product = api.put(path, rules.clone()).await.ok();
    assert_eq!(product["builders"], rules["builders"]);
    let api = api.restarted().await;
    assert_eq!(
        api.get("products/th1").await.ok()["required_documents"],
        rules["required_documents"]
    );
    let answer = api.publish(&publisher.publication()).await;
    answer.refused(422, "document_required", Some("th1/stable/1.0.0/esp32c3.bin"));
    let name = "provenance.intoto.jsonl";
    for version in ["1.0.0", "1.1.0"] {
        let provenance = provenance(&image(version));
        put(&api, &provenance).await.ok();
        attach(&mut publisher, version, name, &provenance);
    }
    publisher.version = 2;
    let answer = api.publish(&publisher.publication()).await;
    answer.refused(422, "document_builder", Some(&format!("th1/stable/1.0.0/{name}")));
    let rules = json!({"required_documents": {}, "builders": ["https://other", "https://ci.example/runner"]});
    api.put(path, rules).await.ok();
    publisher.version = 2;
    api.publish(&publisher.publication()).await.ok();
    let lines = api.get("audit").await.ok()["items"].as_array().unwrap().clone();
    let changed = lines.iter().filter(|line| line["action"] == "required_documents_changed");
    assert_eq!(changed.count(), 2);
}

#[tokio::test]
async fn documents_that_nothing_lists_do_not_pile_up() {
    let (api, mut publisher) = Api::with_fleet(0).await;
    let nth = |n: usize| sbom(&format!("3.0.{n}"));
    put(&api, &nth(0)).await.ok();
    attach(&mut publisher, "1.0.0", "sbom.cdx.json", &nth(0));
    api.publish(&publisher.publication()).await.ok();
    for n in 1..=64 {
        put(&api, &nth(n)).await.ok();
    }
    put(&api, &nth(65)).await.refused(409, "too_many_documents", Some("sha256"));
    put(&api, &nth(64)).await.ok();
    api.clock.advance(Duration::from_hours(7 * 24));
    put(&api, &nth(65)).await.ok();
    let known = async |n: usize| {
        let path = format!("products/th1/documents/{}", sha256(&nth(n)));
        api.get(&path).await.status.is_success()
    };
    assert_eq!([known(0).await, known(1).await, known(2).await], [true, false, true]);
    let lines = api.get("audit").await.ok()["items"].as_array().unwrap().clone();
    assert_eq!(lines.last().unwrap()["detail"]["removed"], json!(sha256(&nth(1))));
}

#[tokio::test]
async fn a_bomb_of_components_is_refused_and_only_listed_ones_get_rows() {
    let (api, mut publisher) = Api::with_fleet(0).await;
    let part = r#"{"type":"a","name":"b"}"#;
    let bomb = |count: usize| {
        let parts = vec![part; count].join(",");
        format!(r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{parts}]}}"#)
    };
    put(&api, bomb(43_000).as_bytes()).await.refused(422, "document_malformed", Some("sha256"));
    let largest = bomb(10_000).into_bytes();
    put(&api, &largest).await.ok();
    let rows = async || {
        let mut change = api.app.store.begin().await.unwrap();
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM components");
        count.fetch_one(change.connection()).await.unwrap()
    };
    assert_eq!(rows().await, 0);
    attach(&mut publisher, "1.0.0", "sbom.cdx.json", &largest);
    for _ in 0..2 {
        api.publish(&publisher.publication()).await.ok();
        assert_eq!(rows().await, 10_000);
    }
}

/// Publishes one document, spoilt.
async fn check_refused(version: &str, name: &str, document: &[u8], upload: bool, code: &str) {
    let (api, mut publisher) = Api::with_fleet(0).await;
    if upload {
        put(&api, document).await.ok();
    }
    attach(&mut publisher, version, name, document);
    let path = format!("th1/stable/{version}/{name}");
    api.publish(&publisher.publication()).await.refused(422, code, Some(&path));
}

#[tokio::test]
async fn a_listed_document_must_be_here_and_belong_to_its_release() {
    let other = provenance(b"another image");
    let good = provenance(&image("1.0.0"));
    let sbom = sbom("3.6.0");
    check_refused("1.0.0", "sbom.cdx.json", &sbom, false, "document_missing").await;
    check_refused("1.0.0", "sbom.spdx.json", &sbom, true, "document_missing").await;
    check_refused("9.0.0", "sbom.cdx.json", &sbom, true, "document_without_release").await;
    check_refused("1.0.0", "notes.json", &sbom, true, "document_path").await;
    check_refused("x", "sbom.cdx.json", &sbom, true, "document_path").await;
    let code = "document_of_another_image";
    check_refused("1.0.0", "provenance.intoto.jsonl", &other, true, code).await;
    let (api, mut publisher) = Api::with_fleet(0).await;
    put(&api, &good).await.ok();
    attach(&mut publisher, "1.0.0", "provenance.intoto.jsonl", &good);
    api.publish(&publisher.publication()).await.ok();
}

#[tokio::test]
async fn a_channel_may_require_documents_of_every_release() {
    let api = Api::open().await;
    let mut publisher = Publisher::new(&api);
    let mut product = publisher.product();
    product["required_documents"] = json!({"beta": ["sbom"]});
    let answer = api.post("products", product.clone()).await;
    answer.refused(422, "invalid_product", Some("required_documents"));
    product["required_documents"] = json!({"stable": ["sbom", "provenance"]});
    assert_eq!(api.post("products", product).await.ok()["required_documents"]["stable"][0], "sbom");
    let image = image("1.0.0");
    api.upload(&image).await;
    publisher.list("stable", "1.0.0", &image);
    let path = "th1/stable/1.0.0/esp32c3.bin";
    put(&api, &sbom("3.6.0")).await.ok();
    attach(&mut publisher, "1.0.0", "sbom.cdx.json", &sbom("3.6.0"));
    let answer = api.publish(&publisher.publication()).await;
    answer.refused(422, "document_required", Some(path));
    put(&api, &provenance(&image)).await.ok();
    attach(&mut publisher, "1.0.0", "provenance.intoto.jsonl", &provenance(&image));
    publisher.version = 1;
    api.publish(&publisher.publication()).await.ok();
}
