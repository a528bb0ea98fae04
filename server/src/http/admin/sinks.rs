//! `/api/v1/sinks`: how far other systems are with what devices say, and what they did not take.
//!
//! Not here: sending. A worker looks for what is to be sent again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::change;
use super::input::{Author, PageQuery, Query};
use super::output::{Page, time};
use crate::app::App;
use crate::domain::audit::Action;
use crate::domain::sink::System;
use crate::http::admin::audit::bad_cursor;
use crate::http::{Path, Problem};
use crate::sinks::Sink;
use crate::store::messages::{DeadLetter, Which};

/// A sink, as of its last answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Sink)]
pub(super) struct SinkView {
    /// Its name in the configuration.
    name: String,
    /// What it is.
    kind: System,
    /// The machine that it is on. The rest of the address may be a secret.
    origin: String,
    /// The position in the message log up to which nothing is left to send.
    taken: u64,
    /// Messages behind that position, at most.
    behind: u64,
    /// How often in a row it took nothing.
    failures: u32,
    /// Why it did not take what it was sent last, if it did not.
    last_error: Option<String>,
    /// Messages that it did not take and that are kept.
    dead_letters: u64,
}

/// A message that a sink did not take.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(super) struct DeadLetterView {
    /// Its place in the message log.
    position: u64,
    /// Who said it.
    device: String,
    /// What it is about.
    kind: &'static str,
    /// Its id.
    message_id: String,
    /// When it came, as RFC 3339.
    received_at: String,
    /// Why it was not taken.
    reason: String,
    /// How often it was sent.
    tries: u32,
    /// When it was given up, as RFC 3339.
    died_at: String,
    /// Whether it is to be sent again.
    asked: bool,
    /// Serial number of the certificate whose key signed it.
    signed_by: String,
    /// The signed envelope, byte for byte.
    envelope: String,
}

/// How many dead letters something was done to.
#[derive(Serialize, ToSchema)]
pub(super) struct Touched {
    /// So many.
    dead_letters: u64,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        let DeadLetter { logged, reason, tries, died_at, asked } = letter;
        Self {
            position: logged.position,
            device: logged.message.device.to_string(),
            kind: logged.message.kind.as_str(),
            message_id: logged.message.message_id.to_string(),
            received_at: time(logged.message.received_at),
            reason,
            tries,
            died_at: time(died_at),
            asked,
            signed_by: logged.message.signed_by,
            envelope: logged.message.envelope,
        }
    }
}

/// Returns the sinks of the configuration, and how they do.
#[utoipa::path(get, path = "/api/v1/sinks", operation_id = "list_sinks", tag = "sinks",
    responses((status = 200, body = Page<SinkView>)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Page<SinkView>>, Problem> {
    let mut views = Vec::new();
    for sink in app.sinks.iter() {
        views.push(view(&app, sink).await?);
    }
    Ok(Json(Page::of(views, u32::MAX, |view: &SinkView| view.name.clone())))
}

async fn view(app: &App, sink: &Sink) -> Result<SinkView, Problem> {
    let taken = app.log.taken_by_all(&[sink.name()]).await?;
    let newest = *app.log.newest().borrow();
    let health = sink.health();
    Ok(SinkView {
        name: sink.name().to_owned(),
        kind: sink.config().kind,
        origin: sink.config().origin(),
        taken,
        behind: newest.saturating_sub(taken),
        failures: health.failures,
        last_error: health.last_error,
        dead_letters: app.log.count_dead(sink.name()).await?,
    })
}

/// Returns the messages that a sink did not take, those first that came first.
#[utoipa::path(get, path = "/api/v1/sinks/{sink}/dead-letters", operation_id = "list_dead_letters", tag = "sinks",
    params(("sink" = String, Path), PageQuery),
    responses((status = 200, body = Page<DeadLetterView>), (status = 400, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn dead_letters(
    State(app): State<Arc<App>>,
    Path(sink): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<DeadLetterView>>, Problem> {
    let sink = app.sinks.find(&sink).ok_or_else(unknown)?;
    let limit = page.limit()?;
    let after = match page.after() {
        "" => 0,
        number => number.parse().map_err(|_| bad_cursor())?,
    };
    let letters = app.log.dead_letters(sink.name(), after, limit + 1).await?;
    let items = letters.into_iter().map(DeadLetterView::from).collect();
    Ok(Json(Page::of(items, limit, |item: &DeadLetterView| item.position.to_string())))
}

/// Sends all dead letters of a sink once more. Those that are not taken again stay.
#[utoipa::path(post, path = "/api/v1/sinks/{sink}/dead-letters/replay", operation_id = "replay_dead_letters", tag = "sinks",
    params(("sink" = String, Path)),
    responses((status = 200, body = Touched), (status = 404, body = Problem)))]
pub(super) async fn replay_all(
    State(app): State<Arc<App>>,
    Path(sink): Path<String>,
    author: Author,
) -> Result<Json<Touched>, Problem> {
    replay(&app, &sink, Which::All, &author).await
}

/// Sends one dead letter once more.
#[utoipa::path(post, path = "/api/v1/sinks/{sink}/dead-letters/{position}/replay", operation_id = "replay_dead_letter", tag = "sinks",
    params(("sink" = String, Path), ("position" = String, Path)),
    responses((status = 200, body = Touched), (status = 404, body = Problem)))]
