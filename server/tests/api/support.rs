//! A server without sockets, a client for its REST API, and a publisher with keys.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tower::ServiceExt as _;
use waxwing_esp_image::Chip;
use waxwing_esp_image::write::AppBuilder;
use waxwing_server::app::{App, Options};
use waxwing_server::clock::{Clock as _, FakeClock};
use waxwing_server::config::Config;
use waxwing_server::domain::Running;
use waxwing_server::http::admin;
use waxwing_server::jobs::flush_sightings;
use waxwing_server::random::FakeRandom;
use waxwing_server::store::operators;
use waxwing_tuf::Time;
use waxwing_tuf::author::{Ed25519Signer, SignedFile, Signer as _};
use waxwing_wire::bundle::{Kind, Writer};
use waxwing_wire::{DeviceId, Digest, RolloutId};

pub(crate) const TOKEN: &str = "the first operator";
const NOW_MS: u64 = 1_795_167_000_000;
const DAY_S: u64 = 24 * 3600;

/// A server without sockets.
pub(crate) struct Api {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Arc<FakeClock>,
    router: Router,
    config: Config,
    folder: Arc<TempDir>,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) json: Value,
}

impl Answer {
    /// Expects success and returns the body.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.json
    }

    /// Expects a problem.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str, field: Option<&str>) {
        let found = (self.status.as_u16(), &self.json["code"], &self.json["field"]);
        assert_eq!(found, (status, &json!(code), &json!(field)), "{:#}", self.json);
        assert!(self.json["detail"].as_str().is_some_and(|detail| detail.ends_with('.')));
    }
}

