//! Every route of the server, on one page.
//!
//! Who may use them is decided before: on the device listener by [`super::device::admission`], which
//! every request passes; on the admin listener by its own layer. Not here: what they do.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};

use super::device::{gateway, images, poll, tuf};
use super::{Problem, admin, est, ops};
use crate::app::App;
use crate::config::CRL_FOLDER;

/// The REST API, with Bearer tokens.
pub fn admin(app: Arc<App>) -> Router {
    admin::router(app)
}

/// A path and what answers it.
pub type Route = (&'static str, fn() -> MethodRouter<Arc<App>>);

/// Every route of the device listener. A list, so that the test that tries each of them with the
/// certificate of another device learns of a new one.
pub const DEVICE: [Route; 9] = [
    ("/v1/poll", || post(poll::poll)),
    ("/v1/images/{sha256}", || get(images::image)),
    (gateway::MESSAGES_PATH, || post(gateway::messages)),
    (gateway::POLL_PATH, || post(gateway::poll)),
    (gateway::IMAGE_ROUTE, || get(gateway::image)),
    ("/tuf/image/{product}/metadata/{name}", || get(tuf::image_metadata)),
    ("/tuf/image/{product}/targets/{*path}", || get(tuf::image_target)),
    ("/tuf/director/{device}/metadata/{name}", || get(tuf::director_metadata)),
    (est::REENROLL_PATH, || post(est::simplereenroll)),
];

/// Polls, images and certificate renewal, with a device certificate.
pub fn device(app: Arc<App>) -> Router {
    DEVICE
        .iter()
        .fold(Router::new(), |router, (path, route)| router.route(path, route()))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

/// EST for devices that have no certificate yet (D12).
pub fn enrol(app: Arc<App>) -> Router {
    Router::new()
        .route("/.well-known/est/cacerts", get(est::cacerts))
        .route("/.well-known/est/simpleenroll", post(est::simpleenroll))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

/// The list of revoked device certificates, in plain HTTP.
pub fn crl(app: Arc<App>) -> Router {
    Router::new()
        .route(&format!("{CRL_FOLDER}{{name}}"), get(ops::crl))
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

/// Finishes what was begun even if the client hangs up.
pub(super) async fn to_the_end(request: Request, next: Next) -> Response {
    let answered = super::to_the_end(async { Ok(next.run(request).await) }).await;
    answered.unwrap_or_else(Problem::into_response)
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
