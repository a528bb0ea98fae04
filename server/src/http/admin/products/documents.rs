//! `/api/v1/products/{product}/required-documents`: what releases must come with, and who may have
//! built them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use waxwing_documents::FIELD_BYTES_MAX;
use waxwing_wire::Channel;

use super::super::change;
use super::super::input::{Author, Body};
use super::{ProductView, find};
use crate::app::App;
use crate::domain::Product;
use crate::domain::audit::Action;
use crate::domain::document::Required;
use crate::http::{Path, Problem};
use crate::store;

/// Most builders of a product: machines of a few generations.
const BUILDERS_MAX: usize = 16;

/// The documents that every release of a channel must come with, and who may have built it.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct RequiredDocuments {
    /// Documents that every release of a channel must come with: `sbom`, `provenance`.
    #[schema(value_type = BTreeMap<String, Vec<String>>, example = json!({"stable": ["sbom"]}))]
    required_documents: Required,
    /// Who may have built a release, by the builder ids in SLSA provenance; anybody if empty.
    #[serde(default)]
    builders: Vec<String>,
}

/// Replaces what releases of a product must come with. Releases that are listed already are judged
/// anew with the next publication.
#[utoipa::path(put, path = "/api/v1/products/{product}/required-documents", operation_id = "set_required_documents", tag = "products",
    params(("product" = String, Path)), request_body = RequiredDocuments,
    responses((status = 200, body = ProductView), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(in super::super) async fn set(
    State(app): State<Arc<App>>,
    Path(product): Path<String>,
    author: Author,
    Body(new): Body<RequiredDocuments>,
) -> Result<Json<ProductView>, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let product = find(&app, &product)?;
    check(&product.channels, &new.required_documents, &new.builders)?;
    let detail = json!(new);
    let RequiredDocuments { required_documents, builders } = new;
    let product = Product { required_documents, builders, ..Product::clone(&product) };
    store::products::set_documents(change.connection(), &product).await?;
    let line = (Action::RequiredDocumentsChanged, format!("product/{}", product.id), detail);
    change::record(&mut change, &author, at, line).await?;
    let turn = change.commit().await?;
    let view = ProductView::from(&product);
    app.fleet.put_product(product);
    drop(turn);
    Ok(Json(view))
}

/// Refuses what no release could meet.
pub(super) fn check(
    channels: &[Channel],
    required: &Required,
    builders: &[String],
) -> Result<(), Problem> {
    let refuse = |field, detail| Err(Problem::refused("invalid_product", detail).field(field));
    if required.keys().any(|channel| !channels.contains(channel)) {
        let detail = "Documents are required for a channel that the product does not have.";
        return refuse("required_documents", detail.to_owned());
    }
    let is_id = |id: &String| !id.is_empty() && id.len() <= FIELD_BYTES_MAX;
    if builders.len() > BUILDERS_MAX || !builders.iter().all(is_id) {
        let detail = format!("Name {BUILDERS_MAX} builders at most, by their ids in provenance.");
        return refuse("builders", detail);
    }
    Ok(())
}
