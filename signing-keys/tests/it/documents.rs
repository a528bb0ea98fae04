//! Ceilings, and documents beside releases, with the real program up to a device's own client.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use waxwing_wire::Digest;
use waxwing_wire::bundle::Bundle;

use crate::common::{Ceremony, STABLE, TARGETS};

const DOCS: &str = "acme-th1/metadata/acme-th1-stable-docs.json";
const PATH: &str = "acme-th1/stable/1.0.0/esp32c3.bin";

fn json_of(ceremony: &Ceremony, file: &str) -> Value {
    serde_json::from_slice(&ceremony.bytes(file)).unwrap()
}

/// Writes provenance of some image.
fn provenance(ceremony: &Ceremony, image: &[u8]) {
    let sha256 = Digest(Sha256::digest(image).into());
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": sha256}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {"buildType": "https://ci.example/v1"},
            "runDetails": {"builder": {"id": "https://ci.example"}},
        },
    });
    let payload = STANDARD.encode(statement.to_string());
    let envelope = json!({
        "payloadType": "application/vnd.in-toto+json", "payload": payload,
        "signatures": [{"keyid": "", "sig": "c2ln"}],
    });
    ceremony.write("th1.intoto.jsonl", envelope.to_string());
}

fn sbom(ceremony: &Ceremony) {
    let part = json!({"type": "library", "name": "mbedtls", "version": "3.6.0"});
    let sbom = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [part]});
    ceremony.write("th1.cdx.json", sbom.to_string());
}

fn attach<'a>(version: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["release", "attach", "--dir", "acme-th1", "--role", "acme-th1-stable"];
    [&args[..], &["--version", version], more].concat()
}

/// A ceremony in which documents are delegated, signed except for their list.
fn delegated() -> Ceremony {
    let ceremony = Ceremony::signed();
    let args = ["delegate-documents", "--dir", "acme-th1", "--role", "acme-th1-stable"];
    ceremony.run(&args).good();
    for key in ["at", "bt"] {
        ceremony.sign(TARGETS, key).good();
    }
    ceremony
}

#[test]
fn documents_are_published_in_a_role_of_their_own_before_the_channel() {
    let ceremony = delegated();
    provenance(&ceremony, &ceremony.bytes("1.0.0.bin"));
    sbom(&ceremony);
    let files = ["--sbom", "th1.cdx.json", "--provenance", "th1.intoto.jsonl"];
    ceremony.run(&attach("1.0.0", &files)).good();
    for key in ["ar", "br"] {
        ceremony.sign(DOCS, key).good();
    }
    ceremony.publish(&["-o", "bundle"]).good();
    let targets = json_of(&ceremony, TARGETS);
    let roles = targets["signed"]["delegations"]["roles"].as_array().unwrap();
    let names: Vec<_> = roles.iter().map(|role| role["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["acme-th1-stable-docs", "acme-th1-stable"]);
    assert_eq!(roles[0]["paths"], json!(["acme-th1/stable/*/*.json", "acme-th1/stable/*/*.jsonl"]));
    assert_eq!((&roles[0]["keyids"], &roles[0]["threshold"]), (&roles[1]["keyids"], &json!(2)));
    let listed = json_of(&ceremony, DOCS);
    let listed: Vec<_> = listed["signed"]["targets"].as_object().unwrap().keys().collect();
    assert_eq!(
        listed,
        ["acme-th1/stable/1.0.0/provenance.intoto.jsonl", "acme-th1/stable/1.0.0/sbom.cdx.json"]
    );
    let bundle = ceremony.bytes("bundle");
    let bundle = Bundle::parse(&bundle).unwrap();
    assert!(bundle.frames.iter().any(|frame| frame.name == "1.acme-th1-stable-docs.json"));
}

#[test]
fn what_is_no_document_of_the_release_is_not_attached() {
    let ceremony = delegated();
    provenance(&ceremony, b"another image");
    sbom(&ceremony);
    ceremony.write("notes.json", "{}");
    let sbom = ["--sbom", "th1.cdx.json"];
    ceremony.run(&attach("9.9.9", &sbom)).refused("no release is listed");
    ceremony.run(&attach("1.0.0", &["--sbom", "notes.json"])).refused("neither a CycloneDX");
    ceremony
        .run(&attach("1.0.0", &["--provenance", "th1.intoto.jsonl"]))
        .refused("does not vouch for the image");
    let undelegated = Ceremony::signed();
    undelegated.write("th1.cdx.json", ceremony.bytes("th1.cdx.json"));
    undelegated.run(&attach("1.0.0", &sbom)).refused("acme-th1-stable-docs");
}

#[test]
fn a_ceiling_is_signed_with_the_release_and_can_be_changed() {
    let ceremony = Ceremony::delegated();
    ceremony.image("1.0.0.bin", "1.0.0", 0);
    let definition = "releases/acme-th1/1.0.0.toml";
    let args = ["release", "add", definition, "--dir", "acme-th1", "--ceiling-permille", "50"];
    ceremony.run(&args).good();
    let ceiling = || {
        json_of(&ceremony, STABLE)["signed"]["targets"][PATH]["custom"]["ceiling_permille"].clone()
    };
    assert_eq!(ceiling(), 50);
    let limit = ["release", "limit", "--dir", "acme-th1", "--role", "acme-th1-stable", PATH];
    ceremony.run(&[&limit[..], &["--ceiling-permille", "500"]].concat()).good();
    assert_eq!(ceiling(), 500);
    ceremony.run(&limit).good();
    assert_eq!(ceiling(), Value::Null);
    let unlisted = [&limit[..6], &["acme-th1/stable/9.9.9/esp32c3.bin"]].concat();
    ceremony.run(&unlisted).refused("is not listed");
    for (file, key) in [(STABLE, "br"), (TARGETS, "at"), (STABLE, "ar"), (TARGETS, "bt")] {
        ceremony.sign(file, key).good();
    }
    ceremony.publish(&[]).good();
}
