//! `GET /v1/images/{sha256}`: the bytes of an image, whole or in part.
//!
//! A device may read the images of the listed releases of its product and no others; to ask for
//! another says no more than to ask for none. Images that are asked for often come from memory.
//! Not here: whether the device should install it.

use std::io::{Seek as _, SeekFrom};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;
use waxwing_wire::{DeviceId, Digest};

use super::admission::Caller;
use super::range::Part;
use crate::app::App;
use crate::blobs::Blob;
use crate::http::{Path, Problem};

/// How much of a file is read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Answers an image, or the range of it that was asked for (RFC 9110, 14).
pub async fn image(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(sha256): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sha256 = sha256.parse().map_err(|_| unknown())?;
    serve(&app, &caller.device.id, &sha256, &headers).await
}

/// Answers an image that this device may read.
pub async fn serve(
    app: &Arc<App>,
    device: &DeviceId,
    sha256: &Digest,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if !app.fleet.may_read_image(device, sha256) {
        return Err(unknown());
    }
    let blob = read(app, *sha256).await?.ok_or_else(unknown)?;
    let (len, etag) = (blob.len(), format!("\"{sha256}\""));
    let part = Part::asked(headers, len, &etag);
    let (from, to) = match part {
        Part::Range(from, to) => (from, to),
        Part::Unsatisfiable => return unsatisfiable(len),
        Part::Whole => (0, len),
    };
    let body = body(blob, from, to)?;
    app.metrics.image_bytes(to - from);
    let mut response = body.into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    fields.insert(header::ETAG, field(etag)?);
    if part != Part::Whole {
        let range = field(format!("bytes {from}-{}/{len}", to - 1))?;
        fields.insert(header::CONTENT_RANGE, range);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

async fn read(app: &Arc<App>, sha256: Digest) -> Result<Option<Blob>, Problem> {
    if let Some(bytes) = app.blobs.hot(&sha256) {
        return Ok(Some(Blob::Memory(bytes)));
    }
    let blobs = app.blobs.clone();
    let read = tokio::task::spawn_blocking(move || blobs.read(&sha256)).await;
    read.map_err(|error| Problem::internal(&error))?.map_err(|error| Problem::internal(&error))
}

fn body(blob: Blob, from: u64, to: u64) -> Result<Body, Problem> {
    match blob {
        Blob::File(mut file, _) => {
            file.seek(SeekFrom::Start(from)).map_err(|error| Problem::internal(&error))?;
            let part = tokio::fs::File::from_std(file).take(to - from);
            Ok(Body::from_stream(ReaderStream::with_capacity(part, CHUNK_BYTES)))
        }
        Blob::Memory(bytes) => Ok(Body::from(slice(&bytes, from, to))),
    }
}

fn slice(bytes: &Bytes, from: u64, to: u64) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(from)..at(to))
}

fn field(text: String) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(text).map_err(|error| Problem::internal(&error))
}

pub(super) fn unknown() -> Problem {
    Problem::not_found("image_unknown", "No listed release of the device's product has this image.")
}

/// RFC 9110, 15.5.17: the answer tells the present length.
fn unsatisfiable(len: u64) -> Result<Response, Problem> {
    let detail = format!("The image has {len} bytes; the range begins behind its end.");
    let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_unsatisfiable", detail);
    Ok(([(header::CONTENT_RANGE, field(format!("bytes */{len}"))?)], problem).into_response())
}
