//! What alerts are about, counted by product, with a few examples each.
//!
//! Not here: from which number on somebody is told.

use sqlx::SqliteConnection;
use waxwing_wire::ProductId;

use super::row::{Row, to_integer};
use super::{Error, Store};
use crate::domain::alert::EXAMPLES_MAX;

/// How many devices of a product, and some of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Counted {
    /// The product.
    pub product: ProductId,
    /// How many.
    pub devices: u64,
    /// Some of them.
    pub examples: Vec<String>,
}

/// Two statements: how many of each product, and a few of one. Both take a time as `$1`, the second
/// also the product and how many.
type Statements = (&'static str, &'static str);

/// Devices that were heard of, but not since a time. A device that nobody ever heard of is not lost: it
/// may not have been switched on. Grouped by what no index has: one after the other, a million rows take a
/// fifth of a second; by the index, four times as long.
const LOST: Statements = (
    "SELECT product || '' AS product, count(*) AS devices FROM devices WHERE status = 'active' \
     AND coalesce(seen_at, 0) <= $1 AND coalesce(heard_at, 0) <= $1 \
     AND (seen_at IS NOT NULL OR heard_at IS NOT NULL) GROUP BY product || '' ORDER BY 1",
    "SELECT id AS device FROM devices WHERE product = $2 AND status = 'active' \
     AND coalesce(seen_at, 0) <= $1 AND coalesce(heard_at, 0) <= $1 \
     AND (seen_at IS NOT NULL OR heard_at IS NOT NULL) ORDER BY id LIMIT $3",
);

/// Devices whose certificate ends up to a time, and that have not fetched another one. `CROSS`, so that the
/// few certificates are read first and not all devices: SQLite takes the tables in this order.
const ENDING: Statements = (
    "SELECT devices.product AS product, count(*) AS devices FROM certificates \
     CROSS JOIN devices ON devices.id = certificates.device \
     WHERE certificates.status = 'current' AND certificates.expires_at <= $1 \
     AND devices.status = 'active' AND NOT EXISTS (SELECT 1 FROM certificates AS later \
       WHERE later.device = devices.id AND later.status = 'next' AND later.expires_at > $1) \
     GROUP BY devices.product ORDER BY devices.product",
    "SELECT certificates.device AS device FROM certificates \
     CROSS JOIN devices ON devices.id = certificates.device \
     WHERE certificates.status = 'current' AND certificates.expires_at <= $1 \
     AND devices.status = 'active' AND devices.product = $2 \
     AND NOT EXISTS (SELECT 1 FROM certificates AS later \
       WHERE later.device = devices.id AND later.status = 'next' AND later.expires_at > $1) \
     ORDER BY certificates.expires_at LIMIT $3",
);

/// Deployments that ended badly after a time.
const FAILED: Statements = (
    "SELECT rollouts.product AS product, count(*) AS devices FROM deployments \
     JOIN rollouts ON rollouts.id = deployments.rollout \
     WHERE deployments.state IN ('failed', 'rolled_back', 'timed_out') \
     AND deployments.changed_at > $1 GROUP BY rollouts.product ORDER BY rollouts.product",
    "SELECT deployments.device AS device FROM deployments \
     JOIN rollouts ON rollouts.id = deployments.rollout \
     WHERE deployments.state IN ('failed', 'rolled_back', 'timed_out') \
     AND deployments.changed_at > $1 AND rollouts.product = $2 \
     ORDER BY deployments.changed_at DESC LIMIT $3",
);

/// Spent enrolment tokens that came with another key after a time (D13).
const MISUSED: Statements = (
    "SELECT devices.product AS product, count(*) AS devices FROM tokens \
     JOIN devices ON devices.id = tokens.device WHERE tokens.misused_at > $1 \
     GROUP BY devices.product ORDER BY devices.product",
    "SELECT tokens.device AS device FROM tokens JOIN devices ON devices.id = tokens.device \
     WHERE tokens.misused_at > $1 AND devices.product = $2 ORDER BY tokens.misused_at DESC LIMIT $3",
);

/// Returns the devices that were not heard of since a time, in Unix milliseconds.
pub async fn lost(store: &Store, since_ms: u64) -> Result<Vec<Counted>, Error> {
    counted(store, LOST, since_ms).await
}

/// Returns the devices whose certificate ends up to a time, in Unix milliseconds.
pub async fn ending(store: &Store, until_ms: u64) -> Result<Vec<Counted>, Error> {
    counted(store, ENDING, until_ms).await
}

/// Returns the devices on which an update failed since a time, in Unix milliseconds.
pub async fn failed(store: &Store, since_ms: u64) -> Result<Vec<Counted>, Error> {
    counted(store, FAILED, since_ms).await
}

/// Returns the devices whose enrolment token was tried with another key since a time, in Unix
/// milliseconds.
pub async fn misused(store: &Store, since_ms: u64) -> Result<Vec<Counted>, Error> {
    counted(store, MISUSED, since_ms).await
}

async fn counted(store: &Store, statements: Statements, at_ms: u64) -> Result<Vec<Counted>, Error> {
    let (count, _) = statements;
    let mut reader = store.reader().await?;
    let rows = sqlx::query(count).bind(to_integer(at_ms)).fetch_all(&mut *reader).await?;
    let mut counted = Vec::with_capacity(rows.len());
    for row in &rows {
        let row = Row::new("devices", row);
        let product: ProductId = row.parse("product")?;
        let examples = examples(&mut reader, statements, at_ms, &product).await?;
        counted.push(Counted { product, devices: row.number("devices")?, examples });
    }
    Ok(counted)
}

async fn examples(
    db: &mut SqliteConnection,
    (_, some): Statements,
    at_ms: u64,
    product: &ProductId,
) -> Result<Vec<String>, Error> {
    let rows = sqlx::query(some)
        .bind(to_integer(at_ms))
        .bind(product.as_str())
        .bind(i64::try_from(EXAMPLES_MAX).unwrap_or(i64::MAX))
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| Row::new("devices", row).text("device")).collect()
}
