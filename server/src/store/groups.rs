//! Groups and the devices they list.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;
use waxwing_wire::{DeviceId, GroupId};

use super::row::{Row, to_integer, to_json};
use super::{Error, Store};
use crate::domain::Group;
use crate::domain::group::Members;

/// Adds a group. The devices it lists must be there.
pub async fn add(db: &mut SqliteConnection, group: &Group) -> Result<(), Error> {
    let (devices, tags, query) = match &group.members {
        Members::Devices(devices) => (Some(devices), None, None),
        Members::Tags(tags) => (None, Some(to_json(tags)), None),
        Members::Query(query) => (None, None, Some(query.to_string())),
    };
    sqlx::query(
        "INSERT INTO groups (id, product, tags, created_at, query) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(group.id.as_str())
    .bind(group.product.as_str())
    .bind(tags)
    .bind(to_integer(group.created_at))
    .bind(query)
    .execute(&mut *db)
    .await?;
    let Some(devices) = devices else { return Ok(()) };
    sqlx::query("INSERT INTO group_members (group_id, device) SELECT $1, value FROM json_each($2)")
        .bind(group.id.as_str())
        .bind(to_json(devices))
        .execute(db)
        .await?;
    Ok(())
}

/// Returns all groups.
pub async fn all(store: &Store) -> Result<Vec<Group>, Error> {
    let mut lists = members(store).await?;
    let rows = sqlx::query("SELECT * FROM groups ORDER BY id").fetch_all(store.readers()).await?;
    rows.iter().map(|row| read(&Row::new("groups", row), &mut lists)).collect()
}

async fn members(store: &Store) -> Result<BTreeMap<GroupId, BTreeSet<DeviceId>>, Error> {
    let rows = sqlx::query("SELECT group_id, device FROM group_members")
        .fetch_all(store.readers())
        .await?;
    let mut lists = BTreeMap::<_, BTreeSet<_>>::new();
    for row in &rows {
        let row = Row::new("group_members", row);
        lists.entry(row.parse("group_id")?).or_default().insert(row.parse("device")?);
    }
    Ok(lists)
}

fn read(row: &Row<'_>, lists: &mut BTreeMap<GroupId, BTreeSet<DeviceId>>) -> Result<Group, Error> {
    let id = row.parse("id")?;
    let members = match (row.parse_or_null("query")?, row.text_or_null("tags")?) {
        (Some(query), _) => Members::Query(query),
        (None, Some(_)) => Members::Tags(row.json("tags")?),
        (None, None) => Members::Devices(lists.remove(&id).unwrap_or_default()),
    };
    Ok(Group { id, product: row.parse("product")?, members, created_at: row.number("created_at")? })
}
