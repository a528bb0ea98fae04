//! Who holds keys that are about identity: of a device, of the device CA, of Secure Boot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use reqwest::blocking::Client;
use reqwest::{Certificate, Identity};
use serde_json::json;
use waxwing_e2e::ceremony::{CHANNEL, PRODUCT, Repository};
use waxwing_e2e::fleet::Batch;
use waxwing_e2e::process::run;
use waxwing_e2e::server::{Listener, Server};
use waxwing_e2e::world::FACTORY_VERSION;

use super::director::{files, listed, refused, target_path};
use super::network::Intercepted;
use super::stage::{DEVICE, Stage, wait_for_refusal};

/// Whoever holds the key of one device **can** speak for that device. They **cannot** see another
/// one's decisions, nor use theirs on another. **Recovery**: the device is revoked, which counts
/// with the next request; the real one enrols under another name.
#[test]
fn row_37_who_holds_one_devices_key_is_that_device_and_no_other() {
    let mut stage = Stage::set().unwrap();
    let stolen = "th1-stolen";
    let names = [stolen.to_owned()];
    let fleet =
        stage.devices(&Batch { folder: stolen, names: &names, ..Batch::default() }).unwrap();
    let identity = fs::read(fleet.identity(stolen)).unwrap();
    drop(fleet);
    let poll = || poll(&stage.world.server, &identity).unwrap();
    assert_eq!(poll().0, 200);
    let server = &stage.world.server;
    let client = client(server, &identity).unwrap();
    let other = format!("/tuf/director/{DEVICE}/metadata/timestamp.json");
    let url = format!("{}{other}", server.url(Listener::Device));
    assert_eq!(client.get(url).send().unwrap().status().as_u16(), 404);

    // Between another device and the server, with its nonce and the stolen identity.
    let Intercepted { relay: _relay, hostile: _hostile, mut fleet } =
        Intercepted::begin_as(&stage, DEVICE, stolen).unwrap();
    wait_for_refusal(&mut fleet, "trust_device").unwrap();

    stage.world.operator.ask(&["device", "revoke", stolen]).unwrap();
    let (status, problem) = poll();
    assert_eq!((status, problem.contains("device_revoked")), (403, true), "{problem}");
    let names = ["th1-stolen-2".to_owned()];
    let mut again =
        stage.devices(&Batch { folder: "again", names: &names, ..Batch::default() }).unwrap();
    stage.update(&mut again, &names[0], "1.1.0", 1).unwrap();
}

/// Whoever holds the key of the device CA **can** make certificates that open a connection. They
/// **cannot** do anything on it: the server knows each certificate by serial number and key.
/// **Recovery**: another device CA; devices enrol again, with new tokens.
#[test]
fn row_37_who_holds_the_device_ca_opens_connections_and_is_nobody_on_them() {
    let mut stage = Stage::set().unwrap();
    let fleet = stage.device().unwrap();
    let secrets = stage.world.server.secrets();
    for name in [DEVICE, "th1-invented"] {
        let forged = forge_device(&secrets, name).unwrap();
        let (status, problem) = poll(&stage.world.server, &forged).unwrap();
        assert_eq!((status, problem.contains("certificate_unknown")), (403, true), "{problem}");
    }
    let forged = forge_device(&secrets, DEVICE).unwrap();
    drop(fleet);

    stage.world.server.stop().unwrap();
    replace_device_ca(&secrets).unwrap();
    stage.world.server.restart().unwrap();
    poll(&stage.world.server, &forged).unwrap_err();
    let tokens = [(DEVICE.to_owned(), stage.world.token(DEVICE).unwrap())];
    let names = [DEVICE.to_owned()];
    let batch = Batch { folder: "enrolled-again", names: &names, ..Batch::default() };
    let factory = stage.folder().join("images/1.0.0.bin");
    let mut fleet = stage.world.start_with(&batch, &tokens, &factory).unwrap();
    stage.update(&mut fleet, DEVICE, "1.1.0", 1).unwrap();
}

