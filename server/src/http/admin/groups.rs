//! `/api/v1/groups`: named sets of devices.

mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
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
        Self { id, product, devices, tags, query, created_at }
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
    let group =
        Group { members: members(&app, &new)?, id: new.id, product: new.product, created_at: at };
    store::groups::add(change.connection(), &group).await?;
    let subject = format!("group/{}", group.id);
    let view = GroupView::from(&group);
    let detail = json!({ "devices": view.devices, "tags": view.tags, "query": view.query });
    change::record(&mut change, &author, at, (Action::GroupCreated, subject, detail)).await?;
    let turn = change.commit().await?;
    app.fleet.put_group(group);
    drop(turn);
    Ok((StatusCode::CREATED, Json(view)))
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
    let (query, limit) = (device_query(&asked.query)?, limit(asked.limit)?);
    let product =
        asked.product.as_deref().map(|product| products::find(&app, product)).transpose()?;
    let page = fleet::Page { after: asked.after, limit: usize::try_from(limit).unwrap_or(1) };
    let found = app.fleet.search(&query, product.as_ref().map(|product| &product.id), page);
    Ok(Json(Preview::new(&query, found, page.limit)))
}

fn unknown() -> Problem {
    let detail = "There is no such group. `GET /api/v1/groups` lists them.";
    Problem::not_found("unknown_group", detail)
}

fn members(app: &App, new: &NewGroup) -> Result<Members, Problem> {
    if app.fleet.product(&new.product).is_none() {
        return Err(Problem::refused("unknown_product", products::NEXT_STEP).field("product"));
    }
    match (&new.devices, &new.tags, &new.query) {
        (Some(devices), None, None) => {
            check_devices(app, &new.product, devices)?;
            Ok(Members::Devices(devices.clone()))
        }
        (None, Some(tags), None) => {
            devices::check_tags(tags)?;
            Ok(Members::Tags(tags.clone()))
        }
        (None, None, Some(query)) => device_query(query).map(Members::Query),
        (_, _, _) => {
            let detail = "Give one of `devices`, `tags` and `query`.";
            Err(Problem::refused("invalid_group", detail).field("devices"))
        }
    }
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
