//! `If-Match`: who changes something says which state of it they saw (RFC 9110, section 13.1.1).
//!
//! Not here: what a change does.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use crate::http::Problem;

/// What a request says that it saw.
#[derive(Clone, Debug)]
pub(super) struct IfMatch(String);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        asked(&parts.headers).map(Self).ok_or_else(|| {
            let detail =
                "Say which state you saw: read it first, and send its `ETag` as `If-Match`.";
            let status = StatusCode::PRECONDITION_REQUIRED;
            Problem::new(status, "if_match_required", detail).field("If-Match")
        })
    }
}

impl IfMatch {
    /// Refuses unless this is the state that was seen.
    pub(super) fn check(&self, etag: &str) -> Result<(), Problem> {
        let mut seen = self.0.split(',').map(str::trim);
        if seen.any(|seen| seen == etag || seen == "*") {
            return Ok(());
        }
        let detail = "Somebody changed it since you read it. Read it again, then decide.";
        let status = StatusCode::PRECONDITION_FAILED;
        Err(Problem::new(status, "changed_meanwhile", detail).field("If-Match"))
    }
}

fn asked(headers: &HeaderMap) -> Option<String> {
    let asked = headers.get(header::IF_MATCH)?.to_str().ok()?.trim();
    (!asked.is_empty()).then(|| asked.to_owned())
}

/// Writes a number that rises with each change as an entity tag.
pub(super) fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}
