//! `/api/v1/products/{product}/commands`: what the applications of a product can be asked for.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use waxwing_wire::{CommandName, ProductId};

use super::super::change;
use super::super::input::{Author, Body};
use super::super::output::time;
use super::find;
use crate::app::App;
use crate::domain::audit::Action;
use crate::domain::command::Known;
use crate::domain::schema::{SCHEMA_BYTES_MAX, Schema, Wrong};
use crate::http::{Path, Problem};
use crate::store::product_commands::{self, ProductCommand};

/// Most commands of one product: a page of them.
const COMMANDS_MAX: usize = 64;

/// A command that applications know.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct NewProductCommand {
    /// JSON Schema of the arguments, as far as docs/commands.md says.
    #[schema(value_type = Object, example = json!({"type": "object"}))]
    schema: Value,
}

/// A command that applications of a product know.
#[derive(Serialize, ToSchema)]
#[schema(as = ProductCommand)]
pub(in super::super) struct View {
    #[schema(value_type = String)]
    product: ProductId,
    /// What it is called.
    #[schema(value_type = String, example = "beep")]
    name: CommandName,
    /// JSON Schema of the arguments.
    #[schema(value_type = Object)]
    schema: Value,
    /// Since when it is so, as RFC 3339.
    changed_at: String,
}

impl From<ProductCommand> for View {
    fn from(command: ProductCommand) -> Self {
        let ProductCommand { product, name, schema, changed_at } = command;
        Self { product, name, schema: schema.as_json().clone(), changed_at: time(changed_at) }
    }
}

/// Returns what the applications of a product can be asked for.
#[utoipa::path(get, path = "/api/v1/products/{product}/commands", operation_id = "list_product_commands",
    tag = "products", params(("product" = String, Path)),
    responses((status = 200, body = Vec<View>), (status = 404, body = Problem)))]
pub(in super::super) async fn list(
    State(app): State<Arc<App>>,
    Path(product): Path<String>,
) -> Result<Json<Vec<View>>, Problem> {
    let product = find(&app, &product)?;
    let commands = product_commands::of(&app.store, &product.id).await?;
    Ok(Json(commands.into_iter().map(View::from).collect()))
}

/// Lets operators ask applications of a product for something, with arguments that a schema allows.
#[utoipa::path(put, path = "/api/v1/products/{product}/commands/{name}", operation_id = "set_product_command",
    tag = "products", params(("product" = String, Path), ("name" = String, Path)),
    request_body = NewProductCommand,
    responses((status = 200, body = View), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(in super::super) async fn set(
    State(app): State<Arc<App>>,
    Path((product, name)): Path<(String, String)>,
    author: Author,
    Body(NewProductCommand { schema }): Body<NewProductCommand>,
) -> Result<Json<View>, Problem> {
    let (name, schema) = (command_name(&name)?, understood(schema)?);
    let (mut change, at) = change::begin(&app).await?;
    let product = find(&app, &product)?;
    let others = product_commands::of(&app.store, &product.id).await?;
    if others.iter().filter(|other| other.name != name).count() >= COMMANDS_MAX {
        let detail = format!("A product has {COMMANDS_MAX} commands at most. Remove one first.");
        return Err(Problem::conflict("too_many_commands", detail));
    }
    let command = ProductCommand { product: product.id.clone(), name, schema, changed_at: at };
    product_commands::put(change.connection(), &command).await?;
    let detail = json!({ "command": command.name, "schema": command.schema.as_json() });
    let line = (Action::ProductCommandSet, format!("product/{}", product.id), detail);
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    Ok(Json(View::from(command)))
}

/// Lets nobody ask for it any more; what was sent before stays. Doing it twice is no error.
#[utoipa::path(delete, path = "/api/v1/products/{product}/commands/{name}",
    operation_id = "remove_product_command", tag = "products",
    params(("product" = String, Path), ("name" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(in super::super) async fn remove(
    State(app): State<Arc<App>>,
    Path((product, name)): Path<(String, String)>,
    author: Author,
) -> Result<StatusCode, Problem> {
    let name = command_name(&name)?;
    let (mut change, at) = change::begin(&app).await?;
    let product = find(&app, &product)?;
    if product_commands::remove(change.connection(), &product.id, &name).await? {
        let detail = json!({ "command": name });
        let line = (Action::ProductCommandRemoved, format!("product/{}", product.id), detail);
        change::record(&mut change, &author, at, line).await?;
        drop(change.commit().await?);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A name that devices know without their application would never reach it.
fn command_name(text: &str) -> Result<CommandName, Problem> {
    let refused = |detail: String| Problem::refused("invalid_command", detail).field("name");
    let name: CommandName = text.parse().map_err(|error| refused(format!("{error}.")))?;
    match Known::of(&name) {
        None => Ok(name),
        Some(_) => Err(refused(format!("Every device knows {name}. Call it something else."))),
    }
}

fn understood(schema: Value) -> Result<Schema, Problem> {
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        let detail = format!("A schema has {SCHEMA_BYTES_MAX} bytes at most.");
        return Err(Problem::refused("invalid_schema", detail).field("schema"));
    }
    Schema::new(schema).map_err(|Wrong { path, why }| {
        let field = if path.is_empty() { "schema".to_owned() } else { format!("schema.{path}") };
        Problem::refused("invalid_schema", format!("`{field}` is refused: {why}.")).field(field)
    })
}