impl Api {
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| ()).await
    }

    /// Starts a server with another configuration.
    pub(crate) async fn open_with(configure: impl FnOnce(&mut Config)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let data_dir = folder.path().join("data");
        let mut config = Config { data_dir, ..Config::default() };
        configure(&mut config);
        let api = Self::start(config, Arc::new(FakeClock::new(NOW_MS)), folder).await;
        let mut change = api.app.store.begin().await.unwrap();
        let sha256 = admin::token_sha256(TOKEN);
        operators::add(change.connection(), "first", &sha256, NOW_MS).await.unwrap();
        drop(change.commit().await.unwrap());
        api
    }

    async fn start(config: Config, clock: Arc<FakeClock>, folder: Arc<TempDir>) -> Self {
        let random = Arc::new(FakeRandom::default());
        let options = Options::default();
        let app = App::open(config.clone(), options, clock.clone(), random).await.unwrap();
        let app = Arc::new(app);
        Self { router: admin::router(Arc::clone(&app)), app, clock, config, folder }
    }

    /// Kills the server and starts it again.
    pub(crate) async fn restarted(self) -> Self {
        self.restarted_after(|_| ()).await
    }

    /// Kills the server, does something to its database, and starts it again.
    pub(crate) async fn restarted_after(self, change: impl FnOnce(&Path)) -> Self {
        self.app.store.close().await;
        change(&self.config.data_dir.join("waxwing.db"));
        Self::start(self.config, self.clock, self.folder).await
    }

    /// Has what is in an outbox look as if it had been written by a clock that was a year ahead.
    pub(crate) async fn write_as_if_a_year_ahead(&self, outbox: &str) {
        let year = "365 * 24 * 3600 * 1000";
        let ahead = ["since", "due_at", "changed_at"].map(|at| format!("{at} = {at} + {year}"));
        let statement = format!("UPDATE {outbox} SET {}", ahead.join(", "));
        let mut change = self.app.store.begin().await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(change.connection()).await.unwrap();
        drop(change.commit().await.unwrap());
    }

    pub(crate) fn now_s(&self) -> u64 {
        self.clock.now_ms() / 1000
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        // Two changes are never of the same time.
        self.clock.advance(Duration::from_secs(1));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, json: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> Answer {
        self.call_because(b"ticket 7", method, path, body).await
    }

    /// Calls with a reason for the audit log.
    pub(crate) async fn call_because(
        &self,
        reason: &[u8],
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Answer {
        let mut request = Self::request(method, path, Body::from(body));
        request.headers_mut().insert("waxwing-reason", reason.try_into().unwrap());
        self.send(request).await
    }

    /// Asks who it is with another token; success is as good as any answer.
    pub(crate) async fn knows(&self, token: &str) -> bool {
        let mut request = Self::request(Method::GET, "products", Body::empty());
        let field = format!("Bearer {token}").try_into().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, field);
        self.send(request).await.status.is_success()
    }

    /// A request of the operator.
    pub(crate) fn request(method: Method, path: &str, body: Body) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .body(body)
            .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Vec::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, body.to_string().into_bytes()).await
    }

    pub(crate) async fn act(&self, path: &str) -> Answer {
        self.call(Method::POST, path, Vec::new()).await
    }

    /// Somebody else than the first operator acts.
    pub(crate) async fn act_as_another(&self, path: &str) -> Answer {
        const OTHER: &str = "the second operator";
        if !self.knows(OTHER).await {
            let mut change = self.app.store.begin().await.unwrap();
            let sha256 = admin::token_sha256(OTHER);
            operators::add(change.connection(), "second", &sha256, NOW_MS).await.unwrap();
            drop(change.commit().await.unwrap());
        }
        let mut request = Self::request(Method::POST, path, Body::empty());
        let field = format!("Bearer {OTHER}").try_into().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, field);
        request.headers_mut().insert("waxwing-reason", "ticket 8".try_into().unwrap());
        self.send(request).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, body.to_string().into_bytes()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, Vec::new()).await
    }

    /// Puts bytes.
    pub(crate) async fn put_bytes(&self, path: &str, body: Vec<u8>) -> Answer {
        self.call(Method::PUT, path, body).await
    }

    /// Stores an image for `th1` and returns its hash.
    pub(crate) async fn upload(&self, image: &[u8]) -> Digest {
        let sha256 = sha256(image);
        self.put_bytes(&format!("products/th1/images/{sha256}"), image.to_vec()).await.ok();
        sha256
    }

    /// Publishes metadata of `th1`.
    pub(crate) async fn publish(&self, files: &Files) -> Answer {
        self.call(Method::POST, "products/th1/metadata", bundle(files)).await
    }

    /// A product `th1` with releases 1.0.0 and 1.1.0, `devices` devices, and a group of all of them.
    pub(crate) async fn with_fleet(devices: u32) -> (Self, Publisher) {
        let api = Self::open().await;
        let publisher = api.fill(devices).await;
        (api, publisher)
    }

    /// Makes the same of a server that is there.
    pub(crate) async fn fill(&self, devices: u32) -> Publisher {
        let api = self;
        let mut publisher = Publisher::new(api);
        api.post("products", publisher.product()).await.ok();
        for version in ["1.0.0", "1.1.0"] {
            let image = image(version);
            api.upload(&image).await;
            publisher.list("stable", version, &image);
        }
        api.publish(&publisher.publication()).await.ok();
        for n in 0..devices {
            let device =
                json!({"id": format!("d-{n}"), "product": "th1", "tags": {"n": n.to_string()}});
            api.post("devices", device).await.ok();
        }
        api.post("groups", json!({"id": "all", "product": "th1", "tags": {}})).await.ok();
        publisher
    }

    /// Returns whether a device that runs something else is offered an image, and by which rollout.
    /// Every device polls with an old image, and what that began is written.
    pub(crate) async fn poll_all(&self, devices: u32) {
        self.poll_with(devices, "1.0.0").await;
    }

    /// Every device polls with an image of this version.
    pub(crate) async fn poll_with(&self, devices: u32, version: &str) {
        let running = Running {
            version: version.parse().unwrap(),
            sha256: Digest([1; 32]),
            security_version: 1,
            pins: None,
            out_s: 0,
        };
        for n in 0..devices {
            let device = DeviceId::parse(&format!("d-{n}")).unwrap();
            self.app.fleet.poll(&device, &running, NOW_MS).unwrap();
        }
        flush_sightings(&self.app.store, &self.app.fleet).await.unwrap();
    }

    pub(crate) fn offered(&self, device: &str) -> Option<RolloutId> {
        let device = DeviceId::parse(device).unwrap();
        let decision = self.app.fleet.decide(&device, NOW_MS).unwrap();
        decision.offer.map(|offer| offer.rollout.id.clone())
    }
}

