//! Every route wants a token.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};
use waxwing_server::domain::audit::Action;
use waxwing_server::store::audit;

use crate::support::{Api, TOKEN};

#[tokio::test]
async fn without_a_known_token_nothing_is_answered() {
    let api = Api::open().await;
    for authorization in [None, Some("Bearer wrong"), Some("Basic dGhlIGZpcnN0"), Some("Bearer ")] {
        for path in ["products", "openapi.json", "no/such/path"] {
            let mut request = Request::builder().uri(format!("/api/v1/{path}"));
            if let Some(authorization) = authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let answer = api.send(request.body(Body::empty()).unwrap()).await;
            answer.refused(401, "unauthorized", None);
        }
    }
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_problems_too() {
    let api = Api::open().await;
    api.get("no/such/path").await.refused(404, "unknown_route", None);
    api.get("products/%ff").await.refused(400, "invalid_path", None);
    api.get("devices/%c3%28").await.refused(400, "invalid_path", None);
    api.call(Method::DELETE, "products", Vec::new()).await.refused(405, "wrong_method", None);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_before_it_is_read() {
    let api = Api::open().await;
    let large = vec![b' '; 2 << 20];
    let answer = api.call(Method::POST, "products", large).await;
    answer.refused(413, "body_too_large", None);
}

#[tokio::test]
async fn bad_pages_are_refused_by_name() {
    let api = Api::open().await;
    api.get("products?limit=0").await.refused(400, "invalid_query", Some("limit"));
    api.get("products?limit=1001").await.refused(400, "invalid_query", Some("limit"));
    api.get("audit?after=x").await.refused(400, "invalid_query", Some("after"));
    api.get("products?offset=3").await.refused(400, "invalid_query", None);
}

#[tokio::test]
async fn the_token_of_an_operator_is_replaced_at_once_or_after_an_overlap() {
    let api = Api::open().await;
    let path = "operators/first/token";
    let too_long = api.post(path, json!({"overlap_s": 604_801})).await;
    too_long.refused(422, "overlap_too_long", Some("overlap_s"));
    let unknown = api.post("operators/second/token", json!({"overlap_s": 0})).await;
    unknown.refused(404, "unknown_operator", None);
    let second = api.post(path, json!({"overlap_s": 60})).await.ok();
    let second = second["token"].as_str().unwrap().to_owned();
    assert!(second.starts_with("wxa_"));
    assert!(api.knows(TOKEN).await && api.knows(&second).await, "both, for a minute");
    // Still as the first one: the second one takes its place as the one before.
    let third = api.post(path, json!({"overlap_s": 60})).await.ok();
    let third = third["token"].as_str().unwrap().to_owned();
    let api = api.restarted().await;
    assert!(!api.knows(TOKEN).await, "two overlaps do not add up");
    assert!(api.knows(&second).await && api.knows(&third).await);
    api.clock.advance(Duration::from_mins(1));
    assert!(!api.knows(&second).await && api.knows(&third).await);
}

#[tokio::test]
async fn a_token_that_somebody_else_knows_ends_at_once_and_the_log_says_by_whom() {
    let api = Api::open().await;
    api.post("operators/first/token", json!({"overlap_s": 0})).await.ok();
    assert!(!api.knows(TOKEN).await);
    let rows = audit::page(&api.app.store, 0, 10).await.unwrap();
    let (_, last) = rows.last().unwrap();
    assert_eq!(
        (last.action, last.subject.as_str()),
        (Action::AdminTokenReplaced, "operator/first")
    );
    assert_eq!((last.actor.as_str(), last.reason.as_str()), ("admin:first", "ticket 7"));
    assert!(!last.detail.to_string().contains("wxa_"), "{last:?}");
}

#[tokio::test]
async fn an_operator_is_added_may_approve_what_others_planned_and_is_removed() {
    let (api, _) = Api::with_fleet(2).await;
    let plan = json!({"phases": [
        {"size": {"count": 1}, "gate": {"approval": true}}, {"size": {"percent": 100}},
    ]});
    let rollout = json!({
        "id": "r-1", "product": "th1", "channel": "stable", "version": "1.1.0", "group": "all",
        "plan": plan,
    });
    api.post("rollouts", rollout).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    let added = api.post("operators", json!({"name": "bo"})).await.ok();
    let token = added["token"].as_str().unwrap().to_owned();
    let mut approve = Api::request(Method::POST, "rollouts/r-1/approve", Body::empty());
    let field = format!("Bearer {token}").try_into().unwrap();
    approve.headers_mut().insert(header::AUTHORIZATION, field);
    let approved = api.send(approve).await.ok();
    assert_eq!(approved["phases"][0]["approved_by"], "admin:bo");

    let api = api.restarted().await;
    let names = |list: &Value| {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = api.get("operators").await.ok();
    assert_eq!(names(&all), ["bo", "first"]);
    assert!(!all.to_string().contains(&token), "a token is shown once");
    assert_eq!(names(&api.get("operators?after=bo").await.ok()), ["first"]);
    assert!(api.knows(&token).await);
    api.delete("operators/bo").await.ok();
    assert!(!api.knows(&token).await);
    let log = api.get("audit").await.ok().to_string();
    for action in ["admin_token_created", "operator_removed"] {
        assert!(log.contains(action), "{action}");
    }
    assert!(!log.contains("wxa_"));
}

#[tokio::test]
async fn operators_that_make_no_sense_are_refused_and_one_is_always_left() {
    let api = Api::open().await;
    for name in ["", "a b", "a/b", "../b", ".b", "a\nb", "\u{e4}", &"a".repeat(65)] {
        let answer = api.post("operators", json!({"name": name})).await;
        answer.refused(422, "invalid_operator", Some("name"));
    }
    let nameless = api.post("operators", json!(["bo"])).await;
    nameless.refused(400, "invalid_json", None);
    let again = api.post("operators", json!({"name": "first"})).await;
    again.refused(409, "operator_exists", Some("name"));
    api.delete("operators/nobody").await.refused(404, "unknown_operator", None);
    api.delete("operators/first").await.refused(409, "last_operator", None);
    for n in 1..100 {
        api.post("operators", json!({"name": format!("op-{n}")})).await.ok();
    }
    let one_more = api.post("operators", json!({"name": "one-more"})).await;
    one_more.refused(409, "too_many_operators", None);
}
