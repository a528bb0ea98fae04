//! Reading a small request body: all of it, within a limit and a deadline.
//!
//! Not here: images, which are streamed to disk.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use super::Problem;

/// How long a body may take: a few kilobytes over the slowest link.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a body of at most `bytes_max` bytes.
pub async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    match timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("The body may have {bytes_max} bytes here."),
        )),
        Ok(Err(_)) | Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_incomplete",
            "The body did not arrive whole. Send the request again.",
        )),
    }
}
