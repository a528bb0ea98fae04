//! Releases: rewritten from the signed role files whenever new ones are stored.

use sqlx::SqliteConnection;
use waxwing_wire::ProductId;

use super::row::{Row, to_integer};
use super::{Error, Store};
use crate::domain::Release;

/// Adds or replaces a release.
pub async fn put(db: &mut SqliteConnection, release: &Release) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO releases (product, channel, version, path, sha256, length, \
         security_version, \"match\", ceiling_permille, chunks, listed, changed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (product, channel, version) DO UPDATE SET path = excluded.path, \
         sha256 = excluded.sha256, length = excluded.length, \
         security_version = excluded.security_version, \"match\" = excluded.\"match\", \
         ceiling_permille = excluded.ceiling_permille, chunks = excluded.chunks, \
         listed = excluded.listed, changed_at = excluded.changed_at",
    )
    .bind(release.product.as_str())
    .bind(release.channel.as_str())
    .bind(release.version.to_string())
    .bind(&release.path)
    .bind(release.sha256.to_string())
    .bind(to_integer(release.length))
    .bind(i64::from(release.r#match.security_version))
    .bind(super::row::to_json(&release.r#match))
    .bind(release.ceiling_permille)
    .bind(release.chunks.map(|list| list.to_string()))
    .bind(i64::from(release.listed))
    .bind(to_integer(release.changed_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns every release ever listed.
pub async fn all(store: &Store) -> Result<Vec<Release>, Error> {
    let rows = sqlx::query("SELECT * FROM releases").fetch_all(store.readers()).await?;
    rows.iter().map(|row| read(&Row::new("releases", row))).collect()
}

/// Returns every release of a product ever listed.
pub async fn of_product(store: &Store, product: &ProductId) -> Result<Vec<Release>, Error> {
    let rows = sqlx::query("SELECT * FROM releases WHERE product = $1")
        .bind(product.as_str())
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(|row| read(&Row::new("releases", row))).collect()
}

fn read(row: &Row<'_>) -> Result<Release, Error> {
    Ok(Release {
        product: row.parse("product")?,
        channel: row.parse("channel")?,
        version: row.parse("version")?,
        path: row.text("path")?,
        sha256: row.parse("sha256")?,
        length: row.number("length")?,
        r#match: row.json("match")?,
        ceiling_permille: row.number_or_null("ceiling_permille")?,
        chunks: row.parse_or_null("chunks")?,
        listed: row.number::<u8>("listed")? != 0,
        changed_at: row.number("changed_at")?,
    })
}
