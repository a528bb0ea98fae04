//! The OpenAPI document changes only on purpose.

use waxwing_server::http::admin;

use crate::support::Api;

#[test]
fn the_document_is_the_one_reviewed() {
    insta::assert_json_snapshot!(admin::document());
}

#[tokio::test]
async fn the_document_is_served() {
    let api = Api::open().await;
    let document = api.get("openapi.json").await.ok();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "Waxwing");
}
