//! A server with a product, a release and a rollout, and a device that believes nothing: it takes
//! every answer through the verifier that real devices run.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use semver::Version;
use serde_json::{Value, json};
use waxwing_esp_image::Chip;
use waxwing_esp_image::write::AppBuilder;
use waxwing_server::clock::Clock as _;
use waxwing_server::http::admin::token_sha256;
use waxwing_server::jobs::flush_sightings;
use waxwing_server::store::operators;
use waxwing_tuf::uptane::{self, Answer as Verdict, Client as Verifier};
use waxwing_tuf::{Fetch, FetchError, MemoryStore, Refusal, Time};
use waxwing_wire::bundle::{Bundle, Kind};
use waxwing_wire::poll::Request;
use waxwing_wire::{Digest, Hardware, Nonce, ProductId};

use crate::api::{Publisher, sha256};
use crate::support::{Answer, Client, Folder, Identity, Server};

const TOKEN: &str = "operator";

/// A server with product `th1`, release 1.1.0 and group `all`.
pub(crate) struct Fleet {
    pub(crate) server: Server,
    pub(crate) publisher: Publisher,
    pub(crate) ceremony: Publisher,
    /// The image of release 1.1.0.
    pub(crate) image: Vec<u8>,
}

impl Fleet {
    pub(crate) async fn start(folder: &Folder) -> Self {
        let server = folder.start().await;
        let now_s = server.clock.now_ms() / 1000;
        let mut change = server.running.app.store.begin().await.unwrap();
        let sha256 = token_sha256(TOKEN);
        operators::add(change.connection(), "test", &sha256, now_s * 1000).await.unwrap();
        drop(change.commit().await.unwrap());
        let mut ceremony = Publisher::at(now_s);
        "director".clone_into(&mut ceremony.repo);
        let publisher = Publisher::at(now_s);
        let mut fleet = Self { server, publisher, ceremony, image: image() };
        fleet.publish().await;
        fleet
    }

    async fn publish(&mut self) {
        let product = self.publisher.product();
        self.admin(Method::POST, "products", product.to_string()).await;
        let path = format!("products/th1/images/{}", sha256(&self.image));
        self.admin(Method::PUT, &path, self.image.clone()).await;
        self.publisher.list("stable", "1.1.0", &self.image);
        let mut bundle = waxwing_wire::bundle::Writer::new();
        for (name, bytes) in self.publisher.publication() {
            bundle.push(Kind::Image, &name, &bytes).unwrap();
        }
        self.admin(Method::POST, "products/th1/metadata", bundle.finish(0)).await;
        let group = json!({"id": "all", "product": "th1", "tags": {}});
        self.admin(Method::POST, "groups", group.to_string()).await;
    }

    /// Imports the Director's root, so that polls are answered.
    pub(crate) async fn import_root(&self) {
        self.admin(Method::PUT, "director/root", self.director_root()).await;
    }

    fn director_root(&self) -> Vec<u8> {
        self.ceremony.root_of(1, self.server.running.app.director.public())
    }

    /// Brings release 1.1.0 to everybody.
    pub(crate) async fn roll_out(&self) {
        let rollout = json!({
            "id": "r-1", "product": "th1", "channel": "stable", "version": "1.1.0", "group": "all",
            "plan": {"phases": [{"size": {"percent": 100}, "gate": {"soak_s": 60}}], "risk": 100},
        });
        self.admin(Method::POST, "rollouts", rollout.to_string()).await;
        self.act("start").await;
    }

    /// Brings release 1.1.0 to everybody, and lets a device be one of the first: its next poll is
    /// offered it.
    pub(crate) async fn roll_out_to(&self, device: &mut Device) {
        self.roll_out().await;
        let question = device.question();
        assert_eq!(device.ask(&question).await.status, StatusCode::OK);
        let app = &self.server.running.app;
        flush_sightings(&app.store, &app.fleet).await.unwrap();
    }

    /// Does something to the rollout.
    pub(crate) async fn act(&self, action: &str) {
        self.admin(Method::POST, &format!("rollouts/r-1/{action}"), "").await;
    }

