//! `/api/v1/products/{product}/documents`: SBOMs and provenance of releases.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use waxwing_documents::{Document as Parsed, Format};
use waxwing_tuf::ContentCheck;
use waxwing_wire::Digest;

use super::input::{Author, raw};
use super::output::time;
use super::{change, products};
use crate::app::App;
use crate::domain::Product;
use crate::domain::audit::Action;
use crate::domain::document::Document;
use crate::http::{Path, Problem};
use crate::store::{self, Change};

/// An SBOM or provenance.
#[derive(Serialize, ToSchema)]
#[schema(as = Document)]
pub(super) struct DocumentView {
    /// Its hash.
    #[schema(value_type = String)]
    sha256: Digest,
    /// `cyclonedx`, `provenance` or `spdx`.
    #[schema(value_type = String)]
    format: Format,
    /// Its length in bytes.
    length: u64,
    /// Of provenance: the hashes of what was built.
    #[schema(value_type = Vec<String>)]
    subjects: Vec<Digest>,
    /// When it was stored, as RFC 3339.
    uploaded_at: String,
}

impl From<&Document> for DocumentView {
    fn from(document: &Document) -> Self {
        Self {
            sha256: document.sha256,
            format: document.format,
            length: document.length,
            subjects: document.subjects.clone(),
            uploaded_at: time(document.uploaded_at),
        }
    }
}

/// Most documents of a product that no signed metadata lists: two or three for each release that waits
/// for its keyholders.
const UNLISTED_MAX: usize = 64;

/// After this long without a signature, a document makes room for others.
const UNLISTED_LIFE: Duration = Duration::from_hours(7 * 24);

/// Stores a document that signed metadata will list. One that is there already stays as it is.
#[utoipa::path(put, path = "/api/v1/products/{product}/documents/{sha256}", operation_id = "put_document", tag = "releases",
    params(("product" = String, Path), ("sha256" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = DocumentView), (status = 201, body = DocumentView),
        (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Path((product, sha256)): Path<(String, String)>,
    author: Author,
    request: Request,
) -> Result<(StatusCode, Json<DocumentView>), Problem> {
    let product = products::find(&app, &product)?;
    let sha256 = digest(&sha256)?;
    let body = raw(request, &app).await?;
    let parsed = check(&body, sha256)?;
    let (mut change, at) = change::begin(&app).await?;
    let stored = store::documents::of_product(&app.store, &product.id).await?;
    if let Some(stored) = stored.get(&sha256) {
        return Ok((StatusCode::OK, Json(stored.into())));
    }
    let removed = make_room(&mut change, &product, at).await?;
    let document = document(&product, sha256, &parsed, &body, at);
    let components = &parsed.components;
    store::documents::add(change.connection(), &document, &body, components).await?;
    let subject = format!("product/{}/document/{sha256}", product.id);
    let detail = json!({
        "format": parsed.format, "components": components.len(), "removed": removed,
    });
    change::record(&mut change, &author, at, (Action::DocumentStored, subject, detail)).await?;
    drop(change.commit().await?);
    Ok((StatusCode::CREATED, Json((&document).into())))
}

/// Makes room for one more document that nothing lists, and returns which one it took.
async fn make_room(
    change: &mut Change,
    product: &Product,
    at: u64,
) -> Result<Option<Digest>, Problem> {
    let unlisted = store::documents::unlisted(change.connection(), &product.id).await?;
    let Some((oldest, uploaded_at)) = unlisted.first().filter(|_| unlisted.len() >= UNLISTED_MAX)
    else {
        return Ok(None);
    };
    if Duration::from_millis(at.saturating_sub(*uploaded_at)) < UNLISTED_LIFE {
        let detail = format!(
            "{UNLISTED_MAX} documents of {} wait for metadata that lists them. Publish it first, \
             or wait: a document that nothing lists for seven days makes room.",
            product.id,
        );
        return Err(Problem::conflict("too_many_documents", detail).field("sha256"));
    }
    store::documents::remove(change.connection(), &product.id, oldest).await?;
    Ok(Some(*oldest))
}

/// Returns the bytes of a document.
#[utoipa::path(get, path = "/api/v1/products/{product}/documents/{sha256}", operation_id = "get_document", tag = "releases",
    params(("product" = String, Path), ("sha256" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, body = Problem)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path((product, sha256)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let product = products::find(&app, &product)?;
    let body = store::documents::body(&app.store, &product.id, &digest(&sha256)?).await?;
    let unknown = || Problem::not_found("unknown_document", "There is no such document.");
    let body = body.ok_or_else(unknown)?;
    // Never something that a browser would show as a page of ours.
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

fn digest(text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|_| {
        let detail = "Name the document by its SHA-256, 64 lower-case hexadecimal digits.";
        Problem::bad_request("invalid_digest", detail).field("sha256")
    })
}

fn check(body: &[u8], sha256: Digest) -> Result<Parsed, Problem> {
    let refuse = |code, detail: String| Problem::refused(code, detail).field("sha256");
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let mut content = ContentCheck::sha256(length, sha256.0);
    if content.update(body).and_then(|()| content.finish()).is_err() {
        let detail = "The document has another SHA-256 than its path says.";
        return Err(refuse("document_hash_mismatch", detail.to_owned()));
    }
    Parsed::parse(body).map_err(|malformed| {
        refuse("document_malformed", format!("The document is refused: {malformed}."))
    })
}

fn document(product: &Product, sha256: Digest, parsed: &Parsed, body: &[u8], at: u64) -> Document {
    Document {
        product: product.id.clone(),
        sha256,
        format: parsed.format,
        length: u64::try_from(body.len()).unwrap_or(u64::MAX),
        subjects: parsed.subjects.clone(),
        builders: parsed.builders.clone(),
        uploaded_at: at,
    }
}
