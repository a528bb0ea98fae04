//! `/api/v1/director`: the Director's key, and the root that tells devices to believe it (D6).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use waxwing_tuf::author::PublicKeyFile;
use waxwing_tuf::key::PublicKey;
use waxwing_tuf::role::{Root, Signers};
use waxwing_tuf::verify::{verify_next_root, verify_trusted_root};
use waxwing_tuf::{Cause, Limits, Verified};

use super::input::{Author, name, raw};
use super::output::time;
use super::{change, metadata};
use crate::app::App;
use crate::domain::audit::Action;
use crate::http::{Path, Problem};
use crate::store;
use crate::store::metadata::DIRECTOR;

/// The Director.
#[derive(Serialize, ToSchema)]
#[schema(as = Director)]
pub(super) struct DirectorView {
    /// The public half of the online key, as a public key file: what `waxwing-keys root init` takes.
    #[schema(value_type = Object)]
    public_key: PublicKeyFile,
    /// The root that devices get; `null` until one is imported, and no device is answered before.
    root: Option<RootView>,
}

/// A root.
#[derive(Serialize, ToSchema)]
#[schema(as = Root)]
pub(super) struct RootView {
    /// Its version.
    version: u64,
    /// When it expires, as RFC 3339.
    expires: String,
}

/// Returns the Director's key and root.
#[utoipa::path(get, path = "/api/v1/director", operation_id = "show_director", tag = "director",
    responses((status = 200, body = DirectorView)))]
pub(super) async fn show(State(app): State<Arc<App>>) -> Result<Json<DirectorView>, Problem> {
    let roots = roots(&app).await?;
    let root = roots.last().map(|bytes| verify_trusted_root(bytes, Some(DIRECTOR)));
    let root = root.transpose().map_err(unbelievable)?;
    Ok(Json(view(app.director.public(), root.as_ref())))
}

/// Returns a root as it was imported: each version, for those who follow them from one they trust.
#[utoipa::path(get, path = "/api/v1/director/roots/{version}", operation_id = "show_director_root", tag = "director",
    params(("version" = u64, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/json"), (status = 404, body = Problem)))]
pub(super) async fn root(
    State(app): State<Arc<App>>,
    Path(version): Path<String>,
) -> Result<Response, Problem> {
    let unknown = || {
        let detail = "There is no such root. `GET /api/v1/director` says which is the last.";
        Problem::not_found("unknown_root", detail)
    };
    let files = app.repositories.director().ok_or_else(unknown)?;
    let version: u64 = name(&version, unknown)?;
    let bytes = files.get(&format!("{version}.root.json")).cloned().ok_or_else(unknown)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}

/// Imports the Director's root: the first one, or the next. It must name the server's key.
#[utoipa::path(put, path = "/api/v1/director/root", operation_id = "import_director_root", tag = "director",
    request_body(content = Vec<u8>, content_type = "application/json"),
    responses((status = 200, body = DirectorView), (status = 422, body = Problem)))]
pub(super) async fn import_root(
    State(app): State<Arc<App>>,
    author: Author,
    request: Request,
) -> Result<Json<DirectorView>, Problem> {
    let bytes = raw(request, &app).await?;
    if bytes.len() > Limits::DEVICE_DIRECTOR.root_bytes_max {
        return Err(unbelievable(Cause::TooLong));
    }
    let (mut change, at) = change::begin(&app).await?;
    let roots = roots(&app).await?;
    let root = verify(&roots, &bytes)?;
    check(&app, &root, at)?;
    let answer = Json(view(app.director.public(), Some(&root)));
    if roots.last().is_some_and(|last| *last == bytes) {
        return Ok(answer);
    }
    let file = format!("{}.root.json", root.header.version);
    store::metadata::put(change.connection(), DIRECTOR, &file, &bytes, at).await?;
    let detail = json!({ "version": root.header.version });
    let line = (Action::DirectorRootImported, "director/root".to_owned(), detail);
    change::record(&mut change, &author, at, line).await?;
    let turn = change.commit().await?;
    metadata::serve(&app, DIRECTOR).await?;
    drop(turn);
    Ok(answer)
}

/// Returns the stored roots, oldest first.
async fn roots(app: &App) -> Result<Vec<Vec<u8>>, Problem> {
    let files = store::metadata::all(&app.store, DIRECTOR).await?;
    let version = |name: &str| name.strip_suffix(".root.json")?.parse::<u64>().ok();
    let mut roots: Vec<_> =
        files.into_iter().filter_map(|(name, bytes)| Some((version(&name)?, bytes))).collect();
    roots.sort_unstable();
    Ok(roots.into_iter().map(|(_, bytes)| bytes).collect())
}

/// Checks a root as devices will: the first one by itself, each later one by the one before it. The
/// last one may be sent again.
fn verify(roots: &[Vec<u8>], bytes: &[u8]) -> Result<Verified<Root>, Problem> {
    match roots.last() {
        None => verify_trusted_root(bytes, Some(DIRECTOR)).map_err(unbelievable),
        Some(last) if last == bytes => {
            verify_trusted_root(bytes, Some(DIRECTOR)).map_err(unbelievable)
        }
        Some(last) => {
            let last = verify_trusted_root(last, Some(DIRECTOR)).map_err(unbelievable)?;
            verify_next_root(bytes, &last, Some(DIRECTOR)).map_err(unbelievable)
        }
    }
}

/// Checks that devices with this root will believe this server.
fn check(app: &App, root: &Root, now_ms: u64) -> Result<(), Problem> {
    if !root.consistent_snapshot {
        let detail = "The root must ask for consistent snapshots. Make it with waxwing-keys.";
        return Err(Problem::refused("invalid_root", detail));
    }
    if root.header.expires.as_millis() <= now_ms {
        return Err(Problem::refused("invalid_root", "The root has expired. Sign a new one."));
    }
    let roles =
        [("timestamp", &root.timestamp), ("snapshot", &root.snapshot), ("targets", &root.targets)];
    let lacking = roles.into_iter().find(|(_, signers)| !can_sign(signers, app.director.public()));
    match lacking {
        None => Ok(()),
        Some((role, _)) => Err(Problem::refused(
            "director_key_missing",
            format!(
                "The root does not let this server's key sign {role} alone. Put the key that \
                 `GET /api/v1/director` shows into the ceremony, with threshold 1.",
            ),
        )
        .field(role)),
    }
}

fn can_sign(signers: &Signers, key: &PublicKey) -> bool {
    signers.threshold() == 1 && signers.keys().any(|(_, listed)| listed == key)
}

fn view(key: &PublicKey, root: Option<&Verified<Root>>) -> DirectorView {
    let root = root.map(|root| RootView {
        version: root.header.version,
        expires: time(root.header.expires.as_millis()),
    });
    let public_key = PublicKeyFile::new(key, "director");
    DirectorView { public_key, root }
}

fn unbelievable(cause: Cause) -> Problem {
    let detail = format!(
        "A device would refuse the root: {}. Send the root that follows the one imported last.",
        cause.code_name(),
    );
    Problem::refused("metadata_unbelievable", detail).field("root.json")
}