    /// Asks the REST API, over its listener, and expects success.
    pub(crate) async fn admin(
        &self,
        method: Method,
        path: &str,
        body: impl Into<axum::body::Bytes>,
    ) -> Value {
        // Two changes are never of the same time.
        self.server.clock.advance(std::time::Duration::from_secs(1));
        let address = self.server.running.addresses.admin;
        let mut client = self.server.connect(address, None).await.unwrap();
        let headers = [("authorization", format!("Bearer {TOKEN}"))];
        let answer = client.send(method, &format!("/api/v1/{path}"), &headers, body).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    /// Registers and enrols a device.
    pub(crate) async fn device(&self, id: &str) -> Device {
        self.device_of(id, "th1").await
    }

    /// Registers and enrols a device of a product. Its verifier is for `th1` all the same.
    pub(crate) async fn device_of(&self, id: &str, product: &str) -> Device {
        let device = json!({"id": id, "product": product, "tags": {}});
        self.admin(Method::POST, "devices", device.to_string()).await;
        let token = self.admin(Method::POST, &format!("devices/{id}/tokens"), "").await;
        let key = rcgen::KeyPair::generate().unwrap();
        let token = token["token"].as_str().unwrap();
        let answer = self.server.enroll(id, token, &crate::support::csr(&key)).await;
        let identity = Identity { certificate: answer.certificate(), key };
        Device::new(id, self, identity).await
    }
}

/// An image of more than one chunk.
fn image() -> Vec<u8> {
    let builder = AppBuilder::new(Chip::Esp32c3).version("1.1.0").project("th1-fw");
    builder.rodata(vec![7; 600_000]).build().unwrap()
}

/// A device: an identity, the verifier, and a connection.
pub(crate) struct Device {
    pub(crate) identity: Identity,
    pub(crate) client: Client,
    verifier: Verifier<MemoryStore>,
    nonce: u8,
}

impl Device {
    async fn new(id: &str, fleet: &Fleet, identity: Identity) -> Self {
        let device = uptane::Device {
            id: id.to_owned(),
            product: "th1".to_owned(),
            channels: vec!["stable".to_owned()],
            hardware: "r1".to_owned(),
            chip: "esp32c3".to_owned(),
            slot_bytes: 1 << 20,
            security_version: 1,
            secure_versions: 0..=16,
        };
        let (director, image) = (fleet.director_root(), fleet.publisher.root(1));
        let verifier =
            Verifier::open(device, (MemoryStore::new(), &director), (MemoryStore::new(), &image))
                .unwrap();
        let server = &fleet.server;
        let client = server.connect(server.device(), Some(&identity)).await.unwrap();
        Self { identity, client, verifier, nonce: 0 }
    }

    /// Returns what the device would ask now.
    pub(crate) fn question(&mut self) -> Request {
        self.nonce += 1;
        let have = self.verifier.have();
        Request {
            nonce: Nonce([self.nonce; 16]),
            product: ProductId::parse("th1").unwrap(),
            hw: Hardware::parse("r1").unwrap(),
            fw: Version::new(1, 0, 0),
            fw_sha256: Digest([1; 32]),
            security_version: 1,
            have: have.map(|(kind, name, version)| (format!("{kind}.{name}"), version)).collect(),
            pins: None,
            out_s: None,
            reports: Vec::new(),
        }
    }

    /// Polls with a question.
    pub(crate) async fn ask(&mut self, question: &Request) -> Answer {
        self.client.send(Method::POST, "/v1/poll", &[], question.encode()).await
    }

    /// Polls, and believes the answer or not.
    pub(crate) async fn poll(&mut self) -> Result<Verdict, Refusal> {
        let question = self.question();
        let answer = self.ask(&question).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        self.check(&question, &answer)
    }

    /// Returns the hash of the pins that both repositories list.
    pub(crate) fn server_ca(&self) -> Option<Digest> {
        self.verifier.server_ca().and_then(|listed| listed.hashes.sha256).map(Digest)
    }

    /// Takes an answer through the verifier.
    pub(crate) fn check(
        &mut self,
        question: &Request,
        answer: &Answer,
    ) -> Result<Verdict, Refusal> {
        let bundle = Bundle::parse(&answer.body).unwrap();
        let mut director = Frames(bundle.clone(), Kind::Director);
        let mut image = Frames(bundle, Kind::Image);
        let floor = Time::from_seconds(0);
        self.verifier.check(&question.nonce.0, floor, &mut director, &mut image)
    }
}

/// Returns the names of the files in an answer.
pub(crate) fn files(answer: &Answer) -> BTreeMap<&'static str, Vec<String>> {
    let bundle = Bundle::parse(&answer.body).unwrap();
    let names = |kind| bundle.names(kind).map(str::to_owned).collect();
    BTreeMap::from([
        ("a", names(Kind::Acknowledged)),
        ("d", names(Kind::Director)),
        ("i", names(Kind::Image)),
    ])
}

/// One repository's files in an answer.
struct Frames<'a>(Bundle<'a>, Kind);

impl Fetch for Frames<'_> {
    fn metadata(&mut self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, FetchError> {
        match self.0.find(self.1, name) {
            Some(bytes) if bytes.len() > bytes_max => Err(FetchError::TooLong),
            found => Ok(found.map(<[u8]>::to_vec)),
        }
    }
}
