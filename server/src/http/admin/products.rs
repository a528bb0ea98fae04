//! `/api/v1/products`: kinds of devices.

pub(super) mod commands;
pub(super) mod documents;
pub(super) mod secure_boot;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use waxwing_esp_image::Chip;
use waxwing_esp_image::app::IMAGE_BYTES_MAX;
use waxwing_tuf::Limits;
use waxwing_tuf::author::release::channel_of_docs;
use waxwing_tuf::verify::verify_trusted_root;
use waxwing_wire::{Channel, Hardware, ProductId};

use self::secure_boot::SecureBoot;
use super::input::{Author, Body, PageQuery, Query, name};
use super::output::{Page, time};
use super::{change, metadata};
use crate::app::App;
use crate::domain::Product;
use crate::domain::audit::Action;
use crate::domain::document::Required;
use crate::domain::product::{ProjectRule, VersionRule};
use crate::http::{Path, Problem};
use crate::repositories::image_repository;
use crate::store;

/// Most channels: as many delegated roles as a device follows.
const CHANNELS_MAX: usize = 8;

/// Most hardware revisions: they are listed in every release.
const HARDWARE_MAX: usize = 16;

/// A flash sector: slots are whole numbers of them.
const SECTOR_BYTES: u32 = waxwing_esp_image::SECTOR_BYTES;

/// A product to make, as its reviewed definition says.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewProduct {
    /// Its name.
    #[schema(value_type = String, example = "acme-th1")]
    id: ProductId,
    /// The chip of every device.
    #[schema(value_type = String, example = "esp32c3")]
    chip: Chip,
    /// Hardware revisions in the field.
    #[schema(value_type = Vec<String>, example = json!(["r1", "r2"]))]
    hardware: Vec<Hardware>,
    /// Channels that releases come through.
    #[schema(value_type = Vec<String>, example = json!(["stable", "beta"]))]
    channels: Vec<Channel>,
    /// Size of the smallest OTA slot in bytes.
    #[schema(example = 1_835_008)]
    slot_bytes: u32,
    /// Whether an image must carry the version of its release.
    #[serde(default = "match_version")]
    image_version: VersionRule,
    /// The project that an image must name, or `ignore`.
    #[schema(example = "th1-firmware")]
    image_project: String,
    /// Its Secure Boot keys; by default none is required.
    #[serde(default)]
    secure_boot: SecureBoot,
    /// Documents that every release of a channel must come with: `sbom`, `provenance`.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Vec<String>>, example = json!({"stable": ["sbom"]}))]
    required_documents: Required,
    /// Who may have built a release, by the builder ids in SLSA provenance; by default anybody.
    #[serde(default)]
    #[schema(example = json!(["https://ci.example/runner"]))]
    builders: Vec<String>,
    /// The first root of the Image repository, from the ceremony: `1.root.json` as base64.
    image_root: String,
}

const fn match_version() -> VersionRule {
    VersionRule::Match
}

/// A product.
#[derive(Serialize, ToSchema)]
#[schema(as = Product)]
pub(super) struct ProductView {
    /// Its name.
    #[schema(value_type = String)]
    id: ProductId,
    /// The chip of every device.
    #[schema(value_type = String)]
    chip: Chip,
    /// Hardware revisions in the field.
    #[schema(value_type = Vec<String>)]
    hardware: Vec<Hardware>,
    /// Channels that releases come through.
    #[schema(value_type = Vec<String>)]
    channels: Vec<Channel>,
    /// Size of the smallest OTA slot in bytes.
    slot_bytes: u32,
    /// Whether an image must carry the version of its release.
    image_version: VersionRule,
    /// The project that an image must name, or `ignore`.
    image_project: String,
    /// Its Secure Boot keys.
    secure_boot: SecureBoot,
    /// Documents that every release of a channel must come with.
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    required_documents: Required,
    /// Who may have built a release, by the builder ids in SLSA provenance; anybody if empty.
    builders: Vec<String>,
    /// When it was made, as RFC 3339.
    created_at: String,
}

impl From<&Product> for ProductView {
    fn from(product: &Product) -> Self {
        Self {
            id: product.id.clone(),
            chip: product.chip,
            hardware: product.hardware.clone(),
            channels: product.channels.clone(),
            slot_bytes: product.slot_bytes,
            image_version: product.image_version,
            image_project: product.image_project.as_str().to_owned(),
            secure_boot: SecureBoot::from(&product.secure_boot),
            required_documents: product.required_documents.clone(),
            builders: product.builders.clone(),
            created_at: time(product.created_at),
        }
    }
}

