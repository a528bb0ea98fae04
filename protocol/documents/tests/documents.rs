//! Documents as real tools write them, and documents that are not what they say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waxwing_documents::{Component, Document, Format, Malformed};
use waxwing_wire::Digest;

fn cyclonedx() -> Value {
    // The fields of cargo-cyclonedx and cyclonedx-python, shortened.
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
        "metadata": {"component": {"type": "firmware", "name": "th1", "version": "1.4.2"}},
        "components": [
            {
                "type": "library", "name": "mbedtls", "version": "3.6.0",
                "purl": "pkg:github/Mbed-TLS/mbedtls@3.6.0",
                "cpe": "cpe:2.3:a:arm:mbed_tls:3.6.0:*:*:*:*:*:*:*",
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "components": [{"type": "library", "name": "p256-m"}],
            },
            {"type": "framework", "name": "esp-idf", "version": "5.3.1"},
        ],
        "dependencies": [],
    })
}

fn spdx() -> Value {
    // The fields of esp-idf-sbom, shortened.
    json!({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
        "name": "th1", "documentNamespace": "http://spdx.org/spdxdocs/th1",
        "creationInfo": {"created": "2026-11-20T09:30:00Z", "creators": ["Tool: esp-idf-sbom"]},
        "packages": [{
            "name": "mbedtls", "SPDXID": "SPDXRef-mbedtls", "versionInfo": "3.6.0",
            "downloadLocation": "NOASSERTION",
            "externalRefs": [
                {"referenceCategory": "SECURITY", "referenceType": "cpe23Type",
                 "referenceLocator": "cpe:2.3:a:arm:mbed_tls:3.6.0:*:*:*:*:*:*:*"},
                {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                 "referenceLocator": "pkg:github/Mbed-TLS/mbedtls@3.6.0"},
            ],
        }, {"name": "newlib", "versionInfo": "NOASSERTION"}],
    })
}

fn statement() -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "th1.bin", "digest": {"sha256": Digest([7; 32])}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {"buildType": "https://ci.example/build/v1", "externalParameters": {}},
            "runDetails": {"builder": {"id": "https://ci.example/runner"}},
        },
    })
}

fn envelope(statement: &Value) -> Value {
    json!({
        "payloadType": "application/vnd.in-toto+json",
        "payload": STANDARD.encode(statement.to_string()),
        "signatures": [{"keyid": "k", "sig": STANDARD.encode("signature")}],
    })
}

fn parse(document: &Value) -> Result<Document, Malformed> {
    Document::parse(document.to_string().as_bytes())
}

#[test]
fn an_sbom_gives_its_components_whatever_the_format() {
    let mbedtls = Component {
        name: "mbedtls".into(),
        version: Some("3.6.0".into()),
        purl: Some("pkg:github/Mbed-TLS/mbedtls@3.6.0".into()),
        cpe: Some("cpe:2.3:a:arm:mbed_tls:3.6.0:*:*:*:*:*:*:*".into()),
    };
    for (document, format, names) in [
        (cyclonedx(), Format::CycloneDx, &["esp-idf", "mbedtls", "p256-m"][..]),
        (spdx(), Format::Spdx, &["mbedtls", "newlib"]),
    ] {
        let document = parse(&document).unwrap();
        assert_eq!(document.format, format);
        assert!(document.components.contains(&mbedtls), "{document:?}");
        let mut found: Vec<_> = document.components.iter().map(|one| &*one.name).collect();
        found.sort_unstable();
        assert_eq!(found, names);
    }
    let newlib = parse(&spdx()).unwrap().components.pop().unwrap();
    assert_eq!((newlib.version, newlib.purl), (None, None));
}

#[test]
fn provenance_names_what_was_built_line_by_line() {
    let mut other = statement();
    other["subject"][0]["digest"]["sha256"] = json!(Digest([8; 32]));
    let lines = format!("{}\n\n{}\n", envelope(&statement()), envelope(&other));
    let document = Document::parse(lines.as_bytes()).unwrap();
    assert_eq!(document.format, Format::Provenance);
    assert_eq!(document.subjects, [Digest([7; 32]), Digest([8; 32])]);
    assert_eq!(document.builders, ["https://ci.example/runner"]);
    assert_eq!(parse(&envelope(&statement())).unwrap().subjects, [Digest([7; 32])]);
}

