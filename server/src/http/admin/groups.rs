//! `/api/v1/groups`: named sets of devices.

mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use waxwing_wire::{DeviceId, GroupId, ProductId};

use self::view::Preview;
use super::input::{Author, Body, PageQuery, PreviewQuery, Query, device_query, limit, name};
use super::output::{Page, time};
use super::{change, devices, products};
use crate::app::App;
use crate::domain::Group;
use crate::domain::audit::Action;
use crate::domain::device::Tags;
use crate::domain::group::Members;
use crate::fleet;
use crate::http::{Path, Problem};
use crate::store;

/// Most devices that a group may list. Larger groups are queries.
const DEVICES_MAX: usize = 10_000;

/// The path of this name is taken.
const RESERVED: &str = "preview";

/// Longest description of a group, in bytes: a sentence or two.
const DESCRIPTION_BYTES_MAX: usize = 500;

/// A group to make: of devices, of tags, or of whom a query asks for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGroup {
    /// Its name.
    #[schema(value_type = String, example = "berlin")]
    id: GroupId,
    /// The product of all its devices.
    #[schema(value_type = String)]
    product: ProductId,
    /// Exactly these devices.
    #[schema(value_type = Option<Vec<String>>)]
    devices: Option<BTreeSet<DeviceId>>,
    /// Every device that carries all these tags.
    #[schema(value_type = Option<Object>, example = json!({"site": "berlin"}))]
    tags: Option<Tags>,
    /// Every device that this query asks for, as soon as it does: RSQL, see docs/groups.md.
    #[schema(example = "tag==canary;version=lt=1.4.0")]
    query: Option<String>,
    /// What to say of it.
    #[serde(default)]
    description: String,
}

/// What to change of a group; what is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupEdit {
    /// Exactly these devices.
    #[schema(value_type = Option<Vec<String>>)]
    devices: Option<BTreeSet<DeviceId>>,
    /// Every device that carries all these tags.
    #[schema(value_type = Option<Object>)]
    tags: Option<Tags>,
    /// Every device that this query asks for, as soon as it does.
    #[schema(example = "tag==canary;version=lt=1.4.0")]
    query: Option<String>,
    /// What to say of it.
    description: Option<String>,
}

/// A group.
#[derive(Serialize, ToSchema)]
#[schema(as = Group)]
pub(super) struct GroupView {
    /// Its name.
    #[schema(value_type = String)]
    id: GroupId,
    /// The product of all its devices.
    #[schema(value_type = String)]
    product: ProductId,
    /// What operators say of it; may be empty.
    description: String,
    /// Exactly these devices; `null` for other groups.
    #[schema(value_type = Option<Vec<String>>)]
    devices: Option<BTreeSet<DeviceId>>,
    /// Every device that carries all these tags; `null` for other groups.
    #[schema(value_type = Option<Object>)]
    tags: Option<Tags>,
    /// Every device that this query asks for; `null` for other groups.
    query: Option<String>,
    /// When it was made, as RFC 3339.
    created_at: String,
}

impl From<&Group> for GroupView {
    fn from(group: &Group) -> Self {
        let (devices, tags, query) = match &group.members {
            Members::Devices(devices) => (Some(devices.clone()), None, None),
            Members::Query(query) => (None, None, Some(query.to_string())),
            Members::Tags(tags) => (None, Some(tags.clone()), None),
        };
        let (id, product, created_at) =
            (group.id.clone(), group.product.clone(), time(group.created_at));
        let description = group.description.clone();
        Self { id, product, description, devices, tags, query, created_at }
    }
}

