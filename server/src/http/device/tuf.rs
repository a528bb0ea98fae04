//! The same metadata and images by plain GET, laid out as any TUF client expects it, for tools.
//!
//! A device sees its own product's Image repository and its own Director files; whatever belongs
//! to others does not exist for it. Not here: trust in any of it. And no device takes a Director
//! timestamp from here: it does not carry a nonce of its own (D4).

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_wire::{Channel, Digest, Nonce};

use super::admission::Caller;
use super::images;
use super::poll::not_rooted;
use crate::app::App;
use crate::director::Director;
use crate::domain::Release;
use crate::http::{Path, Problem};

/// In place of a nonce where nobody asked with one.
const NO_NONCE: Nonce = Nonce([0; 16]);

/// Answers a file of the Image repository of the caller's product.
pub async fn image_metadata(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((product, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let files = app.repositories.image(&caller.device.product);
    let files = files.filter(|_| product == caller.device.product.as_str()).ok_or_else(unknown)?;
    files.get(&name).map(json).ok_or_else(unknown)
}

/// Answers an image by its target path with the hash in the file name (TUF 6.2), or, as some
/// clients write it, before the whole path.
pub async fn image_target(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((product, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (sha256, path) = hashed(&path).ok_or_else(unknown)?;
    if path == SERVER_CA_PATH {
        return pins(&app, &caller, &product, &sha256);
    }
    let is_own = product == caller.device.product.as_str();
    let release = release(&app, &caller, &path).filter(|_| is_own).ok_or_else(unknown)?;
    if !release.listed || release.path != path || release.sha256 != sha256 {
        return Err(unknown());
    }
    images::serve(&app, &caller.device.id, &sha256, &headers).await
}

/// Answers the Director's files for the caller, signed now.
pub async fn director_metadata(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((device, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let own = &caller.device.id;
    if device != own.as_str() {
        return Err(unknown());
    }
    let roots = app.repositories.director().ok_or_else(not_rooted)?;
    if let Some(root) = roots.get(&name) {
        return Ok(json(root));
    }
    let now_ms = app.director.now_ms()?;
    let decision = app.fleet.decide(own, now_ms).ok_or_else(unknown)?;
    let version = Director::version(&decision, now_ms);
    let signed = if name == "timestamp.json" {
        app.director.timestamp(own, NO_NONCE, now_ms, version)?
    } else if name == format!("{version}.snapshot.json") {
        app.director.snapshot(version)?
    } else if name == format!("{version}.targets.json") {
        app.director.targets(own, &decision, version)?
    } else {
        return Err(unknown());
    };
    Ok(json(&Bytes::from(signed)))
}

/// Answers the pins of the caller's product.
fn pins(app: &App, caller: &Caller, product: &str, sha256: &Digest) -> Result<Response, Problem> {
    const PEM: HeaderValue = HeaderValue::from_static("application/x-pem-file");
    let files = app.repositories.image(&caller.device.product);
    let files = files.filter(|_| product == caller.device.product.as_str()).ok_or_else(unknown)?;
    let pins = files.pins().filter(|pins| pins.sha256 == *sha256).ok_or_else(unknown)?;
    Ok(([(header::CONTENT_TYPE, PEM)], pins.bytes.clone()).into_response())
}

/// Finds the release of `<product>/<channel>/<version>/<file>`.
fn release(app: &App, caller: &Caller, path: &str) -> Option<Arc<Release>> {
    let mut segments = path.split('/').skip(1);
    let channel = Channel::parse(segments.next()?).ok()?;
    let version = segments.next()?.parse().ok()?;
    app.fleet.release(&caller.device.product, &channel, &version)
}

/// Splits `a/b/<sha256>.c` or `<sha256>.a/b/c` into the hash and `a/b/c`.
fn hashed(path: &str) -> Option<(Digest, String)> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    if let Some((digest, name)) = file.split_once('.')
        && let Ok(digest) = digest.parse()
    {
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        return Some((digest, folder + name));
    }
    let (digest, path) = path.split_once('.')?;
    Some((digest.parse().ok()?, path.to_owned()))
}

fn json(bytes: &Bytes) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, JSON)], bytes.clone()).into_response()
}

fn unknown() -> Problem {
    Problem::not_found("file_unknown", "There is no such file for this device.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_paths_carry_their_hash_in_either_place() {
        let hash = "ab".repeat(32);
        let expected = Some((hash.parse().unwrap(), "th1/stable/1.0.0/esp32c3.bin".to_owned()));
        assert_eq!(hashed(&format!("th1/stable/1.0.0/{hash}.esp32c3.bin")), expected);
        assert_eq!(hashed(&format!("{hash}.th1/stable/1.0.0/esp32c3.bin")), expected);
        for bad in ["", "a", "a/b.c", "th1/stable/1.0.0/esp32c3.bin", &hash, "./x"] {
            assert_eq!(hashed(bad), None, "{bad}");
        }
    }
}