/// The files as a publisher sends them.
pub(crate) fn bundle(files: &Files) -> Vec<u8> {
    let mut bundle = Writer::new();
    for (name, bytes) in files {
        bundle.push(Kind::Image, name, bytes).unwrap();
    }
    bundle.finish(0)
}

/// An image that carries a version.
pub(crate) fn image(version: &str) -> Vec<u8> {
    AppBuilder::new(Chip::Esp32c3).version(version).project("th1-fw").build().unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Whoever holds all keys of the Image repository of `th1`.
pub(crate) struct Publisher {
    pub(crate) key: Ed25519Signer,
    /// The chip of the product.
    pub(crate) chip: Chip,
    /// Targets of the top-level role.
    pub(crate) top: serde_json::Map<String, Value>,
    /// Targets by role.
    pub(crate) roles: BTreeMap<String, BTreeMap<String, Value>>,
    /// The version of the next publication; all its files have the same.
    pub(crate) version: u64,
    pub(crate) repo: String,
    /// Roles that are asked for the releases of every channel, and do not end the search.
    pub(crate) wide: Vec<String>,
    /// Bytes by which every delegated role is longer than it need be.
    pub(crate) padding: usize,
    /// Roles that are no longer than that.
    pub(crate) lean: Vec<String>,
    /// Bytes by which every root but the first is longer.
    pub(crate) root_padding: usize,
    /// When everything expires, in Unix seconds.
    pub(crate) expires_s: u64,
    now_s: u64,
}

impl Publisher {
    pub(crate) fn new(api: &Api) -> Self {
        Self::at(api.now_s())
    }

    /// Begins at a time in Unix seconds.
    pub(crate) fn at(now_s: u64) -> Self {
        Self {
            key: Ed25519Signer::from_seed(&[9; 32]).unwrap(),
            chip: Chip::Esp32c3,
            top: serde_json::Map::new(),
            roles: BTreeMap::from([("th1-stable".to_owned(), BTreeMap::new())]),
            version: 1,
            repo: "image/th1".to_owned(),
            wide: Vec::new(),
            padding: 0,
            lean: Vec::new(),
            root_padding: 0,
            expires_s: now_s + 90 * DAY_S,
            now_s,
        }
    }

    /// The definition of the product, as the API wants it.
    pub(crate) fn product(&self) -> Value {
        json!({
            "id": "th1", "chip": self.chip.as_str(), "hardware": ["r1"], "channels": ["stable"],
            "slot_bytes": 1_048_576, "image_version": "match", "image_project": "th1-fw",
            "image_root": STANDARD.encode(self.root(1)),
        })
    }

    pub(crate) fn root(&self, version: u64) -> Vec<u8> {
        self.root_of(version, self.key.public())
    }

    /// A root that lets one key sign everything but the root.
    pub(crate) fn root_of(&self, version: u64, online: &waxwing_tuf::key::PublicKey) -> Vec<u8> {
        let role = |key_id: String| json!({"keyids": [key_id], "threshold": 1});
        let keys = [self.key.public(), online].map(|key| (key.key_id(), key_json(key)));
        let expires = Self::time(self.now_s + 365 * DAY_S);
        self.sign(&json!({
            "_type": "root", "consistent_snapshot": true, "expires": expires,
            "keys": BTreeMap::from(keys), "repo": self.repo,
            "roles": {
                "root": role(self.key.public().key_id()), "snapshot": role(online.key_id()),
                "targets": role(online.key_id()), "timestamp": role(online.key_id()),
            },
            "spec_version": "1.0.34", "version": version,
            "x-padding": "x".repeat(if version > 1 { self.root_padding } else { 0 }),
        }))
    }

    /// Lists an image as a release.
    pub(crate) fn list(&mut self, channel: &str, version: &str, image: &[u8]) -> &mut Value {
        let chip = self.chip.as_str();
        let path = format!("th1/{channel}/{version}/{chip}.bin");
        let target = json!({
            "length": image.len(), "hashes": {"sha256": sha256(image)},
            "custom": {"match": {
                "chip": chip, "hw": ["r1"], "kind": "app", "secure_version": 0,
                "security_version": 1, "version": version,
            }},
        });
        let role = self.roles.entry(format!("th1-{channel}")).or_default();
        role.insert(path.clone(), target);
        role.get_mut(&path).unwrap()
    }

    /// Signs everything, in the next version.
    pub(crate) fn publication(&mut self) -> Files {
        let version = self.version;
        self.version += 1;
        let mut files = Files::from([("1.root.json".to_owned(), self.root(1))]);
        let mut meta = serde_json::Map::new();
        for (role, targets) in &self.roles {
            let padding = if self.lean.contains(role) { 0 } else { self.padding };
            let part = json!({ "targets": targets, "x-padding": "x".repeat(padding) });
            let signed = self.part("targets", version, &part);
            self.add(&mut files, &mut meta, role, &signed);
        }
        let delegated: Vec<_> = self
            .roles
            .keys()
            .rev()
            .map(|role| {
                let channel = role.strip_prefix("th1-").unwrap();
                let docs = channel.strip_suffix("-docs");
                let is_wide = self.wide.contains(role);
                let channel = if is_wide { "*" } else { channel };
                let paths = docs.map_or_else(
                    || vec![format!("th1/{channel}/*/*")],
                    |channel| ["json", "jsonl"].map(|it| format!("th1/{channel}/*/*.{it}")).into(),
                );
                json!({
                    "name": role, "keyids": [self.key.public().key_id()], "threshold": 1,
                    "paths": paths, "terminating": !is_wide,
                })
            })
            .collect();
        let keys = json!({ self.key.public().key_id(): key_json(self.key.public()) });
        let delegations = json!({ "keys": keys, "roles": delegated });
        let targets = json!({ "targets": self.top, "delegations": delegations });
        self.add(&mut files, &mut meta, "targets", &self.part("targets", version, &targets));
        let snapshot = self.part("snapshot", version, &json!({ "meta": meta }));
        let mut named = serde_json::Map::new();
        self.add(&mut files, &mut named, "snapshot", &snapshot);
        let timestamp = self.part("timestamp", version, &json!({ "meta": named }));
        files.insert("timestamp.json".to_owned(), self.sign(&timestamp));
        files
    }

    fn part(&self, kind: &str, version: u64, content: &Value) -> Value {
        let mut part = json!({
            "_type": kind, "expires": Self::time(self.expires_s), "repo": self.repo,
            "spec_version": "1.0.34", "version": version,
        });
        part.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
        part
    }

    fn add(
        &self,
        files: &mut Files,
        meta: &mut serde_json::Map<String, Value>,
        role: &str,
        signed: &Value,
    ) {
        let bytes = self.sign(signed);
        let version = &signed["version"];
        let listed = json!({
            "version": version, "length": bytes.len(), "hashes": {"sha256": sha256(&bytes)},
        });
        meta.insert(format!("{role}.json"), listed);
        files.insert(format!("{version}.{role}.json"), bytes);
    }

    pub(crate) fn sign(&self, signed: &Value) -> Vec<u8> {
        let file = json!({ "signatures": [], "signed": signed }).to_string();
        let mut file = SignedFile::parse(file.as_bytes()).unwrap();
        file.sign(&self.key).unwrap();
        file.to_bytes().unwrap()
    }

    fn time(at_s: u64) -> String {
        Time::from_seconds(at_s).to_string()
    }
}

fn key_json(key: &waxwing_tuf::key::PublicKey) -> Value {
    json!({
        "keytype": key.key_type(), "scheme": key.scheme(), "keyval": {"public": key.public_text()},
    })
}
