//! Row 46: every route of the real server, asked by everybody it is not for. The routes come from the
//! server's own description and its router, so that a new one is attacked at once. What each route
//! has of which device is in `strangers.rs` of the server's own tests.

use serde_json::Value;
use waxwing_e2e::server::Listener;
use waxwing_server::http::router;

use super::shop::{Answer, Shop};

/// The methods that routes are for.
const METHODS: [&str; 4] = ["DELETE", "GET", "POST", "PUT"];

/// Every operation of the REST API that the server describes, with something in each place.
pub(crate) fn admin(description: &Value) -> Vec<(String, String)> {
    let paths = description["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys();
        methods.map(move |method| (method.to_uppercase(), filled(path)))
    });
    let routes: Vec<_> = operations.collect();
    for known in ["secure-boot", "documents", "checkpoints", "rollouts"] {
        assert!(routes.iter().any(|(_, path)| path.contains(known)), "{known} is not described");
    }
    routes
}

/// Every path of the device listener.
pub(crate) fn device() -> impl Iterator<Item = String> {
    router::DEVICE.iter().map(|(route, _)| filled(route))
}

/// Fills the places of a route: the product that there is, no device.
fn filled(route: &str) -> String {
    let part = |part: &str| match part {
        "{product}" => "th1".to_owned(),
        "{sha256}" => "0".repeat(64),
        other if other.starts_with('{') => "x".to_owned(),
        other => other.to_owned(),
    };
    route.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[track_caller]
fn check(answer: &Answer, statuses: &[u16], what: &str) {
    assert!(statuses.contains(&answer.status), "{what}: {answer:?}");
}

#[test]
fn row_46_no_route_is_for_anybody_without_its_credentials() {
    let shop = Shop::open();
    let (device, bearer) = (shop.enrolled("d-1"), shop.bearer());
    let description = ("GET", "/api/v1/openapi.json");
    let description = shop.send(Listener::Admin, description, None, Some(&bearer)).body;
    let description = serde_json::from_str(&description).unwrap();
    for (method, path) in admin(&description) {
        let (route, what) = ((&*method, &*path), format!("{method} {path}"));
        for authorization in [None, Some("Bearer guess"), Some("Basic ZC0xOng="), Some("Bearer ")] {
            let answer = shop.send(Listener::Admin, route, None, authorization);
            check(&answer, &[401], &what);
        }
        // With a token of the REST API, too: it is nothing anywhere else.
        let of_a_device = shop.send(Listener::Device, route, Some(&device), Some(&bearer));
        assert_eq!(of_a_device.code(), "unknown_route", "{what}");
        let of_a_stranger = shop.send(Listener::Enrol, route, None, Some(&bearer));
        assert_eq!(of_a_stranger.code(), "unknown_route", "{what}");
    }
    for path in self::device() {
        for method in METHODS {
            let what = format!("{method} {path}");
            for listener in [Listener::Admin, Listener::Enrol] {
                let answer = shop.send(listener, (method, &path), None, None);
                check(&answer, &[401, 404], &what);
            }
            let answer = shop.send(Listener::Device, (method, &path), Some(&device), None);
            check(&answer, &[400, 403, 404, 405, 415], &what);
        }
    }
}

#[test]
fn row_46_a_device_reads_nothing_of_another_product_or_device() {
    let shop = Shop::open();
    shop.product("th2");
    let [own, near] = ["d-1", "d-2"].map(|device| shop.enrolled(device));
    let foreign = shop.enrolled_in("d-3", "th2");
    let root = "/tuf/image/th1/metadata/1.root.json";
    assert_eq!((shop.ask(&own, root).status, shop.ask(&near, root).status), (200, 200));
    assert_eq!(shop.ask(&foreign, root).status, 404);
    for file in ["1.root.json", "timestamp.json", "1.targets.json"] {
        let path = format!("/tuf/director/d-1/metadata/{file}");
        for other in [&near, &foreign] {
            assert_eq!(shop.ask(other, &path).code(), "file_unknown", "{path}");
        }
        // However it is spelled.
        for path in [
            format!("/tuf/director/d-2/../d-1/metadata/{file}"),
            format!("/tuf/director/d-2%2f..%2fd-1/metadata/{file}"),
            format!("/tuf/director/D-1/metadata/{file}"),
            format!("//tuf/director/d-1/metadata/{file}"),
        ] {
            assert_eq!(shop.ask(&near, &path).status, 404, "{path}");
        }
    }
}
