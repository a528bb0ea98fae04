//! Rows 42 to 46: who a device is, against the real server over its sockets, with openssl and a plain
//! HTTP client in the hands of the attacker.

pub(crate) mod routes;
mod shop;

use std::thread;

use self::shop::{Answer, Identity, Shop, csr, csr_of, key_and_csr};

#[test]
fn row_42_a_certificate_is_worth_nothing_but_to_the_device_on_record() {
    let shop = Shop::open();
    let [own, other] = ["d-1", "d-2"].map(|device| shop.enrolled(device));
    assert_eq!(shop.handshake(&own), Some(404), "it is let in, and there is nothing there");
    let foreign = shop.forged("d-1", false, 2035);
    assert_eq!(shop.handshake(&foreign), None, "another CA of the same name");
    let expired = shop.forged("d-1", true, 2021);
    assert_eq!(shop.handshake(&expired), None, "expired for longer than any grace");
    // With the key of the CA itself: the record decides, not the name.
    let stray = shop.forged("d-1", true, 2035);
    assert_eq!(shop.ask(&stray, "/x").code(), "certificate_unknown");
    let nobody = shop.forged("d-9", true, 2035);
    assert_eq!(shop.ask(&nobody, "/x").code(), "certificate_unknown");
    // The right CA, on record, but somebody else's.
    let foreign_file = "/tuf/director/d-1/metadata/timestamp.json";
    assert_eq!(shop.ask(&other, foreign_file).code(), "file_unknown");
    shop.operator(&["device", "revoke", "d-1"]);
    assert_eq!(shop.ask(&own, "/x").code(), "device_revoked");
    assert_eq!(shop.ask(&other, "/x").code(), "unknown_route");
}

#[test]
fn row_43_a_request_for_a_key_that_no_device_has_is_refused() {
    let shop = Shop::open();
    let token = shop.token("d-1");
    let refused = |csr: &str, status: u16, code: &str| {
        let answer = shop.enrol("d-1", &token, csr);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.body);
    };
    for (algorithm, digest) in [
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"][..], "-sha384"),
        // Libraries label it P-256, after the signature.
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"], "-sha256"),
        (&["-newkey", "rsa:2048"], "-sha256"),
        (&["-newkey", "ed25519"], "-sha256"),
        // The right curve, spelled out, so that it could be a wrong one.
        (
            &[
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-pkeyopt",
                "ec_param_enc:explicit",
            ],
            "-sha256",
        ),
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "-sha512"),
    ] {
        refused(&csr(&[algorithm, &[digest]].concat()), 400, "csr_algorithm");
    }
    let mut der = shop::decoded(&csr(shop::P256));
    let last = der.len() - 1;
    der[last] ^= 1;
    refused(&shop::encoded(&der), 400, "csr_proof");
    refused("AAAA", 400, "csr_malformed");
    refused(&"A".repeat(9000), 413, "body_too_large");
    let long =
        csr(&[shop::P256, &["-addext", &format!("nsComment={}", "x".repeat(4000))]].concat());
    refused(&long, 400, "csr_too_long");
    // The key of another device, with that device's help.
    let (_, request) = key_and_csr(shop.path(), &[]);
    shop.enrol("d-2", &shop.token("d-2"), &request).good();
    refused(&request, 403, "key_in_use");
    // None of these spent the token.
    shop.enrol("d-1", &token, &csr(shop::P256)).good();
}