/// Whoever holds the key of Secure Boot **can** sign images that a chip would boot. They **cannot**
/// bring them to a device over the air, not even with the server and the Director's key.
/// **Recovery**: the key's digest is revoked in the eFuses, which no update of ours does.
#[test]
fn row_37_who_holds_the_secure_boot_key_brings_nothing_over_the_air() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    stage.publish("1.1.0", 1).unwrap();
    let image = stage.image("6.6.6").unwrap();
    let signed = sign_for_secure_boot(&image).unwrap();
    let publics = stage.world.ceremony.metadata(Repository::Image);
    let publics = files(&publics).unwrap();
    let attributes = listed(&publics, CHANNEL, &target_path(CHANNEL, "1.1.0")).unwrap();

    let (thief, hostile) = stage.break_in().unwrap();
    let listed = target_path(CHANNEL, "1.1.0");
    thief.order(|orders| orders.offer_image(listed, attributes.clone(), signed.clone()));
    fleet.wait_for(refused("trust_mismatch")).unwrap();
    let mut attributes = attributes;
    attributes.version = "6.6.6".parse().unwrap();
    thief.order(|orders| orders.offer_image(target_path(CHANNEL, "6.6.6"), attributes, signed));
    fleet.wait_for(refused("trust_unlisted")).unwrap();
    assert_eq!(fleet.running().unwrap()[DEVICE], FACTORY_VERSION);
    drop(hostile);

    stage.replace_director().unwrap();
    stage.roll_out(&mut fleet, DEVICE, "1.1.0").unwrap();
}

/// Polls as whoever the identity is, and returns status and body.
fn poll(server: &Server, identity: &[u8]) -> Result<(u16, String)> {
    let body = json!({
        "nonce": "01010101010101010101010101010101", "product": PRODUCT, "hw": "r1",
        "fw": "1.0.0", "fw_sha256": "0".repeat(64), "security_version": 1, "have": {},
        "reports": [],
    });
    let url = format!("{}/v1/poll", server.url(Listener::Device));
    let answer = client(server, identity)?.post(url).body(body.to_string()).send()?;
    let status = answer.status().as_u16();
    Ok((status, String::from_utf8_lossy(&answer.bytes()?).into_owned()))
}

fn client(server: &Server, identity: &[u8]) -> Result<Client> {
    let ca = Certificate::from_pem(&fs::read(server.ca())?)?;
    let client = Client::builder().tls_certs_only([ca]).identity(Identity::from_pem(identity)?);
    Ok(client.build()?)
}

/// Makes a certificate as the server would, with the stolen key.
fn forge_device(secrets: &Path, device: &str) -> Result<Vec<u8>> {
    let pem = |name: &str| fs::read_to_string(secrets.join(name));
    let authority = KeyPair::from_pem(&pem("device-ca.key")?)?;
    let authority = Issuer::from_ca_cert_pem(&pem("device-ca.pem")?, authority)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, device);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI(format!("waxwing:device:{device}").try_into()?)];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    Ok(format!("{}{}", certificate.pem(), key.serialize_pem()).into_bytes())
}

/// As `docs/incidents.md` tells operators to.
fn replace_device_ca(secrets: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-nodes", "-sha256", "-days", "10950", "-subj", "/CN=Waxwing device CA"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:TRUE,pathlen:0"]);
    openssl.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
    openssl.arg("-keyout").arg(secrets.join("device-ca.key"));
    run(openssl.arg("-out").arg(secrets.join("device-ca.pem")), b"").map(drop)
}

/// Signs an image with a key made for it by Espressif's own tool.
fn sign_for_secure_boot(image: &Path) -> Result<Vec<u8>> {
    let python = std::env::var_os("WAXWING_PYTHON").context("WAXWING_PYTHON names a python")?;
    let espsecure = || {
        let mut command = Command::new(&python);
        command.args(["-m", "espsecure"]);
        command
    };
    let (key, signed) = (image.with_extension("pem"), image.with_extension("signed"));
    let mut generate = espsecure();
    generate.args(["generate-signing-key", "--version", "2", "--scheme", "ecdsa256"]);
    run(generate.arg(&key), b"")?;
    let mut sign = espsecure();
    sign.args(["sign-data", "--version", "2", "--keyfile"]).arg(&key);
    run(sign.arg("--output").arg(&signed).arg(image), b"")?;
    Ok(fs::read::<PathBuf>(signed)?)
}
