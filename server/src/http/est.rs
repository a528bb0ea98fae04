//! EST (RFC 7030): how a device comes by its certificates.
//!
//! `cacerts` and `simpleenroll` on the enrolment listener, where nobody has a certificate yet (D12);
//! `simplereenroll` on the device listener. Bodies are base64 as the RFC has it, so that standard
//! clients work. Not here: the rules, which are [`issue`]'s.

pub mod credentials;
pub mod issue;
pub mod limiter;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rustls_pki_types::CertificateDer;

use self::credentials::Credentials;
use super::device::admission::Caller;
use super::{Problem, body, to_the_end};
use crate::app::App;
use crate::metrics::Enrolment;
use crate::pki::{CsrError, DeviceKey, pkcs7};

/// Longest request body: the longest PKCS#10 we read, in base64 with line breaks.
pub const BODY_BYTES_MAX: usize = 2 * crate::pki::csr::CSR_BYTES_MAX;

/// The only path that an expired certificate may still use (D14).
pub const REENROLL_PATH: &str = "/.well-known/est/simplereenroll";

/// Answers the CA that signs device certificates, then the one before while that overlaps. It says nothing about whom a device should trust:
/// that is built into the device or signed offline (D12).
pub async fn cacerts(State(app): State<Arc<App>>) -> Response {
    let anchors = app.pki.device_anchors();
    certificates(&anchors.iter().collect::<Vec<_>>())
}

/// Answers a device's first certificate for its one-time token (D13).
pub async fn simpleenroll(
    State(app): State<Arc<App>>,
    Extension(source): Extension<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let outcome = enroll(&app, &headers, body).await;
    answer(&app, outcome.map_err(|problem| slow_down(&app, source.ip(), problem)))
}

/// Answers the next certificate of a device that shows a present or expired one (D13, D14).
pub async fn simplereenroll(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let outcome = reenroll(&app, caller, body).await;
    answer(&app, outcome)
}

async fn enroll(
    app: &Arc<App>,
    headers: &HeaderMap,
    body: Body,
) -> Result<CertificateDer<'static>, Problem> {
    let credentials = Credentials::from_headers(headers).ok_or_else(issue::wrong_token)?;
    issue::check_token(app, &credentials).await?;
    let key = DeviceKey::from_est(&body::read(body, BODY_BYTES_MAX).await?)?;
    key.check_names(&credentials.device)?;
    to_the_end(issue::first(Arc::clone(app), credentials, key)).await
}

async fn reenroll(
    app: &Arc<App>,
    caller: Caller,
    body: Body,
) -> Result<CertificateDer<'static>, Problem> {
    let key = DeviceKey::from_est(&body::read(body, BODY_BYTES_MAX).await?)?;
    key.check_names(&caller.peer.device)?;
    to_the_end(issue::renewal(Arc::clone(app), caller.peer, key)).await
}

fn answer(
    app: &App,
    outcome: Result<CertificateDer<'static>, Problem>,
) -> Result<Response, Problem> {
    let counted = if outcome.is_ok() { Enrolment::Issued } else { Enrolment::Refused };
    app.metrics.enrolment(counted);
    match outcome {
        Ok(certificate) => Ok(certificates(&[&certificate])),
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
            const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"enrolment\"");
            Ok(([(header::WWW_AUTHENTICATE, BASIC)], problem).into_response())
        }
        Err(problem) => Err(problem),
    }
}

fn certificates(all: &[&CertificateDer<'_>]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, pkcs7::MEDIA_TYPE),
        (header::HeaderName::from_static("content-transfer-encoding"), "base64"),
    ];
    (headers, pkcs7::certs_only(all)).into_response()
}

/// Counts a wrong token, and answers it more curtly when it is one of many. A good token from the
/// same address is served all the same: behind one address there may be a whole factory.
fn slow_down(app: &App, source: IpAddr, problem: Problem) -> Problem {
    if problem.status() != StatusCode::UNAUTHORIZED {
        return problem;
    }
    let now = app.clock.monotonic();
    if app.enrolment_limiter.allows(source, now) {
        app.enrolment_limiter.failed(source, now);
        return problem;
    }
    let detail = "Too many wrong tokens came from this address. Wait a minute.";
    Problem::too_often("too_many_tries", detail, limiter::WINDOW)
}

impl From<CsrError> for Problem {
    fn from(error: CsrError) -> Self {
        let code = match error {
            CsrError::Algorithm => "csr_algorithm",
            CsrError::Authority => "csr_authority",
            CsrError::Base64 | CsrError::Malformed => "csr_malformed",
            CsrError::Name => "csr_name",
            CsrError::Proof => "csr_proof",
            CsrError::TooLong => "csr_too_long",
            CsrError::Usage => "csr_usage",
        };
        Self::bad_request(code, format!("No certificate: {error}.")).field("body")
    }
}