#[test]
fn a_document_that_is_not_what_it_says_is_refused() {
    let spoilt = |mut document: Value, pointer: &str, value: Value| {
        *document.pointer_mut(pointer).unwrap() = value;
        document
    };
    for (document, said) in [
        (spoilt(cyclonedx(), "/specVersion", json!("1.3")), "version 1.3"),
        (spoilt(cyclonedx(), "/bomFormat", json!("Other")), "neither"),
        (spoilt(cyclonedx(), "/components/0/name", json!("")), "`name`"),
        (spoilt(cyclonedx(), "/components/0/name", json!(7)), "string"),
        (spoilt(cyclonedx(), "/components/0/purl", json!("mbedtls")), "`purl`"),
        (spoilt(cyclonedx(), "/components/0/version", json!("9".repeat(2000))), "`component`"),
        (spoilt(cyclonedx(), "/components", json!({})), "sequence"),
        (spoilt(spdx(), "/spdxVersion", json!("SPDX-2.2")), "version SPDX-2.2"),
        (spoilt(spdx(), "/SPDXID", json!("x")), "`SPDXID`"),
        (spoilt(spdx(), "/dataLicense", json!("MIT")), "`dataLicense`"),
        (spoilt(envelope(&statement()), "/payloadType", json!("text/plain")), "`payloadType`"),
        (spoilt(envelope(&statement()), "/payload", json!("%")), "`payload`"),
        (spoilt(envelope(&statement()), "/signatures", json!([])), "`signatures`"),
        (envelope(&spoilt(statement(), "/_type", json!("x"))), "`_type`"),
        (envelope(&spoilt(statement(), "/predicateType", json!("x"))), "`predicateType`"),
        (envelope(&spoilt(statement(), "/subject", json!([]))), "`subject`"),
        (envelope(&spoilt(statement(), "/subject/0/digest", json!({"sha1": "x"}))), "`digest`"),
        (envelope(&spoilt(statement(), "/predicate", json!({}))), "buildDefinition"),
        (json!({}), "neither"),
        (json!([]), "neither"),
    ] {
        let refusal = parse(&document).unwrap_err().to_string();
        assert!(refusal.contains(said), "{said}: {refusal}");
    }
    for bytes in [&b""[..], b"\n", b"MZ", b"<xml/>", b"{", b"\xff\xff"] {
        assert!(Document::parse(bytes).is_err());
    }
}

#[test]
fn limits_are_checked_before_anything_is_kept() {
    let long = vec![b' '; waxwing_documents::DOCUMENT_BYTES_MAX + 1];
    assert!(matches!(Document::parse(&long), Err(Malformed::TooLong)));
    let line = envelope(&statement()).to_string();
    let lines = vec![line; 65].join("\n");
    assert!(matches!(Document::parse(lines.as_bytes()), Err(Malformed::TooMany("statements"))));
    // The last ones are no components: nobody came that far.
    let bomb = |part: Value| [vec![part; 10_001], vec![json!(7)]].concat();
    let part = json!({"type": "library", "name": "x"});
    let flat = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6", "components": bomb(part.clone()),
    });
    let nest = json!({"type": "library", "name": "x", "components": vec![part; 5_000]});
    // Twice as many as there may be, in no list more than half of that.
    let nested = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6",
        "components": [nest.clone(), nest.clone(), 7],
    });
    let mut packages = spdx();
    packages["packages"] = json!(bomb(json!({"name": "x"})));
    for bomb in [flat, nested, packages] {
        let refusal = parse(&bomb).unwrap_err().to_string();
        assert!(refusal.contains("there are more than 10000"), "{refusal}");
    }
    let mut references = spdx();
    let reference = json!({"referenceType": "x", "referenceLocator": "y"});
    references["packages"][0]["externalRefs"] = json!(vec![reference; 257]);
    let mut subjects = statement();
    subjects["subject"] = json!(vec![statement()["subject"][0].clone(); 65]);
    let mut signatures = envelope(&statement());
    signatures["signatures"] = json!(vec![signatures["signatures"][0].clone(); 65]);
    for (bomb, max) in [(references, 256), (envelope(&subjects), 64), (signatures, 64)] {
        let refusal = parse(&bomb).unwrap_err().to_string();
        assert!(refusal.contains(&format!("there are more than {max}")), "{refusal}");
    }
    let mut deep = json!({"type": "library", "name": "x"});
    for _ in 0..200 {
        deep = json!({"type": "library", "name": "x", "components": [deep]});
    }
    let deep = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [deep]});
    assert!(parse(&deep).is_err());
}
