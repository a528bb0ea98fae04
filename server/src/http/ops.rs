//! Health and metrics, in plain HTTP for the machine's own monitoring, and the list of revoked
//! certificates for whoever hands it out.
//!
//! `/healthz` says that the process answers; `/readyz` that it can do its work, and if not, why
//! not. Not here: anything about single devices.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Path, Problem};
use crate::app::App;
use crate::expiries;
use crate::metrics;
use crate::pki::crl;
use crate::readiness::Readiness;
use crate::store;

/// Answers that the process lives.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Answers 200 when devices can be served, else 503 and what is missing.
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    let readiness = Readiness::of(&app).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// The name of the list of the present device CA, whichever that is.
const PRESENT_LIST: &str = "device-ca.crl";

/// Answers the list of revoked device certificates that a device CA signed, DER. It is for everybody.
pub async fn crl(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let is_previous = app.pki.previous_device.as_ref().is_some_and(|it| it.crl_name() == name);
    if !is_previous && name != PRESENT_LIST && name != app.pki.device.crl_name() {
        let detail = "No device CA of this server has a list of that name.";
        return Err(Problem::not_found("unknown_crl", detail));
    }
    let list = if is_previous { app.crl.previous_der() } else { app.crl.der() };
    let list = list.ok_or_else(|| {
        let detail = "The list of revoked certificates cannot be made now. The log says why.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "crl_unavailable", detail)
    })?;
    Ok(([(header::CONTENT_TYPE, crl::MEDIA_TYPE)], list).into_response())
}

/// Answers all metrics in the text format of Prometheus.
pub async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let open = app.fleet.open_rollouts();
    let open = open.iter().map(|rollout| (&**rollout, app.fleet.evidence(&rollout.id)));
    app.metrics.rollouts(&open.collect::<Vec<_>>());
    app.metrics.outbox(&store::webhooks::counts(&app.store).await?);
    app.metrics.mails(&store::mails::counts(&app.store).await?);
    app.metrics.alerts(&store::alerts::open(&mut *app.store.reader().await?).await?);
    app.metrics.expiries(&expiries::all(&app), app.clock.now_ms());
    let text = app.metrics.to_text().map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response())
}
