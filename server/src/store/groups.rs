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
    sqlx::query(
        "INSERT INTO groups (id, product, tags, created_at, query, description) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(group.id.as_str())
    .bind(group.product.as_str())
    .bind(tags(group))
    .bind(to_integer(group.created_at))
    .bind(query(group))
    .bind(&group.description)
    .execute(&mut *db)
    .await?;
    list(db, group).await
}

/// Writes what is said of a group, and who belongs to it.
pub async fn update(db: &mut SqliteConnection, group: &Group) -> Result<(), Error> {
    sqlx::query("UPDATE groups SET tags = $2, query = $3, description = $4 WHERE id = $1")
        .bind(group.id.as_str())
        .bind(tags(group))
        .bind(query(group))
        .bind(&group.description)
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM group_members WHERE group_id = $1")
        .bind(group.id.as_str())
        .execute(&mut *db)
        .await?;
    list(db, group).await
}

async fn list(db: &mut SqliteConnection, group: &Group) -> Result<(), Error> {
    let Members::Devices(devices) = &group.members else { return Ok(()) };
    sqlx::query("INSERT INTO group_members (group_id, device) SELECT $1, value FROM json_each($2)")
        .bind(group.id.as_str())
        .bind(to_json(devices))
        .execute(db)
        .await?;
    Ok(())
}

fn tags(group: &Group) -> Option<String> {
    match &group.members {
        Members::Tags(tags) => Some(to_json(tags)),
        Members::Devices(_) | Members::Query(_) => None,
    }
}

fn query(group: &Group) -> Option<String> {
    match &group.members {
        Members::Query(query) => Some(query.to_string()),
        Members::Devices(_) | Members::Tags(_) => None,
    }
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
    Ok(Group {
        id,
        product: row.parse("product")?,
        description: row.text("description")?,
        members,
        created_at: row.number("created_at")?,
    })
}
