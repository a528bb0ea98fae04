//! `/api/v1/expiries` and `/api/v1/readiness`: what needs somebody's attention.
//!
//! Not here: the same for machines ([`crate::http::ops`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::output::time;
use crate::app::App;
use crate::domain::expiry::Level;
use crate::expiries::{self, Devices};
use crate::http::Problem;
use crate::readiness::Readiness;

/// Everything that ends.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Expiries {
    /// Metadata of every role, and certificates, by name.
    items: Vec<Item>,
    /// How many devices have a certificate that ends so soon.
    #[schema(value_type = BTreeMap<String, u64>)]
    device_certificates: BTreeMap<&'static str, u64>,
}

/// Something that ends.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Expiry)]
pub(super) struct Item {
    /// What: `image/<product>/<role>`, `director/root`, `certificate/<name>`, `pins/<product>/<number>` or
    /// `crl/<name>`.
    #[schema(example = "image/th1/targets")]
    subject: String,
    /// When, as RFC 3339.
    expires: String,
    /// How long that is from now; negative once it has ended.
    seconds_left: i64,
    /// How urgent that is: `notice` at 30 days, `warning` at 14, `critical` at 7.
    level: Level,
}

/// Returns everything that ends, and how urgent that is.
#[utoipa::path(get, path = "/api/v1/expiries", operation_id = "list_expiries", tag = "health",
    responses((status = 200, body = Expiries)))]
pub(super) async fn expiries(State(app): State<Arc<App>>) -> Result<Json<Expiries>, Problem> {
    let now_ms = app.clock.now_ms();
    let items = expiries::all(&app).into_iter().map(|expiry| Item {
        expires: time(expiry.ends_ms),
        seconds_left: expiry.seconds_left(now_ms),
        level: expiry.level(now_ms),
        subject: expiry.subject,
    });
    let devices = Devices::count(&app.store, now_ms).await?;
    let device_certificates = devices.iter().map(|(level, n)| (level.as_str(), n)).collect();
    Ok(Json(Expiries { items: items.collect(), device_certificates }))
}

/// Returns whether devices can be served, as `/readyz` does for machines.
#[utoipa::path(get, path = "/api/v1/readiness", operation_id = "show_readiness", tag = "health",
    responses((status = 200, body = Readiness)))]
pub(super) async fn readiness(State(app): State<Arc<App>>) -> Json<Readiness> {
    Json(Readiness::of(&app).await)
}