#[test]
fn row_43_a_request_for_more_than_a_device_gets_is_refused() {
    let shop = Shop::open();
    let token = shop.token("d-1");
    for (wish, code) in [
        ("basicConstraints=critical,CA:TRUE", "csr_authority"),
        ("keyUsage=critical,keyCertSign,cRLSign", "csr_authority"),
        ("subjectAltName=DNS:ota.example", "csr_name"),
        ("subjectAltName=URI:waxwing:device:d-1,URI:waxwing:device:d-2", "csr_name"),
        ("subjectAltName=IP:127.0.0.1", "csr_name"),
        ("extendedKeyUsage=serverAuth", "csr_usage"),
        ("extendedKeyUsage=clientAuth,codeSigning", "csr_usage"),
        ("extendedKeyUsage=anyExtendedKeyUsage", "csr_usage"),
    ] {
        let answer = shop.enrol("d-1", &token, &csr(&[shop::P256, &["-addext", wish]].concat()));
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{}", answer.body);
    }
    // None of these spent the token. What a device is, it may ask for; its subject is not read.
    let own =
        ["-addext", "subjectAltName=URI:waxwing:device:d-1", "-subj", "/CN=d-2/O=ota.example"];
    let (key, request) = key_and_csr(shop.path(), &own);
    let identity = Identity::new(&key, &shop.enrol("d-1", &token, &request).good());
    let text = shop::openssl(&["x509", "-noout", "-text"], identity.certificate.as_bytes());
    for expected in
        ["CN = d-1", "URI:waxwing:device:d-1", "CA:FALSE", "TLS Web Client Authentication"]
    {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    for forbidden in ["CA:TRUE", "d-2", "ota.example", "Certificate Sign", "Server", "Code Signing"]
    {
        assert!(!text.contains(forbidden), "{forbidden} in {text}");
    }
    // Nor does who has a certificate get more with the next one.
    let foreign = key_and_csr(shop.path(), &["-addext", "subjectAltName=URI:waxwing:device:d-2"]);
    assert_eq!(shop.renew(&identity, &foreign.1).code(), "csr_name");
}

#[test]
fn row_44_a_token_is_good_once_for_its_device_and_cannot_be_guessed() {
    let shop = Shop::open();
    let token = shop.token("d-1");
    shop.token("d-2");
    let wrong = |device: &str, token: &str| {
        let answer = shop.enrol(device, token, &csr(shop::P256));
        assert_eq!(answer.code(), "token_wrong", "{device}");
    };
    wrong("d-2", &token);
    wrong("d-3", &token);
    wrong("d-1", "guess");
    wrong("d-1", &token.to_uppercase());
    // A hundred at once, each with a key of its own.
    let door = shop.door();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let tries: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| door.enrol("d-1", &token, &csr_of(&shop::new_key()))))
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let issued = answers.iter().filter(|answer| answer.status == 200).count();
    let spent = answers.iter().filter(|answer| answer.status == 403).count();
    assert_eq!((issued, spent), (1, 99));
    // Replayed, later, by whoever read it: refused, and the operator learns of it.
    let replayed = shop.enrol("d-1", &token, &csr(shop::P256));
    assert_eq!((replayed.status, replayed.code().as_str()), (403, "token_spent"));
    let audit = shop.operator(&["audit"]).to_string();
    assert!(audit.contains("token_misused"), "{audit}");
    // Guessing goes on ever more slowly.
    let codes: Vec<_> =
        (0..20).map(|_| shop.enrol("d-2", "guess", &csr_of(&shop::new_key())).code()).collect();
    assert_eq!(codes.last().map(String::as_str), Some("too_many_tries"));
}

#[test]
fn row_45_a_stolen_key_renews_nothing_after_the_revocation() {
    let shop = Shop::open();
    let stolen = shop.enrolled("d-1");
    let (key, request) = key_and_csr(shop.path(), &[]);
    let renewed = Identity::new(&key, &shop.renew(&stolen, &request).good());
    assert_eq!(shop.renew(&stolen, &request).status, 200, "the same again, before the revocation");
    assert_eq!(shop.ask(&renewed, "/x").code(), "unknown_route");
    // The key before the present one is nobody's: neither to renew with, nor to renew to.
    assert_eq!(shop.renew(&stolen, &csr(shop::P256)).code(), "certificate_unknown");
    let back = shop.renew(&renewed, &csr_of(&stolen.key));
    assert_eq!((back.status, back.code().as_str()), (403, "key_in_use"));
    assert_eq!(shop.renew(&renewed, &request).code(), "key_not_new");
    shop.operator(&["device", "revoke", "d-1"]);
    for identity in [&stolen, &renewed] {
        let answer = shop.renew(identity, &csr(shop::P256));
        assert_eq!((answer.status, answer.code().as_str()), (403, "device_revoked"));
    }
    // Nor does its key come back under another name.
    let token = shop.token("d-2");
    assert_eq!(shop.enrol("d-2", &token, &request).code(), "key_in_use");
}
