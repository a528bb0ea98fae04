//! `/api/v1/devices/{device}/commands`: what a device is asked to do, and what it said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use waxwing_wire::command::{self as wire, ARGUMENTS_BYTES_MAX};
use waxwing_wire::{CommandName, DeviceId};

use super::actions::refuse_revoked;
use super::{find, subject};
use crate::app::App;
use crate::director::COMMAND_LIFE;
use crate::domain::audit::Action;
use crate::domain::command::{
    self, Command, Known, LIFE_MAX, LIFE_MIN, OPEN_MAX, Refused, State as Reached,
};
use crate::domain::{Device, schema};
use crate::http::admin::audit::bad_cursor;
use crate::http::admin::change;
use crate::http::admin::input::{Author, Body, PageQuery, Query};
use crate::http::admin::output::{Page, time};
use crate::http::{Path, Problem};
use crate::logging::Chain;
use crate::orders;
use crate::store::{self, product_commands};

/// A command for a device.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::admin) struct NewCommand {
    /// What to do: `poll`, `reboot`, `set_interval`, `collect_logs`, or a command of the product's
    /// applications.
    #[schema(value_type = String, example = "reboot")]
    command: CommandName,
    /// With what: `set_interval` takes `seconds`, those of applications what their schema says.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({}))]
    arguments: Map<String, Value>,
    /// For how many seconds it is good, 10 to 2678400; 300 if nothing is said.
    expires_in_s: Option<u64>,
}

/// A command, and how far it is.
#[derive(Serialize, ToSchema)]
#[schema(as = Command)]
pub(in crate::http::admin) struct View {
    /// Its number, as the device knows it.
    #[schema(example = "1795167000123")]
    id: String,
    #[schema(value_type = String)]
    device: DeviceId,
    /// What is asked for.
    #[schema(example = "reboot")]
    command: String,
    #[schema(value_type = Object)]
    arguments: Value,
    state: Reached,
    /// Who sent it.
    created_by: String,
    /// When, as RFC 3339.
    created_at: String,
    /// From when on it is void.
    expires_at: String,
    /// When it went to the device first.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<String>,
    /// When it was answered, taken back or void.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// What the device said besides, such as lines of its log. As it came: it may be anything.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

impl View {
    fn new(command: Command, now_ms: u64) -> Self {
        let state = command.state_at(now_ms);
        let ended_at = command.ended_at.or((!state.is_open()).then_some(command.expires_at));
        Self {
            id: command.number.to_string(),
            device: command.device,
            command: command.order.to_string(),
            arguments: command::arguments(&command.order),
            state,
            created_by: command.created_by,
            created_at: time(command.created_at),
            expires_at: time(command.expires_at),
            sent_at: command.sent_at.map(time),
            ended_at: ended_at.map(time),
            detail: command.detail,
        }
    }
}

/// Sends a command to a device: signed, good for a while, carried out once. It waits until the device
/// listens, over MQTT, also over a restart of the server; so many at most.
#[utoipa::path(post, path = "/api/v1/devices/{device}/commands", operation_id = "command_device", tag = "devices",
    params(("device" = String, Path)), request_body = NewCommand,
    responses((status = 202, body = View), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn send(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
    author: Author,
    Body(new): Body<NewCommand>,
) -> Result<(StatusCode, Json<View>), Problem> {
    let life = life(new.expires_in_s)?;
    let (mut change, at) = change::begin(&app).await?;
    let device = find(&app, &device)?;
    refuse_revoked(&device)?;
    let order = order(&app, &device, new.command, new.arguments).await?;
    check_room(store::commands::open(change.connection(), &device.id, at).await?.len())?;
    let command = Command {
        number: at,
        device: device.id.clone(),
        order,
        state: Reached::Queued,
        created_by: author.actor.clone(),
        created_at: at,
        expires_at: at.saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX)),
        sent_at: None,
        ended_at: None,
        detail: String::new(),
    };
    store::commands::add(change.connection(), &command).await?;
    let entry = (Action::CommandSent, subject(&device), told(&command));
    change::record(&mut change, &author, at, entry).await?;
    let turn = change.commit().await?;
    app.orders.expect(&device.id);
    drop(turn);
    if let Err(error) = orders::send_next(&app, &device.id).await {
        // It is kept, and goes with the next look.
        tracing::error!(error = %Chain(&error), "command not sent yet");
    }
    Ok((StatusCode::ACCEPTED, Json(View::new(command, at))))
}

