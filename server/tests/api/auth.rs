//! Every route wants a token.

use axum::body::Body;
use axum::http::{Method, Request, header};

use crate::support::Api;

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
