//! `/api/v1/products`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Api, Publisher};

async fn refused_with(field: &str, value: Value, status: u16, code: &str) {
    let api = Api::open().await;
    let mut product = Publisher::new(&api).product();
    product[field] = value;
    api.post("products", product).await.refused(status, code, Some(field));
    assert_eq!(api.get("products").await.ok()["items"], json!([]));
}

#[tokio::test]
async fn a_product_is_made_once_and_survives_a_restart() {
    let api = Api::open().await;
    let product = Publisher::new(&api).product();
    let made = api.post("products", product.clone()).await.ok();
    assert_eq!(made["slot_bytes"], 1_048_576);
    api.post("products", product).await.refused(409, "product_exists", Some("id"));
    let api = api.restarted().await;
    assert_eq!(api.get("products/th1").await.ok(), made);
    assert_eq!(api.get("products").await.ok()["items"], json!([made]));
}

#[tokio::test]
async fn an_unknown_product_is_not_found() {
    let api = Api::open().await;
    for path in ["products/none", "products/..%2F..", "products/none/releases"] {
        api.get(path).await.refused(404, "unknown_product", None);
    }
}

#[tokio::test]
async fn fields_that_make_no_sense_are_refused_by_name() {
    refused_with("hardware", json!([]), 422, "invalid_product").await;
    refused_with("channels", json!([]), 422, "invalid_product").await;
    refused_with("slot_bytes", json!(0), 422, "invalid_product").await;
    refused_with("slot_bytes", json!(4097), 422, "invalid_product").await;
    refused_with("slot_bytes", json!(32 << 20), 422, "invalid_product").await;
    refused_with("image_project", json!(""), 422, "invalid_product").await;
    refused_with("colour", json!("red"), 400, "invalid_json").await;
}

#[tokio::test]
async fn a_root_that_devices_would_refuse_is_refused() {
    refused_with("image_root", json!("not base64"), 422, "invalid_root").await;
    refused_with("image_root", json!(STANDARD.encode("{}")), 422, "invalid_root").await;
    let api = Api::open().await;
    let mut publisher = Publisher::new(&api);
    let version_2 = STANDARD.encode(publisher.root(2));
    refused_with("image_root", json!(version_2), 422, "invalid_root").await;
    publisher.repo = "image/other".to_owned();
    let of_another = STANDARD.encode(publisher.root(1));
    refused_with("image_root", json!(of_another), 422, "invalid_root").await;
}

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let api = Api::open().await;
    for body in ["", "{", "[]", "null", "{\"id\": 7}"] {
        let answer = api.call(axum::http::Method::POST, "products", body.into()).await;
        assert_eq!((answer.status.as_u16(), &answer.json["code"]), (400, &json!("invalid_json")));
    }
}