/// Returns all groups, by name.
#[utoipa::path(get, path = "/api/v1/groups", operation_id = "list_groups", tag = "groups", params(PageQuery),
    responses((status = 200, body = Page<GroupView>), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<GroupView>>, Problem> {
    let limit = page.limit()?;
    let groups = app.fleet.groups(page.after(), limit + 1);
    let groups = groups.iter().map(|group| GroupView::from(&**group)).collect();
    Ok(Json(Page::of(groups, limit, |group: &GroupView| group.id.to_string())))
}

/// Returns a group.
#[utoipa::path(get, path = "/api/v1/groups/{group}", operation_id = "show_group", tag = "groups",
    params(("group" = String, Path)),
    responses((status = 200, body = GroupView), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(group): Path<String>,
) -> Result<Json<GroupView>, Problem> {
    let group = app.fleet.group(&name(&group, unknown)?).ok_or_else(unknown)?;
    Ok(Json(GroupView::from(&*group)))
}

/// Makes a group.
#[utoipa::path(post, path = "/api/v1/groups", operation_id = "create_group", tag = "groups", request_body = NewGroup,
    responses((status = 201, body = GroupView), (status = 400, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    author: Author,
    Body(new): Body<NewGroup>,
) -> Result<(StatusCode, Json<GroupView>), Problem> {
    let (mut change, at) = change::begin(&app).await?;
    if new.id.as_str() == RESERVED {
        let detail = format!("A group cannot be called {RESERVED}. Choose another id.");
        return Err(Problem::refused("invalid_group", detail).field("id"));
    }
    if app.fleet.group(&new.id).is_some() {
        let detail = format!("There is a group {} already. Choose another id.", new.id);
        return Err(Problem::conflict("group_exists", detail).field("id"));
    }
    check_description(&new.description)?;
    let NewGroup { id, product, devices, tags, query, description } = new;
    let members = members(&app, &product, (devices, tags, query))?;
    let group = Group { id, product, description, members, created_at: at };
    store::groups::add(change.connection(), &group).await?;
    let subject = format!("group/{}", group.id);
    let view = GroupView::from(&group);
    let line = (Action::GroupCreated, subject, detail(&view));
    change::record(&mut change, &author, at, line).await?;
    let turn = change.commit().await?;
    app.fleet.put_group(group);
    drop(turn);
    Ok((StatusCode::CREATED, Json(view)))
}

/// Changes who belongs to a group, or what is said of it. Its members stay as they are while a rollout that
/// is not over names the group: the plan was checked against them.
#[utoipa::path(patch, path = "/api/v1/groups/{group}", operation_id = "edit_group", tag = "groups",
    params(("group" = String, Path)), request_body = GroupEdit,
    responses((status = 200, body = GroupView), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn edit(
    State(app): State<Arc<App>>,
    Path(group): Path<String>,
    author: Author,
    Body(edit): Body<GroupEdit>,
) -> Result<Json<GroupView>, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let old = app.fleet.group(&name(&group, unknown)?).ok_or_else(unknown)?;
    let mut group = Group::clone(&old);
    group.description = edit.description.unwrap_or(group.description);
    check_description(&group.description)?;
    let who = (edit.devices, edit.tags, edit.query);
    if who != (None, None, None) {
        group.members = members(&app, &group.product, who)?;
    }
    if group.members != old.members {
        refuse_in_use(&app, &group)?;
    }
    store::groups::update(change.connection(), &group).await?;
    let view = GroupView::from(&group);
    let detail = json!({ "before": detail(&GroupView::from(&*old)), "after": detail(&view) });
    let line = (Action::GroupEdited, format!("group/{}", group.id), detail);
    change::record(&mut change, &author, at, line).await?;
    let turn = change.commit().await?;
    app.fleet.put_group(group);
    drop(turn);
    Ok(Json(view))
}

/// Searches the fleet like `GET`, for a query that is too long for an address.
#[utoipa::path(post, path = "/api/v1/groups/preview", operation_id = "preview_long_group", tag = "groups", request_body = PreviewQuery,
    responses((status = 200, body = Preview), (status = 400, body = Problem),
        (status = 422, body = Problem)))]
pub(super) async fn preview_long(
    State(app): State<Arc<App>>,
    Body(asked): Body<PreviewQuery>,
) -> Result<Json<Preview>, Problem> {
    search(&app, &asked)
}

