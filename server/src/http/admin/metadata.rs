//! `/api/v1/products/{product}/metadata`: signed metadata of an Image repository, stored whole or
//! not at all.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_wire::Digest;
use waxwing_wire::bundle::{Bundle, Frame, Kind};

use super::input::{Author, raw};
use super::{change, products};
use crate::app::App;
use crate::domain::audit::Action;
use crate::domain::{Product, Release};
use crate::http::{Path, Problem};
use crate::publish::{self, Accepted, Files, Known, Refused};
use crate::repositories::image_repository;
use crate::store::images::Image;
use crate::store::{self, Change};

/// What a publication changed.
#[derive(Serialize, ToSchema)]
pub(super) struct Published {
    /// Files that are new or changed; none if everything was there already.
    files: Vec<String>,
    /// Paths of the releases that devices may install from now on.
    listed: Vec<String>,
    /// Paths of the releases that nothing lists any more.
    delisted: Vec<String>,
}

/// Stores the metadata files of a publication, a bundle of kind `i`, after checking them as a device
/// would and by the rules of the server.
#[utoipa::path(post, path = "/api/v1/products/{product}/metadata", operation_id = "publish_metadata", tag = "releases",
    params(("product" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/vnd.waxwing.bundle"),
    responses((status = 200, body = Published), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    author: Author,
    request: Request,
) -> Result<Json<Published>, Problem> {
    products::find(&app, &name)?;
    let body = raw(request, &app).await?;
    let frames = frames(&body)?;
    let (mut change, at) = change::begin(&app).await?;
    // Only now: what the product asks for may have changed while the body came.
    let product = products::find(&app, &name)?;
    let releases = app.fleet.releases(&product.id);
    let stored = stored(&app, &product).await?;
    let images = images(&app, &product).await?;
    let documents = store::documents::of_product(&app.store, &product.id).await?;
    let server_ca = app.pki.server();
    let known = Known {
        product: &product,
        files: &stored,
        images: &images,
        documents: &documents,
        server_ca: server_ca.certificate(),
        releases: &releases,
        now_ms: at,
    };
    let accepted = publish::check(known, &frames).map_err(|refusal| refused(&refusal))?;
    let releases = merge(&releases, &accepted.listed, at);
    let published = summary(&accepted, &releases);
    write(&mut change, &product, &accepted, &releases, at).await?;
    let subject = format!("product/{}/metadata", product.id);
    let detail = json!(published);
    change::record(&mut change, &author, at, (Action::MetadataStored, subject, detail)).await?;
    let turn = change.commit().await?;
    app.fleet.put_releases(&product.id, releases);
    // Pins that stay the same were decided on when they came (D3).
    if let Some(pins) = accepted.pins.filter(|_| accepted.files.contains_key(SERVER_CA_PATH)) {
        app.fleet.put_pins(&product.id, pins);
    }
    serve(&app, &image_repository(&product.id)).await?;
    drop(turn);
    Ok(Json(published))
}

/// Hands out the files of a repository as they are stored now.
pub(super) async fn serve(app: &App, repository: &str) -> Result<(), Problem> {
    let files = store::metadata::all(&app.store, repository).await?;
    app.repositories.put(repository, files).map_err(|error| Problem::internal(&error))
}

fn frames(body: &[u8]) -> Result<Vec<Frame<'_>>, Problem> {
    let malformed = |detail| Problem::bad_request("bundle_malformed", detail);
    let bundle = Bundle::parse(body)
        .map_err(|_| malformed("The body is no metadata bundle. Publish with waxwing-keys."))?;
    let names: BTreeSet<_> = bundle.frames.iter().map(|frame| frame.name).collect();
    if names.len() != bundle.frames.len() {
        return Err(malformed("The bundle names a file twice."));
    }
    if bundle.frames.iter().any(|frame| frame.kind != Kind::Image) {
        return Err(malformed("The bundle holds files of another repository."));
    }
    Ok(bundle.frames)
}

async fn stored(app: &App, product: &Product) -> Result<Files, Problem> {
    let files = store::metadata::all(&app.store, &image_repository(&product.id)).await?;
    Ok(files.into_iter().collect())
}

/// Returns the images of the product whose bytes are here.
async fn images(app: &App, product: &Product) -> Result<HashMap<Digest, Image>, Problem> {
    let images = store::images::of_product(&app.store, &product.id).await?;
    let here = images.into_iter().filter(|image| app.blobs.contains(&image.sha256));
    Ok(here.map(|image| (image.sha256, image)).collect())
}

/// Returns all releases as they are from now on: what is not listed any more is delisted, what does
/// not change keeps its time (D3).
fn merge(known: &[Arc<Release>], listed: &[Release], at: u64) -> Vec<Release> {
    let is = |one: &Release, other: &Release| {
        one.channel == other.channel && one.version == other.version
    };
    let gone = known.iter().filter(|old| !listed.iter().any(|new| is(old, new)));
    let gone = gone.map(|old| {
        let changed_at = if old.listed { at } else { old.changed_at };
        Release { listed: false, changed_at, ..Release::clone(old) }
    });
    let listed = listed.iter().map(|new| {
        let same =
            |old: &&Arc<Release>| Release { changed_at: old.changed_at, ..new.clone() } == ***old;
        known
            .iter()
            .find(same)
            .map_or_else(|| Release { changed_at: at, ..new.clone() }, |old| Release::clone(old))
    });
    gone.chain(listed).collect()
}

fn summary(accepted: &Accepted, releases: &[Release]) -> Published {
    let paths = |listed: bool| {
        let mut paths: Vec<_> =
            releases.iter().filter(|r| r.listed == listed).map(|r| r.path.clone()).collect();
        paths.sort_unstable();
        paths
    };
    let files = accepted.files.keys().cloned().collect();
    Published { files, listed: paths(true), delisted: paths(false) }
}

async fn write(
    change: &mut Change,
    product: &Product,
    accepted: &Accepted,
    releases: &[Release],
    at: u64,
) -> Result<(), Problem> {
    let repository = image_repository(&product.id);
    for (name, bytes) in &accepted.files {
        store::metadata::put(change.connection(), &repository, name, bytes, at).await?;
    }
    for release in releases.iter().filter(|release| release.changed_at == at) {
        store::releases::put(change.connection(), release).await?;
    }
    Ok(store::documents::attach(change.connection(), &product.id, &accepted.attached).await?)
}

fn refused(refused: &Refused) -> Problem {
    let subject = match refused {
        Refused::Unbelievable(refusal) => refusal.subject.clone(),
        Refused::Rule { subject, .. } => subject.clone(),
    };
    let code = match refused {
        Refused::Unbelievable(_) => "metadata_unbelievable",
        Refused::Rule { rule, .. } => rule.code(),
    };
    let text = refused.to_string();
    Problem::refused(code, format!("{text}. Nothing was stored.")).field(subject)
}
