//! `/api/v1/products/{product}/secure-boot`: the Secure Boot keys of a product.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use waxwing_secure_boot::Policy;
use waxwing_wire::Digest;

use super::super::change;
use super::super::input::{Author, Body};
use super::{ProductView, find};
use crate::app::App;
use crate::domain::Product;
use crate::domain::audit::Action;
use crate::http::{Path, Problem};
use crate::store;

/// The Secure Boot v2 keys of a product. A digest is what the eFuses hold: `espsecure
/// digest-sbv2-public-key`, in hexadecimal.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct SecureBoot {
    /// Whether an image must be signed by a registered key.
    required: bool,
    /// The keys that devices accept.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    key_digests: Vec<Digest>,
    /// Keys that devices were told to revoke; a signature of theirs counts for nothing.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    revoked_key_digests: Vec<Digest>,
}

impl SecureBoot {
    /// Checks that it can be met.
    pub(super) fn policy(self) -> Result<Policy, Problem> {
        let Self { required, key_digests, revoked_key_digests } = self;
        let policy = Policy { required, key_digests, revoked_key_digests };
        let refused = |fault| Problem::refused("invalid_product", format!("Here, {fault}."));
        policy.check().map_err(|fault| refused(fault).field("secure_boot"))?;
        Ok(policy)
    }
}

impl From<&Policy> for SecureBoot {
    fn from(policy: &Policy) -> Self {
        let Policy { required, key_digests, revoked_key_digests } = policy.clone();
        Self { required, key_digests, revoked_key_digests }
    }
}

/// Replaces the Secure Boot keys of a product. Images that are here already are judged anew when
/// metadata lists them.
#[utoipa::path(put, path = "/api/v1/products/{product}/secure-boot", operation_id = "set_secure_boot", tag = "products",
    params(("product" = String, Path)), request_body = SecureBoot,
    responses((status = 200, body = ProductView), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(in super::super) async fn set(
    State(app): State<Arc<App>>,
    Path(product): Path<String>,
    author: Author,
    Body(keys): Body<SecureBoot>,
) -> Result<Json<ProductView>, Problem> {
    let secure_boot = keys.policy()?;
    let (mut change, at) = change::begin(&app).await?;
    let product = Product { secure_boot, ..Product::clone(&*find(&app, &product)?) };
    store::products::set_secure_boot(change.connection(), &product).await?;
    let subject = format!("product/{}", product.id);
    let detail = json!(SecureBoot::from(&product.secure_boot));
    change::record(&mut change, &author, at, (Action::SecureBootChanged, subject, detail)).await?;
    let turn = change.commit().await?;
    let view = ProductView::from(&product);
    app.fleet.put_product(product);
    drop(turn);
    Ok(Json(view))
}