/// Searches the fleet: whom a group of this query would have now, and how many devices each comparison
/// finds by itself. Devices come in the order in which they were registered.
#[utoipa::path(get, path = "/api/v1/groups/preview", operation_id = "preview_group", tag = "groups", params(PreviewQuery),
    responses((status = 200, body = Preview), (status = 400, body = Problem),
        (status = 422, body = Problem)))]
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    Query(asked): Query<PreviewQuery>,
) -> Result<Json<Preview>, Problem> {
    search(&app, &asked)
}

fn search(app: &App, asked: &PreviewQuery) -> Result<Json<Preview>, Problem> {
    let (query, limit) = (device_query(&asked.query)?, limit(asked.limit)?);
    let product =
        asked.product.as_deref().map(|product| products::find(app, product)).transpose()?;
    let page = fleet::Page { after: asked.after, limit: usize::try_from(limit).unwrap_or(1) };
    let found = app.fleet.search(&query, product.as_ref().map(|product| &product.id), page);
    Ok(Json(Preview::new(&query, found, page.limit)))
}

fn unknown() -> Problem {
    let detail = "There is no such group. `GET /api/v1/groups` lists them.";
    Problem::not_found("unknown_group", detail)
}

/// What the audit log says of a group.
fn detail(view: &GroupView) -> Value {
    json!({
        "description": view.description, "devices": view.devices, "tags": view.tags,
        "query": view.query,
    })
}

/// Who is to belong to a group: devices, tags or a query.
type Who = (Option<BTreeSet<DeviceId>>, Option<Tags>, Option<String>);

fn members(app: &App, product: &ProductId, who: Who) -> Result<Members, Problem> {
    if app.fleet.product(product).is_none() {
        return Err(Problem::refused("unknown_product", products::NEXT_STEP).field("product"));
    }
    match who {
        (Some(devices), None, None) => {
            check_devices(app, product, &devices)?;
            Ok(Members::Devices(devices))
        }
        (None, Some(tags), None) => {
            devices::check_tags(&tags)?;
            Ok(Members::Tags(tags))
        }
        (None, None, Some(query)) => device_query(&query).map(Members::Query),
        (_, _, _) => {
            let detail = "Give one of `devices`, `tags` and `query`.";
            Err(Problem::refused("invalid_group", detail).field("devices"))
        }
    }
}

fn check_description(description: &str) -> Result<(), Problem> {
    let has_control = description.chars().any(char::is_control);
    if description.len() <= DESCRIPTION_BYTES_MAX && !has_control {
        return Ok(());
    }
    let detail =
        format!("At most {DESCRIPTION_BYTES_MAX} bytes, on one line without control characters.");
    Err(Problem::refused("invalid_group", detail).field("description"))
}

/// Refuses when a rollout that is not over names the group.
fn refuse_in_use(app: &App, group: &Group) -> Result<(), Problem> {
    let open = app.fleet.open_rollouts();
    let Some(rollout) = open.iter().find(|rollout| rollout.names(&group.id)) else {
        return Ok(());
    };
    let detail = format!(
        "The rollout {} is {} and is for this group. Cancel it or wait for its end, or make another group.",
        rollout.id, rollout.state
    );
    Err(Problem::conflict("group_in_use", detail))
}

fn check_devices(
    app: &App,
    product: &ProductId,
    devices: &BTreeSet<DeviceId>,
) -> Result<(), Problem> {
    if devices.len() > DEVICES_MAX {
        let detail = format!("A group lists at most {DEVICES_MAX} devices. Use a query.");
        return Err(Problem::refused("invalid_group", detail).field("devices"));
    }
    let stranger = devices
        .iter()
        .find(|id| app.fleet.device(id).is_none_or(|device| device.product != *product));
    match stranger {
        None => Ok(()),
        Some(id) => {
            let detail = format!("{id} is no device of {product}.");
            Err(Problem::refused("unknown_device", detail).field("devices"))
        }
    }
}