/// Returns all products, by name.
#[utoipa::path(get, path = "/api/v1/products", operation_id = "list_products", tag = "products", params(PageQuery),
    responses((status = 200, body = Page<ProductView>), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<ProductView>>, Problem> {
    let limit = page.limit()?;
    let products = store::products::page(&app.store, page.after(), limit + 1).await?;
    let products = products.iter().map(ProductView::from).collect();
    Ok(Json(Page::of(products, limit, |product: &ProductView| product.id.to_string())))
}

/// Returns a product.
#[utoipa::path(get, path = "/api/v1/products/{product}", operation_id = "show_product", tag = "products",
    params(("product" = String, Path)),
    responses((status = 200, body = ProductView), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(product): Path<String>,
) -> Result<Json<ProductView>, Problem> {
    Ok(Json(ProductView::from(&*find(&app, &product)?)))
}

/// Makes a product, with the first root of its Image repository.
#[utoipa::path(post, path = "/api/v1/products", operation_id = "create_product", tag = "products", request_body = NewProduct,
    responses((status = 201, body = ProductView), (status = 400, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    author: Author,
    Body(new): Body<NewProduct>,
) -> Result<(StatusCode, Json<ProductView>), Problem> {
    let root = STANDARD.decode(&new.image_root).map_err(|_| bad_root("is not base64"))?;
    check(&new)?;
    check_root(&new.id, &root, app.clock.now_ms())?;
    let (mut change, at) = change::begin(&app).await?;
    if app.fleet.product(&new.id).is_some() {
        let detail = format!("There is a product {} already. Choose another id.", new.id);
        return Err(Problem::conflict("product_exists", detail).field("id"));
    }
    let product = product(new, at)?;
    let repository = image_repository(&product.id);
    store::products::add(change.connection(), &product).await?;
    store::metadata::put(change.connection(), &repository, "1.root.json", &root, at).await?;
    let subject = format!("product/{}", product.id);
    change::record(&mut change, &author, at, (Action::ProductCreated, subject, json!({}))).await?;
    let turn = change.commit().await?;
    let view = ProductView::from(&product);
    app.fleet.put_product(product);
    metadata::serve(&app, &repository).await?;
    drop(turn);
    Ok((StatusCode::CREATED, Json(view)))
}

/// Returns a product by its name in a path.
pub(super) fn find(app: &App, product: &str) -> Result<Arc<Product>, Problem> {
    app.fleet.product(&name(product, unknown)?).ok_or_else(unknown)
}

/// What to do when there is no such product.
pub(super) const NEXT_STEP: &str = "There is no such product. `GET /api/v1/products` lists them.";

fn unknown() -> Problem {
    Problem::not_found("unknown_product", NEXT_STEP)
}

fn product(new: NewProduct, created_at: u64) -> Result<Product, Problem> {
    Ok(Product {
        id: new.id,
        chip: new.chip,
        hardware: new.hardware,
        channels: new.channels,
        slot_bytes: new.slot_bytes,
        image_version: new.image_version,
        image_project: ProjectRule::parse(&new.image_project),
        secure_boot: new.secure_boot.policy()?,
        required_documents: new.required_documents,
        builders: new.builders,
        created_at,
    })
}

fn check(new: &NewProduct) -> Result<(), Problem> {
    let refuse =
        |field, detail: String| Err(Problem::refused("invalid_product", detail).field(field));
    if new.hardware.is_empty() || new.hardware.len() > HARDWARE_MAX {
        return refuse("hardware", format!("Name 1 to {HARDWARE_MAX} hardware revisions."));
    }
    if new.channels.is_empty() || new.channels.len() > CHANNELS_MAX {
        return refuse("channels", format!("Name 1 to {CHANNELS_MAX} channels."));
    }
    if new.channels.iter().any(|channel| channel_of_docs(channel.as_str()).is_some()) {
        let detail = "A channel may not end with -docs: so are roles of documents called.";
        return refuse("channels", detail.to_owned());
    }
    documents::check(&new.channels, &new.required_documents, &new.builders)?;
    let whole_sectors = new.slot_bytes.is_multiple_of(SECTOR_BYTES);
    if new.slot_bytes == 0 || !whole_sectors || new.slot_bytes > IMAGE_BYTES_MAX {
        let detail = format!("A slot is a multiple of {SECTOR_BYTES}, at most {IMAGE_BYTES_MAX}.");
        return refuse("slot_bytes", detail);
    }
    if new.image_project.is_empty() {
        return refuse("image_project", "Name a project, or `ignore`.".to_owned());
    }
    Ok(())
}

/// The root that devices have from the factory must verify as theirs will.
fn check_root(product: &ProductId, root: &[u8], now_ms: u64) -> Result<(), Problem> {
    if root.len() > Limits::DEVICE_IMAGE.root_bytes_max {
        return Err(bad_root("is larger than devices read"));
    }
    let verified = verify_trusted_root(root, Some(&image_repository(product)))
        .map_err(|cause| bad_root(&format!("does not verify: {}", cause.code_name())))?;
    if verified.header.version != 1 {
        return Err(bad_root("is not version 1; later ones come with the metadata"));
    }
    if !verified.consistent_snapshot {
        return Err(bad_root("does not ask for consistent snapshots"));
    }
    if verified.header.expires.as_millis() <= now_ms {
        return Err(bad_root("has expired"));
    }
    Ok(())
}

fn bad_root(why: &str) -> Problem {
    let detail = format!("The root {why}. Send the 1.root.json of this product's ceremony.");
    Problem::refused("invalid_root", detail).field("image_root")
}
