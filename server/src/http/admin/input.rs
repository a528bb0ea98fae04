//! Reading requests: JSON bodies, names in paths, pages, reasons; each error names the field.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, ToSchema};

use super::auth::Operator;
use crate::domain::Query as DeviceQuery;
use crate::domain::alert::Stage;
use crate::domain::webhook::delivery::State as DeliveryState;
use crate::http::Problem;

/// Most items of a page.
const PAGE_ITEMS_MAX: u32 = 1000;

/// Items of a page if nobody asks for another number.
const PAGE_ITEMS: u32 = 100;

/// Longest reason in bytes: a sentence, or a link to a ticket.
const REASON_BYTES_MAX: usize = 500;

/// How `serde_path_to_error` calls the place of what is wrong with a body as a whole.
const WHOLE_BODY: &str = ".";

/// A JSON body whose every field is known.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = raw(request, state).await?;
        // Serde would also take the values of a struct without their names.
        if bytes.trim_ascii_start().starts_with(b"[") {
            return Err(Problem::bad_request(
                "invalid_json",
                "The body is refused: not an object.",
            ));
        }
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let body = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| invalid(&error.path().to_string(), error.inner()))?;
        json.end().map_err(|error| invalid(WHOLE_BODY, &error))?;
        Ok(Self(body))
    }
}

/// Reads a whole body, within the limit of the route.
pub(super) async fn raw<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = "The body is larger than this path takes.";
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail);
        }
        Problem::bad_request("body_unreadable", "The body did not arrive whole. Send it again.")
    })
}

/// Describes a JSON error at a path such as `phases[0].percent`. Only a field that is not there has
/// no place of its own: serde puts it between back-ticks.
fn invalid(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let problem = Problem::bad_request("invalid_json", format!("The body is refused: {text}."));
    let place = (path != WHOLE_BODY).then_some(path);
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match (place, missing) {
        (Some(place), Some(missing)) => problem.field(format!("{place}.{missing}")),
        (Some(field), None) | (None, Some(field)) => problem.field(field),
        (None, None) => problem,
    }
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The `next` of the page before.
    pub(super) after: Option<String>,
    /// Most items to return, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// Which devices, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DevicesQuery {
    /// Only those of this product.
    pub(super) product: Option<String>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
    /// Most items to return, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(super) limit: Option<u32>,
}

/// Which devices to look for, and which page of them.
#[derive(Debug, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PreviewQuery {
    /// What is asked of devices, in RSQL: docs/groups.md.
    #[param(example = "tag==canary;version=lt=1.4.0")]
    pub(super) query: String,
    /// Only devices of this product.
    pub(super) product: Option<String>,
    /// The `next` of the page before.
    pub(super) after: Option<u32>,
    /// Most devices to return, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(super) limit: Option<u32>,
}

/// Which component, in which versions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AffectedQuery {
    /// Name of the component, as SBOMs write it.
    pub(super) name: Option<String>,
    /// Its package URL; without a version, every version.
    pub(super) purl: Option<String>,
    /// Its versions, such as `3.6.0` or `>=3.0,<3.6.1`; without it, every version. A component that an
    /// SBOM lists without version always counts.
    pub(super) version: Option<String>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
    /// Most items to return, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(super) limit: Option<u32>,
}

/// Which messages, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    /// Only those in this state.
    pub(super) state: Option<DeliveryState>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
    /// Most items to return, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(super) limit: Option<u32>,
}

/// Which alerts, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AlertsQuery {
    /// Only those in this state.
    pub(super) state: Option<Stage>,
    /// Only those of this rule.
    pub(super) rule: Option<String>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
    /// Most items to return, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(super) limit: Option<u32>,
}

/// Which mail, and how many messages of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MailsQuery {
    /// Only messages in this state.
    pub(super) state: Option<DeliveryState>,
    /// Most items to return, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(super) limit: Option<u32>,
}

/// The query of a request, read by its fields.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|axum::extract::Query(query)| Self(query)).map_err(|rejection| {
            Problem::bad_request("invalid_query", format!("{}.", rejection.body_text()))
        })
    }
}

impl PageQuery {
    /// Returns after which item the page begins; the empty text is before all.
    pub(super) fn after(&self) -> &str {
        self.after.as_deref().unwrap_or_default()
    }

    /// Returns how many items the page may have.
    pub(super) fn limit(&self) -> Result<u32, Problem> {
        limit(self.limit)
    }
}

/// Checks how many items a page may have.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    let items = asked.unwrap_or(PAGE_ITEMS);
    if (1..=PAGE_ITEMS_MAX).contains(&items) {
        return Ok(items);
    }
    let detail = format!("`limit` is 1 to {PAGE_ITEMS_MAX}.");
    Err(Problem::bad_request("invalid_query", detail).field("limit"))
}

/// Understands a query over devices.
pub(super) fn device_query(text: &str) -> Result<DeviceQuery, Problem> {
    DeviceQuery::parse(text).map_err(|refused| {
        let detail = format!("The query is refused {refused}.");
        Problem::refused("query_refused", detail).field("query").position(refused.at)
    })
}

/// Reads a name in a path. Text that is no name is the name of nothing.
pub(super) fn name<T: FromStr>(text: &str, unknown: fn() -> Problem) -> Result<T, Problem> {
    text.parse().map_err(|_| unknown())
}

/// Who changes something, and why.
#[derive(Clone, Debug)]
pub(super) struct Author {
    /// As the audit log calls them.
    pub(super) actor: String,
    /// The header `Waxwing-Reason`, in UTF-8; may be empty.
    pub(super) reason: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Author {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let operator = parts.extensions.get::<Operator>();
        let actor = operator.map(|operator| format!("admin:{}", operator.name));
        let reason = parts.headers.get("waxwing-reason").map_or(&b""[..], HeaderValue::as_bytes);
        let refused =
            |detail: String| Problem::bad_request("invalid_reason", detail).field("Waxwing-Reason");
        if reason.len() > REASON_BYTES_MAX {
            return Err(refused(format!("The reason is longer than {REASON_BYTES_MAX} bytes.")));
        }
        let reason = str::from_utf8(reason)
            .map_err(|_| refused("The reason is not UTF-8. Send it as such.".to_owned()))?;
        Ok(Self { actor: actor.unwrap_or_default(), reason: reason.to_owned() })
    }
}
