//! The parts of a path that a route names.
//!
//! Not here: what they must look like; text that is no name is the name of nothing.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Problem;

/// The named parts of a path, decoded. What is not UTF-8 is a problem like any other.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(parts)| Self(parts)).map_err(|rejection| {
            Problem::bad_request("invalid_path", format!("{}.", rejection.body_text()))
        })
    }
}
