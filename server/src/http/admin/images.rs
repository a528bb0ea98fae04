//! `/api/v1/products/{product}/images`: the bytes of releases, checked while they come.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;
use utoipa::ToSchema;
use waxwing_esp_image::app::Checker;
use waxwing_esp_image::check::{self, Expected};
use waxwing_esp_image::signature::Collector;
use waxwing_esp_image::{App as Parsed, ImageError};
use waxwing_secure_boot::{Unsigned, check_chip, verify};
use waxwing_wire::Digest;

use super::input::Author;
use super::output::time;
use super::{change, products};
use crate::app::App;
use crate::blobs::{BlobError, Blobs, Incoming};
use crate::chunks::ChunkHasher;
use crate::domain::Product;
use crate::domain::audit::Action;
use crate::domain::product::VersionRule;
use crate::http::{Path, Problem};
use crate::store::images::Image;
use crate::store::{self, Change};

/// An image.
#[derive(Serialize, ToSchema)]
#[schema(as = Image)]
pub(super) struct ImageView {
    /// Its hash.
    #[schema(value_type = String)]
    sha256: Digest,
    /// Its length in bytes.
    length: u64,
    /// Version in its descriptor.
    version: Option<String>,
    /// Project in its descriptor.
    project: Option<String>,
    /// Anti-rollback version in its descriptor, 0 without one.
    secure_version: u32,
    /// Digests of the Secure Boot keys whose signatures on it are good.
    #[schema(value_type = Vec<String>)]
    signed_by: Vec<Digest>,
    /// When it was stored, as RFC 3339.
    uploaded_at: String,
}

impl From<Image> for ImageView {
    fn from(image: Image) -> Self {
        Self {
            sha256: image.sha256,
            length: image.length,
            version: image.version,
            project: image.project,
            secure_version: image.secure_version,
            signed_by: image.signed_by,
            uploaded_at: time(image.uploaded_at),
        }
    }
}

/// Stores an image. An image that is there already is checked again and stays as it is; only what is
/// known of who signed it is brought up to date.
#[utoipa::path(put, path = "/api/v1/products/{product}/images/{sha256}", operation_id = "put_image", tag = "releases",
    params(("product" = String, Path), ("sha256" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = ImageView), (status = 201, body = ImageView),
        (status = 404, body = Problem), (status = 413, body = Problem),
        (status = 422, body = Problem), (status = 507, body = Problem)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Path((product, sha256)): Path<(String, String)>,
    author: Author,
    body: Body,
) -> Result<(StatusCode, Json<ImageView>), Problem> {
    let product = products::find(&app, &product)?;
    let sha256: Digest = sha256.parse().map_err(|_| {
        let detail = "Name the image by its SHA-256, 64 lower-case hexadecimal digits.";
        Problem::bad_request("invalid_digest", detail).field("sha256")
    })?;
    let received = receive(&app, body).await?;
    let image = received.finish(&product, sha256, &app.blobs, app.clock.now_ms()).await?;
    let (mut change, at) = change::begin(&app).await?;
    // Only now: another upload of the same image may have come first.
    if let Some(stored) = store::images::find(&app.store, &product.id, &sha256).await? {
        let Image { signed_by, chunks, .. } = image;
        let image = Image { signed_by, chunks, ..stored.clone() };
        if image != stored {
            read_again(change, at, &author, &image).await?;
        }
        return Ok((StatusCode::OK, Json(image.into())));
    }
    store::images::add(change.connection(), &image).await?;
    let subject = format!("product/{}/image/{sha256}", product.id);
    let detail = json!({ "length": image.length });
    change::record(&mut change, &author, at, (Action::ImageStored, subject, detail)).await?;
    drop(change.commit().await?);
    Ok((StatusCode::CREATED, Json(image.into())))
}

/// Notes what is read out of an image that is here already, and was not when it came: who signed it, and
/// the list of its chunks.
async fn read_again(
    mut change: Change,
    at: u64,
    author: &Author,
    image: &Image,
) -> Result<(), Problem> {
    store::images::set_read(change.connection(), image).await?;
    let subject = format!("product/{}/image/{}", image.product, image.sha256);
    let detail = json!({ "signed_by": image.signed_by });
    change::record(&mut change, author, at, (Action::ImageSignersRead, subject, detail)).await?;
    drop(change.commit().await?);
    Ok(())
}

/// An image on its way in: hashed, parsed and written piece by piece.
struct Received {
    blob: Incoming,
    checker: Checker,
    signature: Collector,
    chunks: ChunkHasher,
    length: u64,
}

async fn receive(app: &App, mut body: Body) -> Result<Received, Problem> {
    let (blobs, bytes_max) = (app.blobs.clone(), app.config.limits.image_bytes);
    let blob = blocking(move || blobs.receive(bytes_max)).await??;
    let mut received = Received::new(blob);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Problem::bad_request(
                "body_unreadable",
                "The image did not arrive whole. Send it again.",
            )
        })?;
        if let Ok(bytes) = frame.into_data() {
            received = blocking(move || received.write(&bytes)).await??;
        }
    }
    Ok(received)
}

