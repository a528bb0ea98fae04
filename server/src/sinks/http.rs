//! A back end: one POST for each message, those of a device one after the other.
//!
//! Not here: what becomes of its answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use url::Url;
use waxwing_wire::DeviceId;

use super::client::{self, Answer, Client, Silence};
use super::{Error, Parcel, answers as said};
use crate::config::{DEVICE_PLACE, Sink};
use crate::domain::sink::progress::Outcome;

/// Devices whose messages are on their way at once.
const LANES_MAX: usize = 8;

/// Most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// The media type of a message.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What else there is to know of a message: one that may have been sent before says so.
const AGAIN: &str = "waxwing-redelivered";
const KEY: &str = "idempotency-key";
const KIND: &str = "waxwing-kind";
const POSITION: &str = "waxwing-position";
const PRODUCT: &str = "waxwing-product";
const RECEIVED_AT: &str = "waxwing-received-at";
const SIGNED_BY: &str = "waxwing-signed-by";

/// A back end.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    /// With a place for the name of the device.
    url: String,
}

/// What came of one message.
struct Sent {
    outcome: (u64, Outcome),
    answer: Option<said::Answer>,
}

impl Http {
    /// Prepares.
    pub(super) fn new(sink: &Sink, token: Option<&str>) -> Result<Self, Error> {
        let client = Client::new(sink, token.map(|token| ("Bearer", token)))?;
        Ok(Self { client, url: sink.url.clone() })
    }

    /// Sends messages, and returns what was answered. Of a device, none is sent behind one that has to be
    /// sent again; nor later, until that one is over ([`crate::domain::sink::progress`]).
    pub(super) async fn send(
        &self,
        parcels: &[Parcel<'_>],
    ) -> (Vec<(u64, Outcome)>, Vec<said::Answer>) {
        let mut lanes = BTreeMap::<&DeviceId, Vec<&Parcel<'_>>>::new();
        for parcel in parcels {
            lanes.entry(&parcel.logged.message.device).or_default().push(parcel);
        }
        let mut lanes: Vec<_> = lanes.into_values().collect();
        lanes.sort_by_key(|lane| lane.first().map(|parcel| parcel.position()));
        let is_away = AtomicBool::new(false);
        let mut sent = Vec::<BoxFuture<'_, Vec<Sent>>>::with_capacity(lanes.len());
        for lane in lanes {
            sent.push(Box::pin(self.send_lane(lane, &is_away)));
        }
        let sent: Vec<_> = stream::iter(sent).buffer_unordered(LANES_MAX).collect().await;
        let (mut outcomes, answers): (Vec<_>, Vec<_>) =
            sent.into_iter().flatten().map(|Sent { outcome, answer }| (outcome, answer)).unzip();
        outcomes.sort_by_key(|(position, _)| *position);
        (outcomes, answers.into_iter().flatten().collect())
    }

    async fn send_lane(&self, lane: Vec<&Parcel<'_>>, is_away: &AtomicBool) -> Vec<Sent> {
        let mut all = Vec::with_capacity(lane.len());
        for parcel in lane {
            if is_away.load(Ordering::Relaxed) {
                break;
            }
            let sent = self.send_one(parcel).await;
            let is_over = matches!(sent.outcome.1, Outcome::Refused(_) | Outcome::Taken);
            if matches!(sent.outcome.1, Outcome::Unreachable { .. }) {
                is_away.store(true, Ordering::Relaxed);
            }
            all.push(sent);
            if !is_over {
                break;
            }
        }
        all
    }

    async fn send_one(&self, parcel: &Parcel<'_>) -> Sent {
        let message = &parcel.logged.message;
        let answered = match Url::parse(&self.url.replace(DEVICE_PLACE, message.device.as_str())) {
            Ok(url) => {
                let request = described(self.client.post(url), parcel);
                client::send(request, ANSWER_BYTES_MAX).await
            }
            Err(_) => Err(Silence::NotReached),
        };
        let body = answered.as_ref().ok().filter(|answer| answer.status.is_success());
        let body = body.and_then(|answer| said::body(answer.body.as_deref()?));
        let answer = body.map(|body| said::Answer {
            device: message.device.clone(),
            message_id: message.message_id.clone(),
            body,
        });
        let outcome = answered.as_ref().map_or_else(|silence| unanswered(*silence), outcome);
        Sent { outcome: (parcel.position(), outcome), answer }
    }
}

fn described(request: RequestBuilder, parcel: &Parcel<'_>) -> RequestBuilder {
    let (position, message) = (parcel.position(), &parcel.logged.message);
    let mut request = request
        .header(CONTENT_TYPE, JSON)
        .header(KEY, format!("{}/{}", message.device, message.message_id))
        .header(KIND, message.kind.as_str())
        .header(POSITION, position)
        .header(RECEIVED_AT, message.received_at)
        .header(SIGNED_BY, message.signed_by.as_str())
        .body(message.envelope.clone());
    if let Some(product) = &parcel.product {
        request = request.header(PRODUCT, product.as_str());
    }
    if parcel.again { request.header(AGAIN, "true") } else { request }
}

/// What no answer means: only a back end that was reached may have been upset by the message.
fn unanswered(silence: Silence) -> Outcome {
    let reason = silence.as_str().to_owned();
    match silence {
        Silence::Broken | Silence::TimedOut => Outcome::Failed(reason),
        Silence::NotReached => Outcome::Unreachable { reason, retry_after_ms: None },
    }
}

/// Reads an answer: what is about this message, what about the back end, and what about the way there.
fn outcome(answer: &Answer) -> Outcome {
    let status = answer.status;
    let reason = || client::reason(answer);
    match status {
        _ if status.is_success() => Outcome::Taken,
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            Outcome::Unreachable { reason: reason(), retry_after_ms: answer.retry_after_ms }
        }
        _ if status.is_client_error() => Outcome::Refused(reason()),
        _ if status.is_server_error() => Outcome::Failed(reason()),
        // It sends us elsewhere: whoever it is, it is not what the configuration means.
        _ => Outcome::Unreachable { reason: reason(), retry_after_ms: None },
    }
}
