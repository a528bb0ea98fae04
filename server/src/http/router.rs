//! Every route of the server, on one page.
//!
//! Who may use them is decided before: on the device listener by [`super::device::admission`], which
//! every request passes; on the admin listener by its own layer. Not here: what they do.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use super::{Problem, est, ops};
use crate::app::App;

/// The REST API, with Bearer tokens.
pub fn admin(app: Arc<App>) -> Router {
    Router::new().fallback(unknown_route).with_state(app)
}

/// Polls, images and certificate renewal, with a device certificate.
pub fn device(app: Arc<App>) -> Router {
    Router::new()
        .route(
            est::REENROLL_PATH,
            post(est::simplereenroll).layer(DefaultBodyLimit::max(est::BODY_BYTES_MAX)),
        )
        .fallback(unknown_route)
        .with_state(app)
}

/// EST for devices that have no certificate yet (D12).
pub fn enrol(app: Arc<App>) -> Router {
    Router::new()
        .route("/.well-known/est/cacerts", get(est::cacerts))
        .route("/.well-known/est/simpleenroll", post(est::simpleenroll))
        .layer(DefaultBodyLimit::max(est::BODY_BYTES_MAX))
        .fallback(unknown_route)
        .with_state(app)
}

/// Health and metrics, in plain HTTP.
pub fn ops(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
        .fallback(unknown_route)
        .with_state(app)
}

async fn unknown_route() -> Problem {
    Problem::not_found("unknown_route", "There is no such path on this listener.")
}
