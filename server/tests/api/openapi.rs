//! The OpenAPI document changes only on purpose.

use std::collections::BTreeSet;

use serde_json::Value;
use waxwing_server::http::admin;

use crate::support::Api;

#[test]
fn the_document_is_the_one_reviewed() {
    insta::assert_json_snapshot!(admin::document());
}

#[test]
fn every_operation_has_its_own_name() {
    let document = serde_json::to_value(admin::document()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations: Vec<_> = paths
        .flat_map(|path| path.as_object().unwrap().values())
        .filter_map(|operation| operation["operationId"].as_str())
        .collect();
    let names: BTreeSet<_> = operations.iter().collect();
    assert!(!operations.is_empty());
    assert_eq!(operations.len(), names.len(), "{operations:#?}");
}

#[tokio::test]
async fn the_document_is_served() {
    let api = Api::open().await;
    let document: Value = api.get("openapi.json").await.ok();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "Waxwing");
}
