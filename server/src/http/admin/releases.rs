//! `/api/v1/products/{product}/releases`: what the signed roles list, or once listed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use semver::Version;
use serde::Serialize;
use utoipa::ToSchema;
use waxwing_wire::{Channel, Digest};

use super::input::{PageQuery, Query};
use super::output::{Page, time};
use super::products;
use crate::app::App;
use crate::domain::Release;
use crate::http::{Path, Problem};

/// A release.
#[derive(Serialize, ToSchema)]
#[schema(as = Release)]
pub(super) struct ReleaseView {
    /// The channel whose role lists it.
    #[schema(value_type = String)]
    channel: Channel,
    /// Its version.
    #[schema(value_type = String, example = "1.4.2")]
    version: Version,
    /// Anti-rollback epoch.
    security_version: u32,
    /// Anti-rollback version of the image, compared with the chip's eFuses.
    secure_version: u32,
    /// The chip it runs on.
    chip: String,
    /// Its path in the Image repository.
    path: String,
    /// Length of the image in bytes.
    length: u64,
    /// Hash of the image.
    #[schema(value_type = String)]
    sha256: Digest,
    /// How many of a thousand devices may install it at most, as signed; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling_permille: Option<u16>,
    /// Whether devices may still install it.
    listed: bool,
    /// When it was listed or delisted, as RFC 3339.
    changed_at: String,
}

impl From<&Release> for ReleaseView {
    fn from(release: &Release) -> Self {
        Self {
            channel: release.channel.clone(),
            version: release.version.clone(),
            security_version: release.r#match.security_version,
            secure_version: release.r#match.secure_version,
            chip: release.r#match.chip.clone(),
            path: release.path.clone(),
            length: release.length,
            sha256: release.sha256,
            ceiling_permille: release.ceiling_permille,
            listed: release.listed,
            changed_at: time(release.changed_at),
        }
    }
}

/// Returns the releases of a product, by path.
#[utoipa::path(get, path = "/api/v1/products/{product}/releases", operation_id = "list_releases", tag = "releases",
    params(("product" = String, Path), PageQuery),
    responses((status = 200, body = Page<ReleaseView>), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(product): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<ReleaseView>>, Problem> {
    let limit = page.limit()?;
    let mut releases = app.fleet.releases(&products::find(&app, &product)?.id);
    releases.retain(|release| release.path.as_str() > page.after());
    releases.sort_by(|one, other| one.path.cmp(&other.path));
    let views = releases.iter().map(|release| ReleaseView::from(&**release)).collect();
    Ok(Json(Page::of(views, limit, |release: &ReleaseView| release.path.clone())))
}