impl Received {
    fn new(blob: Incoming) -> Self {
        Self {
            blob,
            checker: Checker::new(),
            signature: Collector::new(),
            chunks: ChunkHasher::default(),
            length: 0,
        }
    }

    fn write(mut self, bytes: &Bytes) -> Result<Self, Problem> {
        self.blob.write(bytes)?;
        self.checker.update(bytes).map_err(malformed)?;
        self.signature.update(bytes);
        self.chunks.update(bytes);
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(self)
    }

    /// Checks what came and makes it durable.
    async fn finish(
        self,
        product: &Product,
        sha256: Digest,
        blobs: &Blobs,
        uploaded_at: u64,
    ) -> Result<Image, Problem> {
        let Self { blob, checker, signature, chunks, length } = self;
        let parsed = checker.finish().map_err(malformed)?;
        check_fit(product, &parsed, length)?;
        let signed_by = signed_by(&parsed, signature)?;
        product.secure_boot.judge(&signed_by).map_err(unsigned)?;
        blocking(move || blob.finish(&sha256)).await??;
        let chunks = keep_chunks(blobs, chunks).await?;
        let descriptor = parsed.descriptor;
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        Ok(Image {
            product: product.id.clone(),
            sha256,
            length,
            version: descriptor.map(|descriptor| text(descriptor.version.as_bytes())),
            project: descriptor.map(|descriptor| text(descriptor.project.as_bytes())),
            secure_version: secure_version(&parsed),
            signed_by,
            chunks,
            uploaded_at,
        })
    }
}

/// Keeps the list of an image's chunks among the images, and returns its hash.
async fn keep_chunks(blobs: &Blobs, chunks: ChunkHasher) -> Result<Option<Digest>, Problem> {
    let Some(list) = chunks.finish() else { return Ok(None) };
    let (blobs, digest) = (blobs.clone(), Digest(Sha256::digest(&list).into()));
    let keep = move || {
        let mut incoming = blobs.receive(u64::try_from(list.len()).unwrap_or(u64::MAX))?;
        incoming.write(&list)?;
        incoming.finish(&digest)
    };
    blocking(keep).await??;
    Ok(Some(digest))
}

/// Refuses an image that no device of the product could run. Which release it is for, and so which
/// version it must carry, is known when the metadata comes (D27).
fn check_fit(product: &Product, parsed: &Parsed, length: u64) -> Result<(), Problem> {
    let refuse = |reason: String| {
        let detail = format!("No device of {} could run it: {reason}.", product.id);
        Err(Problem::refused("image_unacceptable", detail).field("sha256"))
    };
    let expected = Expected {
        chip: product.chip,
        slot_bytes: product.slot_bytes,
        version: None,
        project: product.descriptor_project(),
        secure_version: secure_version(parsed),
    };
    if product.image_version == VersionRule::Match && parsed.descriptor.is_none() {
        return refuse("it has no app descriptor, and the product's image_version is match".into());
    }
    match check::against(parsed, length, &expected) {
        Ok(()) => Ok(()),
        Err(mismatch) => refuse(mismatch.to_string()),
    }
}

/// Returns the keys that signed the image. A signature that is there must be good, whether or not the
/// product asks for one.
fn signed_by(parsed: &Parsed, signature: Collector) -> Result<Vec<Digest>, Problem> {
    let Some(at) = parsed.signature_at else { return Ok(Vec::new()) };
    let sector = signature.finish(at).map_err(waxwing_secure_boot::Refusal::from);
    let signed = sector.and_then(|sector| verify(&sector)).map_err(|refusal| {
        let detail = format!("Its Secure Boot signature is no good: {refusal}.");
        Problem::refused("image_signature_bad", detail).field("sha256")
    })?;
    check_chip(&signed, parsed.header.chip).map_err(|foreign| {
        let detail = format!("No device would boot it: {foreign}.");
        Problem::refused("image_signature_foreign", detail).field("sha256")
    })?;
    Ok(signed.iter().map(|block| block.key_digest).collect())
}

fn unsigned(why: Unsigned) -> Problem {
    let code = match why {
        Unsigned::NoSignature => "image_unsigned",
        Unsigned::Revoked(_) => "image_signer_revoked",
        Unsigned::Unregistered(_) => "image_signer_unknown",
    };
    Problem::refused(code, format!("No device would boot it: {why}.")).field("sha256")
}

fn secure_version(parsed: &Parsed) -> u32 {
    parsed.descriptor.map_or(0, |descriptor| descriptor.secure_version)
}

fn malformed(error: ImageError) -> Problem {
    let detail = format!("This is no app image that a device could run: {error}.");
    Problem::refused("image_malformed", detail).field("sha256")
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        let detail = format!("{error}.");
        match error {
            BlobError::Full(_) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_full",
                "There is no space left for the image. Make room, then upload it again.",
            ),
            BlobError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
            }
            BlobError::Unexpected { .. } => {
                Self::refused("image_hash_mismatch", detail).field("sha256")
            }
            BlobError::Corrupt { .. } | BlobError::Io(_) => Self::internal(&error),
        }
    }
}

/// Runs what blocks on the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    spawn_blocking(work).await.map_err(|error| Problem::internal(&error))
}