/// Returns the commands of a device, the newest first, until a month after their end.
#[utoipa::path(get, path = "/api/v1/devices/{device}/commands", operation_id = "list_commands", tag = "devices",
    params(("device" = String, Path), PageQuery),
    responses((status = 200, body = Page<View>), (status = 400, body = Problem),
        (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn list(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<View>>, Problem> {
    let device = find(&app, &device)?;
    let limit = page.limit()?;
    let before = match page.after() {
        "" => u64::MAX,
        number => number.parse().map_err(|_| bad_cursor())?,
    };
    let commands = store::commands::page(&app.store, &device.id, before, limit + 1).await?;
    let now_ms = app.clock.now_ms();
    let views = commands.into_iter().map(|command| View::new(command, now_ms)).collect();
    Ok(Json(Page::of(views, limit, |view| view.id.clone())))
}

/// Returns one command of a device.
#[utoipa::path(get, path = "/api/v1/devices/{device}/commands/{id}", operation_id = "show_command", tag = "devices",
    params(("device" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = View), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn show(
    State(app): State<Arc<App>>,
    Path((device, id)): Path<(String, String)>,
) -> Result<Json<View>, Problem> {
    let device = find(&app, &device)?;
    let number: u64 = id.parse().map_err(|_| unknown())?;
    // Those before the next number: the first of them is this one, or there is none.
    let found = store::commands::page(&app.store, &device.id, number.saturating_add(1), 1).await?;
    let command = found.into_iter().find(|command| command.number == number);
    let command = command.ok_or_else(unknown)?;
    Ok(Json(View::new(command, app.clock.now_ms())))
}

/// Takes a command back. One that was not sent never goes to the device; one that was sent may have been
/// carried out already, and if the device says so, that stands. Doing it twice is no error.
#[utoipa::path(delete, path = "/api/v1/devices/{device}/commands/{id}", operation_id = "cancel_command", tag = "devices",
    params(("device" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = View), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(in crate::http::admin) async fn cancel(
    State(app): State<Arc<App>>,
    Path((device, id)): Path<(String, String)>,
    author: Author,
) -> Result<Json<View>, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let device = find(&app, &device)?;
    let number: u64 = id.parse().map_err(|_| unknown())?;
    let command = store::commands::find(change.connection(), &device.id, number).await?;
    let command = command.ok_or_else(unknown)?;
    if command.state == Reached::Cancelled {
        return Ok(Json(View::new(command, at)));
    }
    let state = command.state_at(at);
    if !state.is_open() {
        let detail = format!("The command has come to its end: it is {state}.");
        return Err(Problem::conflict("command_ended", detail));
    }
    let state = Reached::Cancelled;
    store::commands::end(change.connection(), number, state, "", at).await?;
    let line = (Action::CommandCancelled, subject(&device), told(&command));
    change::record(&mut change, &author, at, line).await?;
    let turn = change.commit().await?;
    // What follows need not wait for an answer to this one.
    app.orders.ended(&device.id);
    drop(turn);
    Ok(Json(View::new(Command { state, ended_at: Some(at), ..command }, at)))
}

fn told(command: &Command) -> Value {
    json!({
        "id": command.number.to_string(), "command": command.order.to_string(),
        "arguments": command::arguments(&command.order),
    })
}

fn unknown() -> Problem {
    Problem::not_found("unknown_command", "The device has no command of this id.")
}

fn life(seconds: Option<u64>) -> Result<Duration, Problem> {
    let life = seconds.map_or(COMMAND_LIFE, Duration::from_secs);
    if (LIFE_MIN..=LIFE_MAX).contains(&life) {
        return Ok(life);
    }
    let (least, most) = (LIFE_MIN.as_secs(), LIFE_MAX.as_secs());
    let detail = format!("A command is good for {least} to {most} seconds.");
    Err(Problem::bad_request("invalid_life", detail).field("expires_in_s"))
}

fn check_room(open: usize) -> Result<(), Problem> {
    if open < OPEN_MAX {
        return Ok(());
    }
    let detail = format!(
        "{OPEN_MAX} commands wait for the device; more do not help it. Wait until it has answered, or take \
         some back."
    );
    Err(Problem::conflict("device_behind", detail))
}

/// Checks name and arguments by what devices of this product know.
async fn order(
    app: &App,
    device: &Device,
    name: CommandName,
    arguments: Map<String, Value>,
) -> Result<wire::Command, Problem> {
    if let Some(known) = Known::of(&name) {
        return known.order(&arguments).map_err(refused);
    }
    let commands = product_commands::of(&app.store, &device.product).await?;
    let commands: BTreeMap<_, _> = commands.into_iter().map(|it| (it.name, it.schema)).collect();
    let schema = commands.get(&name).ok_or_else(|| no_such(&device.product, &name))?;
    schema
        .check(&arguments)
        .map_err(|schema::Wrong { path, why }| refused(Refused::Argument(path, why)))?;
    command::for_application(name, arguments).map_err(refused)
}

fn no_such(product: &waxwing_wire::ProductId, name: &CommandName) -> Problem {
    let known = Known::ALL.map(Known::as_str).join(", ");
    let detail = format!(
        "Devices of {product} know no command {name}. There are {known}, and what `waxwing product command list \
         {product}` shows."
    );
    Problem::refused("unknown_command", detail).field("command")
}

fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::Argument(path, why) => {
            let field =
                if path.is_empty() { "arguments".to_owned() } else { format!("arguments.{path}") };
            Problem::refused("invalid_arguments", format!("`{field}` is refused: {why}."))
                .field(field)
        }
        Refused::TooLong => {
            let detail = format!("Arguments have {ARGUMENTS_BYTES_MAX} bytes of JSON at most.");
            Problem::refused("arguments_too_long", detail).field("arguments")
        }
    }
}
