//! `/api/v1/products/{product}/affected`: which devices run a release with a component in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use semver::Version;
use serde::Serialize;
use utoipa::ToSchema;
use waxwing_wire::{Channel, DeviceId};

use super::input::{AffectedQuery, Query, limit};
use super::output::Page;
use super::products;
use crate::app::App;
use crate::domain::document::Versions;
use crate::http::{Path, Problem};
use crate::store;
use crate::store::documents::Contained;

/// A device that runs an affected release.
#[derive(Serialize, ToSchema)]
pub(super) struct Affected {
    /// The device.
    #[schema(value_type = String)]
    device: DeviceId,
    /// The channel of the release that it was last seen running.
    #[schema(value_type = String)]
    channel: Channel,
    /// The version of that release.
    #[schema(value_type = String)]
    release: Version,
    /// The component, as the SBOM of the release names it.
    component: String,
    /// The version of the component.
    component_version: Option<String>,
    /// The package URL of the component.
    purl: Option<String>,
}

/// Returns the devices of a product whose running release contains a component, by name. What a device
/// runs is what it said in its last poll; a release that is listed no more counts as long as it runs.
#[utoipa::path(get, path = "/api/v1/products/{product}/affected", operation_id = "list_affected", tag = "devices",
    params(("product" = String, Path), AffectedQuery),
    responses((status = 200, body = Page<Affected>), (status = 400, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(product): Path<String>,
    Query(query): Query<AffectedQuery>,
) -> Result<Json<Page<Affected>>, Problem> {
    let product = &products::find(&app, &product)?.id;
    let limit = limit(query.limit)?;
    let (name, purl) = (query.name.as_deref(), query.purl.as_deref());
    if name.is_none() && purl.is_none() {
        let detail = "Say which component: `name` or `purl`.";
        return Err(Problem::bad_request("invalid_query", detail).field("name"));
    }
    let versions = versions(query.version.as_deref())?;
    let contained = store::documents::containing(&app.store, product, name, purl).await?;
    let is_meant = |one: &Contained| {
        versions.as_ref().is_none_or(|versions| versions.contain(one.version.as_deref()))
    };
    // One image may be released in several channels, and have a component in both its SBOMs.
    let by_image: BTreeMap<_, _> =
        contained.into_iter().filter(is_meant).map(|one| (one.image, one)).collect();
    let after = query.after.as_deref().unwrap_or_default();
    let mut affected = Vec::new();
    for (image, contained) in &by_image {
        let devices =
            store::documents::running(&app.store, product, image, after, limit + 1).await?;
        affected.extend(devices.into_iter().map(|device| Affected::of(device, contained.clone())));
    }
    affected.sort_by(|one, other| one.device.cmp(&other.device));
    Ok(Json(Page::of(affected, limit, |one: &Affected| one.device.to_string())))
}

impl Affected {
    fn of(device: DeviceId, contained: Contained) -> Self {
        let Contained { channel, release, image: _, name, version, purl } = contained;
        Self { device, channel, release, component: name, component_version: version, purl }
    }
}

fn versions(text: Option<&str>) -> Result<Option<Versions>, Problem> {
    let Some(text) = text else { return Ok(None) };
    Versions::parse(text).map(Some).ok_or_else(|| {
        let detail = "Write versions as `3.6.0` or `>=3.0,<3.6.1`.";
        Problem::bad_request("invalid_query", detail).field("version")
    })
}
