//! The one shape of an error answer: problem details of RFC 9457 with a code that stays stable.
//!
//! Not here: the errors themselves. Each module turns its own into a [`Problem`].

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::director::clock_guard::ClockAhead;
use crate::logging::Chain;
use crate::store;

/// An error answer: `application/problem+json` (RFC 9457, section 3).
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` says more, and nothing has to be looked up.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The phrase of the HTTP status.
    title: &'static str,
    /// The HTTP status code.
    #[schema(example = 409)]
    status: u16,
    /// What went wrong, in `snake_case`: programs match on this and it never changes.
    #[schema(example = "rollout_not_running")]
    code: &'static str,
    /// What went wrong, and the next step, for people.
    detail: String,
    /// The field or file of the request at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// How many characters of that field come before the place at fault, in a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u32>,
    /// When to ask again, in seconds: the field `Retry-After`.
    #[serde(skip)]
    retry_after_s: Option<u32>,
}

impl Problem {
    /// Describes an error. `detail` is one or two sentences that name the next step.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let status = status.as_u16();
        let (kind, detail) = ("about:blank", detail.into());
        Self { kind, title, status, code, detail, field: None, position: None, retry_after_s: None }
    }

    /// Answers 429: asked too often. `wait` is rounded up to seconds.
    pub fn too_often(code: &'static str, detail: impl Into<String>, wait: Duration) -> Self {
        let retry_after_s = Some(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u32::MAX));
        Self { retry_after_s, ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail) }
    }

    /// Names the field or file of the request at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says how many characters of the field come before the place at fault.
    #[must_use]
    pub fn position(mut self, characters: usize) -> Self {
        self.position = u32::try_from(characters).ok();
        self
    }

    /// Answers 400: the request does not say what it should.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// Answers 404: no such thing.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// Answers 409: not in the state that things are in.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// Answers 422: understood, and refused with a reason.
    pub fn refused(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// Answers 500 and logs the cause, which is not for the one who asked.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %Chain(error), "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed. Its log says why; the request may be repeated.",
        )
    }

    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        if !error.is_full() {
            return Self::internal(&error);
        }
        tracing::error!("the disk of the database is full");
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "disk_full",
            "There is no space left for the database; nothing was changed. Make room, then repeat.",
        )
    }
}

impl From<ClockAhead> for Problem {
    fn from(error: ClockAhead) -> Self {
        tracing::error!(%error, "the clock is not credible");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "director_clock",
            "The server's clock is not credible: nothing is signed or changed. An operator has to \
             check it, then start the server once with --confirm-clock.",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
        let retry_after = self.retry_after_s.map(|seconds| [(header::RETRY_AFTER, seconds)]);
        let content_type = [(header::CONTENT_TYPE, PROBLEM_JSON)];
        (self.status(), content_type, retry_after, Json(self)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Lines;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the image")]
    struct Failure(#[source] std::io::Error);

    #[test]
    fn the_log_says_why_a_request_failed_in_both_formats() {
        for json in [false, true] {
            let cause = std::io::Error::other("no such file");
            let written = Lines::of(json, || drop(Problem::internal(&Failure(cause))));
            assert!(written.contains("cannot open the image: no such file"), "{written}");
        }
    }

    #[test]
    fn a_problem_is_answered_as_rfc_9457_says() {
        let problem = Problem::conflict("rollout_not_running", "Start it first.").field("rollout");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "about:blank", "title": "Conflict", "status": 409,
                "code": "rollout_not_running", "detail": "Start it first.", "field": "rollout",
            })
        );
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
