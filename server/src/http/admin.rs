//! The REST API for operators and tools: `/api/v1`.
//!
//! Handlers are thin: read the request, ask the domain, change the database with a line in the audit
//! log in the same transaction, bring the fleet up to date, answer. The OpenAPI document is made
//! from the same routes. Not here: rules.

mod affected;
mod alerts;
mod audit;
mod auth;
mod change;
mod checkpoints;
mod devices;
mod director;
mod documents;
mod groups;
mod health;
mod images;
mod input;
mod mail;
mod metadata;
mod openapi;
mod operators;
mod output;
mod precondition;
mod products;
mod releases;
mod rollouts;
mod sinks;
mod webhooks;
mod words;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::auth::{new_token, token_sha256};
use super::router::{to_the_end, unknown_route, wrong_method};
use crate::app::App;

/// Largest JSON body in bytes: a group that lists some ten thousand devices.
pub const JSON_BYTES_MAX: usize = 1024 * 1024;

/// Returns the REST API. Every route asks for a token.
pub fn router(app: Arc<App>) -> Router {
    let (router, document) = routes().split_for_parts();
    let document = Arc::new(document);
    let openapi = move || async move { Json(OpenApi::clone(&document)) };
    router
        .route("/api/v1/openapi.json", get(openapi))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX))
        .layer(from_fn(to_the_end))
        .layer(from_fn_with_state(Arc::clone(&app), auth::require_token))
        .with_state(app)
}

/// Returns the OpenAPI document.
pub fn document() -> OpenApi {
    routes().split_for_parts().1
}

fn routes() -> OpenApiRouter<Arc<App>> {
    device_routes(OpenApiRouter::with_openapi(openapi::info()))
        .routes(routes!(products::list, products::create))
        .routes(routes!(products::show))
        .routes(routes!(products::secure_boot::set))
        .routes(routes!(products::documents::set))
        .routes(routes!(products::commands::list))
        .routes(routes!(products::commands::set, products::commands::remove))
        .routes(routes!(images::put))
        .routes(routes!(documents::put, documents::get))
        .routes(routes!(affected::list))
        .routes(routes!(metadata::publish))
        .routes(routes!(releases::list))
        .routes(routes!(director::show))
        .routes(routes!(director::import_root))
        .routes(routes!(director::root))
        .routes(routes!(operators::list, operators::add))
        .routes(routes!(operators::remove))
        .routes(routes!(operators::replace_token))
        .routes(routes!(operators::certificates::list, operators::certificates::sign))
        .routes(routes!(operators::certificates::revoke))
        .routes(routes!(groups::list, groups::create))
        .routes(routes!(groups::preview, groups::preview_long))
        .routes(routes!(groups::show, groups::edit))
        .routes(routes!(rollouts::list, rollouts::create))
        .routes(routes!(rollouts::show))
        .routes(routes!(rollouts::start))
        .routes(routes!(rollouts::pause))
        .routes(routes!(rollouts::resume))
        .routes(routes!(rollouts::cancel))
        .routes(routes!(rollouts::approve))
        .routes(routes!(rollouts::extend))
        .routes(routes!(rollouts::way_back))
        .routes(routes!(rollouts::dry_run))
        .routes(routes!(rollouts::deployments))
        .routes(routes!(rollouts::recount))
        .routes(routes!(sinks::list))
        .routes(routes!(sinks::dead_letters, sinks::discard_all))
        .routes(routes!(sinks::replay_all))
        .routes(routes!(sinks::discard_one))
        .routes(routes!(sinks::replay_one))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::remove))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::redeliver))
        .merge(alerts::routes())
        .routes(routes!(audit::list))
        .routes(routes!(checkpoints::rows))
        .routes(routes!(checkpoints::list, checkpoints::sign))
        .routes(routes!(checkpoints::last))
        .routes(routes!(health::expiries))
        .routes(routes!(health::readiness))
}

fn device_routes(router: OpenApiRouter<Arc<App>>) -> OpenApiRouter<Arc<App>> {
    router
        .routes(routes!(devices::list, devices::create))
        .routes(routes!(devices::show))
        .routes(routes!(devices::standing))
        .routes(routes!(devices::tag))
        .routes(routes!(devices::set_tag, devices::remove_tag))
        .routes(routes!(devices::describe))
        .routes(routes!(devices::set_attribute, devices::remove_attribute))
        .routes(routes!(devices::label))
        .routes(routes!(devices::create_token))
        .routes(routes!(devices::revoke))
        .routes(routes!(devices::commands::list, devices::commands::send))
        .routes(routes!(devices::commands::show, devices::commands::cancel))
        .routes(routes!(devices::messages))
        .routes(routes!(devices::telemetry))
        .routes(routes!(devices::certificate))
        .routes(routes!(devices::set_secret, devices::remove_secret))
        .routes(routes!(devices::gateways::list))
        .routes(routes!(devices::gateways::set, devices::gateways::remove))
        .routes(routes!(devices::readers::list))
        .routes(routes!(devices::readers::set, devices::readers::remove))
}
