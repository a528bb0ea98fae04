//! Row 46 of the attack matrix: every route, asked by everybody it is not for. The routes come from the
//! routers themselves, so a new one without an attack here fails the test.

use axum::http::{Method, StatusCode};
use rcgen::KeyPair;
use serde_json::json;
use waxwing_server::clock::Clock as _;
use waxwing_server::http::{admin, router};
use waxwing_wire::ProductId;

use crate::api::{Publisher, sha256};
use crate::fleet::{Device, Fleet};
use crate::support::{Answer, Folder, csr, openssl};

/// Two devices of one product, and one of another.
struct World {
    fleet: Fleet,
    victim: Device,
    neighbour: Device,
    foreigner: Device,
}

impl World {
    async fn open() -> Self {
        let fleet = Fleet::start(&Folder::new()).await;
        fleet.import_root().await;
        let mut other = Publisher::at(fleet.server.clock.now_ms() / 1000);
        "image/th2".clone_into(&mut other.repo);
        let mut product = other.product();
        product["id"] = json!("th2");
        fleet.admin(Method::POST, "products", product.to_string()).await;
        let [victim, neighbour] = [fleet.device("d-1").await, fleet.device("d-2").await];
        let foreigner = fleet.device_of("d-3", "th2").await;
        fleet.roll_out().await;
        Self { fleet, victim, neighbour, foreigner }
    }

    /// Returns the paths of what this route has for the victim, by how the victim is answered.
    fn victims(&self, route: &str) -> Vec<String> {
        let hash = sha256(&self.fleet.image);
        let target = format!("th1/stable/1.1.0/{hash}.esp32c3.bin");
        match route {
            // What gateways carry is granted for each device: `gateways.rs`.
            "/v1/gateway/messages"
            | "/v1/gateway/poll"
            | "/v1/gateway/{device}/images/{sha256}"
            | "/v1/poll"
            | "/.well-known/est/simplereenroll" => Vec::new(),
            "/v1/images/{sha256}" => vec![format!("/v1/images/{hash}")],
            "/tuf/image/{product}/metadata/{name}" => {
                let files = ["1.root.json", "timestamp.json", "1.targets.json"];
                files.map(|name| format!("/tuf/image/th1/metadata/{name}")).to_vec()
            }
            "/tuf/image/{product}/targets/{*path}" => {
                vec![format!("/tuf/image/th1/targets/{target}")]
            }
            "/tuf/director/{device}/metadata/{name}" => {
                let files = ["1.root.json", "timestamp.json"];
                files.map(|name| format!("/tuf/director/d-1/metadata/{name}")).to_vec()
            }
            route => panic!("{route} is new: say here what it has that is not for everybody"),
        }
    }
}

#[tokio::test]
async fn row_46_no_device_reads_or_does_what_is_another_devices() {
    let mut world = World::open().await;
    for (route, _) in router::DEVICE {
        for path in world.victims(route) {
            let own = world.victim.client.get(&path).await;
            assert_eq!(own.status, StatusCode::OK, "else {path} shows nothing");
            let foreign = world.foreigner.client.get(&path).await;
            assert_eq!(
                foreign.status,
                StatusCode::NOT_FOUND,
                "{path}, a device of another product"
            );
            let near = world.neighbour.client.get(&path).await;
            let is_its_own = path.starts_with("/tuf/director/");
            let expected = if is_its_own { StatusCode::NOT_FOUND } else { StatusCode::OK };
            assert_eq!(near.status, expected, "{path}, a device of the same product");
        }
    }
}

#[tokio::test]
async fn row_46_a_poll_is_about_whoever_asks_whatever_it_says() {
    let mut world = World::open().await;
    let mut question = world.foreigner.question();
    question.product = ProductId::parse("th1").unwrap();
    let answer = world.foreigner.ask(&question).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "wrong_product"));
    // The answer to one device is nothing to another, even of the same product and to its nonce.
    let question = world.victim.question();
    let answer = world.neighbour.ask(&question).await;
    assert!(world.victim.check(&question, &answer).is_err());
    // A renewal names whoever asks, whatever the request says.
    let (near, foreign) = (&world.neighbour.identity, &world.fleet.server);
    let renewed = foreign.reenroll(near, &csr(&KeyPair::generate().unwrap())).await;
    let text = openssl(&["x509", "-inform", "DER", "-noout", "-subject"], &renewed.certificate());
    assert!(text.contains("d-2"), "{text}");
}

#[tokio::test]
async fn row_46_nobody_uses_the_routes_of_another_listener_or_without_credentials() {
    let world = World::open().await;
    let server = &world.fleet.server;
    let addresses = server.running.addresses;
    let device = Some(&world.victim.identity);
    for (method, path) in admin_routes() {
        for token in [None, Some("Bearer guess"), Some("Basic ZC0xOng="), Some("Bearer ")] {
            let headers: Vec<_> =
                token.map(|it| ("authorization", it.to_owned())).into_iter().collect();
            let mut client = server.connect(addresses.admin, None).await.unwrap();
            let answer = client.send(method.clone(), &path, &headers, "{}").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} {token:?}");
        }
        for (address, identity) in [(addresses.device, device), (addresses.enrol, None)] {
            let mut client = server.connect(address, identity).await.unwrap();
            let answer = client.send(method.clone(), &path, &[], "{}").await;
            check_absent(&answer, &format!("{method} {path}"));
        }
    }
    for (route, _) in router::DEVICE {
        // On its own listener there is no connection without a certificate; elsewhere no such route.
        for address in [addresses.enrol, addresses.admin] {
            let mut client = server.connect(address, None).await.unwrap();
            let answer = client.send(Method::POST, &filled(route), &[], "{}").await;
            let refused = [StatusCode::NOT_FOUND, StatusCode::UNAUTHORIZED];
            assert!(refused.contains(&answer.status), "{route}: {answer:?}");
        }
    }
    let mut client = server.connect(addresses.enrol, None).await.unwrap();
    let path = "/.well-known/est/simpleenroll";
    assert_eq!(client.send(Method::POST, path, &[], "").await.status, StatusCode::UNAUTHORIZED);
}

#[track_caller]
fn check_absent(answer: &Answer, what: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::NOT_FOUND, "unknown_route"),
        "{what}"
    );
}

/// Every operation of the REST API, from its own description.
fn admin_routes() -> Vec<(Method, String)> {
    let document = serde_json::to_value(admin::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys();
        let methods = methods.map(|method| method.to_uppercase().parse().unwrap());
        methods.map(|method| (method, filled(path)))
    });
    let routes: Vec<_> = operations.collect();
    assert!(routes.len() > 20, "the description lists the operations");
    routes
}

/// Fills the places of a route with something.
fn filled(route: &str) -> String {
    let parts = route.split('/');
    let part = |part: &str| if part.starts_with('{') { "x".to_owned() } else { part.to_owned() };
    parts.map(part).collect::<Vec<_>>().join("/")
}
