//! What our own tools refuse to make: publications that too few have signed.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};
use reqwest::Certificate;
use reqwest::blocking::Client;
use sha2::{Digest as _, Sha256};
use waxwing_e2e::ceremony::{Ceremony, PRODUCT, Repository};
use waxwing_e2e::server::{Listener, Server};
use waxwing_tuf::author::{Hashes, MetaFile, Metadata, SignedFile, Signer};
use waxwing_wire::bundle::{Kind, Writer};

use super::director::{Files, files, newest};

/// Publishes the working copy of a channel's list as it is, under a snapshot and a timestamp that
/// are well signed.
pub(crate) fn under_signed(stolen: &Ceremony, channel: &str, publisher: &str) -> Result<Files> {
    let mut files = files(&stolen.metadata(Repository::Image))?;
    let key = stolen.open_key(publisher)?;
    let (list, role) = (fs::read(stolen.role_file(channel))?, format!("{PRODUCT}-{channel}"));
    let version = SignedFile::parse(&list)?.metadata()?.version();
    let named = BTreeMap::from([(format!("{role}.json"), meta(&list, version))]);
    files.insert(format!("{version}.{role}.json"), list);

    let name = newest(&files, "snapshot").context("something was published")?;
    let Metadata::Snapshot(mut snapshot) = parse(&files[&name])? else { bail!("no snapshot") };
    snapshot.version += 1;
    snapshot.meta.extend(named);
    let version = snapshot.version;
    let snapshot = sign(&Metadata::Snapshot(snapshot), &key)?;
    let Metadata::Timestamp(mut timestamp) = parse(&files["timestamp.json"])? else {
        bail!("no timestamp")
    };
    timestamp.version += 1;
    timestamp.meta.insert("snapshot.json".into(), meta(&snapshot, version));
    files.insert(format!("{version}.snapshot.json"), snapshot);
    files.insert("timestamp.json".into(), sign(&Metadata::Timestamp(timestamp), &key)?);
    Ok(files)
}

/// Hands files to the server with the operator's token, past all tools, and returns its answer.
pub(crate) fn post(server: &Server, files: &Files) -> Result<String> {
    let mut bundle = Writer::new();
    for (name, bytes) in files {
        bundle.push(Kind::Image, name, bytes)?;
    }
    let ca = Certificate::from_pem(&fs::read(server.ca())?)?;
    let client = Client::builder().tls_certs_only([ca]).build()?;
    let url = format!("{}/api/v1/products/{PRODUCT}/metadata", server.url(Listener::Admin));
    let token = fs::read_to_string(server.token())?;
    Ok(client.post(url).bearer_auth(token.trim()).body(bundle.finish(0)).send()?.text()?)
}

fn parse(bytes: &[u8]) -> Result<Metadata> {
    Ok(SignedFile::parse(bytes)?.metadata()?)
}

fn sign(metadata: &Metadata, key: &dyn Signer) -> Result<Vec<u8>> {
    let mut file = SignedFile::unsigned(metadata)?;
    file.sign(key)?;
    Ok(file.to_bytes()?)
}

fn meta(bytes: &[u8], version: u64) -> MetaFile {
    let sha256 = Sha256::digest(bytes).into();
    MetaFile { hashes: Some(Hashes { sha256 }), length: Some(bytes.len() as u64), version }
}
