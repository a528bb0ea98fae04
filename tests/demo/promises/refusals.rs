//! What must be refused.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use reqwest::blocking::Client;
use reqwest::{Certificate, Identity, StatusCode};
use sha2::{Digest as _, Sha256};
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::server::{Listener, Server};
use waxwing_e2e::world::{EVERYBODY, PILOTS};

use super::{PHASES, Stage, say};

/// On the way in the server refuses it; changed on the server's disk, the devices do.
pub(crate) fn tampered_image_is_refused(stage: &mut Stage) -> Result<String> {
    let image = stage.world.make_image("1.1.1", Behaviour::Work)?;
    let refused = upload_tampered(&stage.world.server, &fs::read(&image)?)?;
    stage.world.publish("1.1.1", 1, &image)?;
    let blob = blob(&stage.world.server.data(), &image)?;
    let good = fs::read(&blob)?;
    overwrite(&blob, &flipped(&good))?;
    say(&format!("rollout tampered: 1.1.1 to {PILOTS}"));
    stage.world.start_rollout_once("tampered", "1.1.1", PILOTS, "100")?;
    let finished = stage.watch("tampered")?;
    overwrite(&blob, &good)?;
    ensure!(!finished, "the rollout finished");
    let installed = stage.run_release("1.1.1")?;
    ensure!(installed == 0, "{installed} devices run it");
    Ok(format!(
        "upload: {refused}; changed on the server's disk: no device runs it, rollout halted"
    ))
}

pub(crate) fn older_security_version_is_refused(stage: &mut Stage) -> Result<String> {
    let finished = stage.roll_out("downgrade", "1.1.0", PILOTS, "100")?;
    ensure!(!finished, "the rollout finished");
    let why = deployments(stage, "downgrade")?;
    ensure!(why.iter().any(|code| code == "policy_security_version"), "devices said {why:?}");
    let kept = stage.run_release("1.2.0")?;
    ensure!(kept == stage.devices, "{kept} of {} devices kept 1.2.0", stage.devices);
    Ok("1.1.0 is validly signed, of security version 1; devices at 2 said policy_security_version"
        .into())
}

pub(crate) fn bad_release_stops(stage: &mut Stage) -> Result<String> {
    let image = stage.world.make_image("1.3.0", Behaviour::FailSelfTest)?;
    stage.world.publish("1.3.0", 2, &image)?;
    let finished = stage.roll_out("bad", "1.3.0", EVERYBODY, PHASES)?;
    ensure!(!finished, "the rollout finished");
    let codes = deployments(stage, "bad")?;
    let rolled_back = codes.iter().filter(|code| *code == "self_test").count();
    // The first phase is a tenth; nobody beyond it may have been reached.
    let reached = stage.devices.div_ceil(10);
    ensure!((1..=reached).contains(&rolled_back), "devices said {codes:?}");
    let kept = stage.run_release("1.2.0")?;
    ensure!(kept == stage.devices, "{kept} of {} devices run 1.2.0", stage.devices);
    Ok(format!("{rolled_back} of {} devices tried it and are back on 1.2.0; halted", stage.devices))
}

pub(crate) fn other_certificate_sees_nothing(stage: &mut Stage) -> Result<String> {
    say("device th1-0001 asks for what belongs to th1-0002");
    let client = client(stage, "th1-0001")?;
    let status = |path: &str| -> Result<StatusCode> {
        let url = format!("{}{path}", stage.world.server.url(Listener::Device));
        Ok(client.get(url).send()?.status())
    };
    let own = status("/tuf/director/th1-0001/metadata/timestamp.json")?;
    ensure!(own == StatusCode::OK, "its own Director file: {own}");
    for path in [
        "/tuf/director/th1-0002/metadata/timestamp.json",
        "/tuf/director/th1-0002/metadata/1.root.json",
        "/tuf/image/other/metadata/timestamp.json",
        "/api/v1/devices/th1-0002",
    ] {
        let other = status(path)?;
        ensure!(other == StatusCode::NOT_FOUND, "{path}: {other}");
    }
    Ok("its own Director file: 200; those of another device or product: 404".into())
}

/// Sends bytes under the digest of others.
fn upload_tampered(server: &Server, image: &[u8]) -> Result<String> {
    let token = fs::read_to_string(server.token())?;
    let client = Client::builder().tls_certs_only([certificate(&server.ca())?]).build()?;
    let url =
        format!("{}/api/v1/products/acme-th1/images/{}", server.url(Listener::Admin), hex(image));
    let answer = client.put(url).bearer_auth(token.trim()).body(flipped(image)).send()?;
    ensure!(answer.status().is_client_error(), "the server took it: {}", answer.status());
    let problem: serde_json::Value = serde_json::from_str(&answer.text()?)?;
    Ok(problem["code"].as_str().context("a refusal has a code")?.to_owned())
}

fn client(stage: &Stage, device: &str) -> Result<Client> {
    let pem = fs::read(stage.fleet.identity(device))?;
    let ca = certificate(&stage.world.server.ca())?;
    let builder = Client::builder().tls_certs_only([ca]).identity(Identity::from_pem(&pem)?);
    Ok(builder.build()?)
}

fn certificate(path: &Path) -> Result<Certificate> {
    Ok(Certificate::from_pem(&fs::read(path)?)?)
}

fn deployments(stage: &Stage, rollout: &str) -> Result<Vec<String>> {
    let answer = stage.world.operator.ask(&["rollout", "deployments", rollout])?;
    let items = answer.as_array().context("a list of deployments")?;
    Ok(items.iter().filter_map(|item| Some(item["code_name"].as_str()?.to_owned())).collect())
}

/// The file in which the server keeps an image.
fn blob(data: &Path, image: &Path) -> Result<PathBuf> {
    let name = hex(&fs::read(image)?);
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|file| *file == *name) {
                return Ok(path);
            }
        }
    }
    anyhow::bail!("the server keeps no file {name}")
}

/// Changes a file in place, as somebody with a shell on the server would.
fn overwrite(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(fs::write(path, bytes)?)
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(byte) = bytes.get_mut(100_000) {
        *byte ^= 1;
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