pub(super) async fn replay_one(
    State(app): State<Arc<App>>,
    Path((sink, position)): Path<(String, String)>,
    author: Author,
) -> Result<Json<Touched>, Problem> {
    replay(&app, &sink, one(&position)?, &author).await
}

/// Removes all dead letters of a sink. Their messages stay in the log for as long as any other.
#[utoipa::path(delete, path = "/api/v1/sinks/{sink}/dead-letters", operation_id = "discard_dead_letters", tag = "sinks",
    params(("sink" = String, Path)),
    responses((status = 200, body = Touched), (status = 404, body = Problem)))]
pub(super) async fn discard_all(
    State(app): State<Arc<App>>,
    Path(sink): Path<String>,
    author: Author,
) -> Result<Json<Touched>, Problem> {
    discard(&app, &sink, Which::All, &author).await
}

/// Removes one dead letter.
#[utoipa::path(delete, path = "/api/v1/sinks/{sink}/dead-letters/{position}", operation_id = "discard_dead_letter", tag = "sinks",
    params(("sink" = String, Path), ("position" = String, Path)),
    responses((status = 200, body = Touched), (status = 404, body = Problem)))]
pub(super) async fn discard_one(
    State(app): State<Arc<App>>,
    Path((sink, position)): Path<(String, String)>,
    author: Author,
) -> Result<Json<Touched>, Problem> {
    discard(&app, &sink, one(&position)?, &author).await
}

async fn replay(
    app: &App,
    sink: &str,
    which: Which,
    author: &Author,
) -> Result<Json<Touched>, Problem> {
    let sink = app.sinks.find(sink).ok_or_else(unknown)?;
    record(app, sink, which, author, Action::DeadLettersReplayed).await?;
    let touched = touched(app.log.ask_for(sink.name(), which).await?, which)?;
    sink.wake();
    Ok(touched)
}

async fn discard(
    app: &App,
    sink: &str,
    which: Which,
    author: &Author,
) -> Result<Json<Touched>, Problem> {
    let sink = app.sinks.find(sink).ok_or_else(unknown)?;
    record(app, sink, which, author, Action::DeadLettersDiscarded).await?;
    touched(app.log.discard(sink.name(), which).await?, which)
}

/// Writes the line of the audit log before: the message log is a database of its own.
async fn record(
    app: &App,
    sink: &Sink,
    which: Which,
    author: &Author,
    action: Action,
) -> Result<(), Problem> {
    let detail = match which {
        Which::All => json!({ "dead_letters": app.log.count_dead(sink.name()).await? }),
        Which::One(position) => json!({ "position": position }),
    };
    let (mut change, at) = change::begin(app).await?;
    let line = (action, format!("sink/{}", sink.name()), detail);
    change::record(&mut change, author, at, line).await?;
    drop(change.commit().await?);
    Ok(())
}

fn touched(dead_letters: u64, which: Which) -> Result<Json<Touched>, Problem> {
    match which {
        Which::One(_) if dead_letters == 0 => Err(unknown_letter()),
        Which::All | Which::One(_) => Ok(Json(Touched { dead_letters })),
    }
}

fn one(position: &str) -> Result<Which, Problem> {
    position.parse().map(Which::One).map_err(|_| unknown_letter())
}

fn unknown_letter() -> Problem {
    let detail = "The sink has no such dead letter, or not any more.";
    Problem::not_found("unknown_dead_letter", detail)
}

fn unknown() -> Problem {
    let detail = "The configuration has no such sink. `GET /api/v1/sinks` lists them.";
    Problem::not_found("unknown_sink", detail)
}
