//! Who asks: the Bearer token of an operator.
//!
//! A token has 256 random bits; the database knows its SHA-256 only. Not here: roles. Every operator
//! may do everything.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use waxwing_wire::Digest;

use crate::app::App;
use crate::http::Problem;
use crate::metrics::Name;
use crate::random::{self, Random};
use crate::store::operators;

/// What an admin token begins with, so that scanners for leaked secrets know it.
const TOKEN_PREFIX: &str = "wxa_";

/// The operator who asks. Handlers take it from the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    /// The name of the token.
    pub(super) name: String,
}

/// Lets a request through if it carries a token that is known.
pub(super) async fn require_token(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    match operator(&app, request.headers()).await {
        Ok(operator) => {
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        Err(problem) => {
            if problem.status() == StatusCode::UNAUTHORIZED {
                app.metrics.unwelcome(Name::Admin);
            }
            refuse(problem)
        }
    }
}

async fn operator(app: &App, headers: &HeaderMap) -> Result<Operator, Problem> {
    let presented = token_sha256(bearer(headers).ok_or_else(unauthorized)?);
    let known = operators::all(&app.store).await?;
    let now_ms = app.clock.now_ms();
    let is_theirs = |known: &operators::Operator| {
        let previous = known.previous.filter(|(_, until_ms)| now_ms < *until_ms);
        let is_previous = previous.is_some_and(|(sha256, _)| same(&sha256, &presented));
        same(&known.sha256, &presented) | is_previous
    };
    let known = known.into_iter().find(is_theirs);
    known.map(|known| Operator { name: known.name }).ok_or_else(unauthorized)
}

/// Makes an admin token.
pub fn new_token(random: &dyn Random) -> String {
    format!("{TOKEN_PREFIX}{}", Digest(random::bytes(random)))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Returns what the database knows of a token.
pub fn token_sha256(token: &str) -> Digest {
    Digest(Sha256::digest(token).into())
}

/// Compares in a time that does not depend on where the difference is.
fn same(one: &Digest, other: &Digest) -> bool {
    one.0.iter().zip(other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn unauthorized() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "Send `Authorization: Bearer <token>` with the admin token that the first start printed.",
    )
}

fn refuse(problem: Problem) -> Response {
    let mut response = problem.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        let headers = response.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        // A stranger keeps no connection: it lasts for one request, which has its deadline.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
