//! Every route of the server, on one page.
//!
//! Who may use them is decided before: on the device listener by [`super::device::admission`], which
//! every request passes; on the admin listener by its own layer. Not here: what they do.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::device::{images, poll, tuf};
use super::{Problem, admin, est, ops};
use crate::app::App;

/// The REST API, with Bearer tokens.
pub fn admin(app: Arc<App>) -> Router {
    admin::router(app)
}

/// Polls, images and certificate renewal, with a device certificate.
pub fn device(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/poll", post(poll::poll))
        .route("/v1/images/{sha256}", get(images::image))
        .route("/tuf/image/{product}/metadata/{name}", get(tuf::image_metadata))
        .route("/tuf/image/{product}/targets/{*path}", get(tuf::image_target))
        .route("/tuf/director/{device}/metadata/{name}", get(tuf::director_metadata))
        .route(
            est::REENROLL_PATH,
            post(est::simplereenroll)
                .layer(DefaultBodyLimit::max(est::BODY_BYTES_MAX))
                .layer(from_fn(to_the_end)),
        )
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

/// EST for devices that have no certificate yet (D12).
pub fn enrol(app: Arc<App>) -> Router {
    Router::new()
        .route("/.well-known/est/cacerts", get(est::cacerts))
        .route("/.well-known/est/simpleenroll", post(est::simpleenroll))
        .layer(DefaultBodyLimit::max(est::BODY_BYTES_MAX))
        .layer(from_fn(to_the_end))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

/// Health and metrics, in plain HTTP.
pub fn ops(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

/// Finishes what was begun even if the client hangs up: otherwise a change could be in the database
/// and not in memory, and a device could hold a certificate that nobody knows.
pub(super) async fn to_the_end(request: Request, next: Next) -> Response {
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => Problem::internal(&error).into_response(),
    }
}

/// Answers a path that does not exist.
pub(super) async fn unknown_route() -> Problem {
    Problem::not_found("unknown_route", "There is no such path on this listener.")
}

/// Answers a path that exists, for another method.
pub(super) async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        "This path is not for that method. The field Allow names those it is for.",
    )
}
