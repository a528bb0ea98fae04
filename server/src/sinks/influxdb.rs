//! InfluxDB 1 and 2, and whatever else takes the line protocol: one request for many messages.
//!
//! A point is the same however often it is written, so what is sent again changes nothing. Not here: how
//! lines are written (`domain/sink/line`).

use reqwest::StatusCode;
use url::Url;
use waxwing_wire::ProductId;
use waxwing_wire::envelope::Envelope;

use super::client::{self, Client, Silence};
use super::{Error, Parcel};
use crate::config::Sink;
use crate::domain::sink::line::{self, Source};
use crate::domain::sink::progress::Outcome;
use crate::domain::sink::reading::Readings;

/// Most of an answer that is read: an error of InfluxDB quotes a line.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What devices are of that the fleet does not know, as in a database that was restored.
const UNKNOWN_PRODUCT: &str = "unknown";

/// An InfluxDB.
#[derive(Debug)]
pub(super) struct Influxdb {
    client: Client,
    url: Url,
    measurement: String,
    unknown: ProductId,
}

/// What came of a request.
enum Written {
    Away(Outcome),
    Done,
    Refused(String),
}

impl Influxdb {
    /// Prepares: a token is one of InfluxDB 2, or the password of a user of InfluxDB 1.
    pub(super) fn new(sink: &Sink, url: Url, token: Option<&str>) -> Result<Self, Error> {
        let client = Client::new(sink, token.map(|token| ("Token", token)))?;
        let unknown = UNKNOWN_PRODUCT.parse().expect("it is a name");
        Ok(Self { client, url, measurement: sink.measurement.clone(), unknown })
    }

    /// Writes the readings of messages. Where some of them are refused, halves are tried, down to one.
    pub(super) async fn send(&self, parcels: &[Parcel<'_>]) -> Vec<(u64, Outcome)> {
        let mut outcomes = Vec::with_capacity(parcels.len());
        let mut written = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            match self.lines(parcel) {
                Ok(lines) if lines.is_empty() => outcomes.push((parcel.position(), Outcome::Taken)),
                Ok(lines) => written.push((parcel.position(), lines)),
                Err(reason) => outcomes.push((parcel.position(), Outcome::Refused(reason))),
            }
        }
        let mut rest = vec![&written[..]];
        while let Some(part) = rest.pop() {
            match (self.write(part).await, part) {
                (Written::Done, _) => outcomes.extend(all(part, &Outcome::Taken)),
                (Written::Refused(reason), [one]) => {
                    outcomes.push((one.0, Outcome::Refused(reason)));
                }
                (Written::Refused(_), _) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    rest.extend([second, first]);
                }
                (Written::Away(outcome), _) => {
                    outcomes.extend(all(part, &outcome));
                    // Whoever is not there is not asked for the others.
                    outcomes.extend(rest.drain(..).flat_map(|part| all(part, &outcome)));
                }
            }
        }
        outcomes.sort_by_key(|(position, _)| *position);
        outcomes
    }

    fn lines(&self, parcel: &Parcel<'_>) -> Result<String, String> {
        let message = &parcel.logged.message;
        let envelope = Envelope::parse(message.envelope.as_bytes());
        let envelope = envelope.map_err(|error| error.to_string())?;
        let readings = Readings::parse(envelope.payload, message.received_at);
        let readings = readings.map_err(|error| error.to_string())?;
        let source = Source {
            measurement: &self.measurement,
            device: &message.device,
            product: parcel.product.as_ref().unwrap_or(&self.unknown),
            received_at: message.received_at,
            position: parcel.position(),
        };
        Ok(line::lines(&source, &readings))
    }

    async fn write(&self, part: &[(u64, String)]) -> Written {
        if part.is_empty() {
            return Written::Done;
        }
        let body: String = part.iter().map(|(_, lines)| lines.as_str()).collect();
        let request = self.client.post(self.url.clone()).body(body);
        match client::send(request, ANSWER_BYTES_MAX).await {
            Ok(answer) if answer.status.is_success() => Written::Done,
            Ok(answer) if is_about_lines(answer.status) => {
                Written::Refused(client::reason(&answer))
            }
            Ok(answer) => Written::Away(Outcome::Unreachable {
                reason: client::reason(&answer),
                retry_after_ms: answer.retry_after_ms,
            }),
            Err(silence) => Written::Away(away(silence)),
        }
    }
}

fn all<'a>(
    part: &'a [(u64, String)],
    outcome: &'a Outcome,
) -> impl Iterator<Item = (u64, Outcome)> + 'a {
    part.iter().map(|(position, _)| (*position, outcome.clone()))
}

fn away(silence: Silence) -> Outcome {
    Outcome::Unreachable { reason: silence.as_str().to_owned(), retry_after_ms: None }
}

/// Tells whether the lines are wrong, and not the database, the address or the token: of several some may
/// have been written.
fn is_about_lines(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
    )
}
