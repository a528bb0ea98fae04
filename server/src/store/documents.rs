//! SBOMs and provenance of releases, and what is in them.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;
use waxwing_documents::{Component, Format};
use waxwing_wire::{Channel, DeviceId, Digest, ProductId};

use super::row::{Row, to_integer, to_json};
use super::{Error, Store};
use crate::domain::document::{Attached, Document};

/// Adds a document. What is in it is asked for once a role lists it.
pub async fn add(
    db: &mut SqliteConnection,
    document: &Document,
    body: &[u8],
    components: &[Component],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO documents (product, sha256, format, length, subjects, body, uploaded_at, \
         components, builders) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(document.product.as_str())
    .bind(document.sha256.to_string())
    .bind(document.format.as_str())
    .bind(to_integer(document.length))
    .bind(to_json(&document.subjects))
    .bind(body)
    .bind(to_integer(document.uploaded_at))
    .bind(to_json(&components))
    .bind(to_json(&document.builders))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the documents of a product that no role lists, with the time of their upload in Unix
/// milliseconds, the oldest first.
pub async fn unlisted(
    db: &mut SqliteConnection,
    product: &ProductId,
) -> Result<Vec<(Digest, u64)>, Error> {
    let rows = sqlx::query(
        "SELECT sha256, uploaded_at FROM documents d WHERE product = $1 AND NOT EXISTS \
         (SELECT 1 FROM release_documents r WHERE r.product = d.product AND r.document = d.sha256) \
         ORDER BY uploaded_at, sha256",
    )
    .bind(product.as_str())
    .fetch_all(db)
    .await?;
    let rows = rows.iter().map(|row| Row::new("documents", row));
    rows.map(|row| Ok((row.parse("sha256")?, row.number("uploaded_at")?))).collect()
}

/// Removes a document that no role lists.
pub async fn remove(
    db: &mut SqliteConnection,
    product: &ProductId,
    sha256: &Digest,
) -> Result<(), Error> {
    for statement in [
        "DELETE FROM components WHERE product = $1 AND document = $2",
        "DELETE FROM documents WHERE product = $1 AND sha256 = $2",
    ] {
        let query = sqlx::query(statement).bind(product.as_str()).bind(sha256.to_string());
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// Returns all documents of a product by their hashes, without their bytes.
pub async fn of_product(
    store: &Store,
    product: &ProductId,
) -> Result<BTreeMap<Digest, Document>, Error> {
    let rows = sqlx::query(
        "SELECT product, sha256, format, length, subjects, builders, uploaded_at FROM documents \
         WHERE product = $1",
    )
    .bind(product.as_str())
    .fetch_all(store.readers())
    .await?;
    let documents = rows.iter().map(|row| read(&Row::new("documents", row)));
    documents.map(|document| document.map(|document| (document.sha256, document))).collect()
}

/// Returns the bytes of a document.
pub async fn body(
    store: &Store,
    product: &ProductId,
    sha256: &Digest,
) -> Result<Option<Vec<u8>>, Error> {
    let row = sqlx::query("SELECT body FROM documents WHERE product = $1 AND sha256 = $2")
        .bind(product.as_str())
        .bind(sha256.to_string())
        .fetch_optional(store.readers())
        .await?;
    row.as_ref().map(|row| Row::new("documents", row).bytes("body")).transpose()
}

/// Notes what the roles list now, and what is in it. What they no longer list stays: devices may still run the release.
pub async fn attach(
    db: &mut SqliteConnection,
    product: &ProductId,
    attached: &[Attached],
) -> Result<(), Error> {
    for one in attached {
        sqlx::query(
            "INSERT INTO release_documents (product, channel, version, format, document) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (product, channel, version, format) \
             DO UPDATE SET document = excluded.document",
        )
        .bind(product.as_str())
        .bind(one.channel.as_str())
        .bind(one.version.to_string())
        .bind(one.format.as_str())
        .bind(one.document.to_string())
        .execute(&mut *db)
        .await?;
        add_components(&mut *db, product, &one.document).await?;
    }
    Ok(())
}

/// Gives the components of a document rows of their own, if they have none.
async fn add_components(
    db: &mut SqliteConnection,
    product: &ProductId,
    document: &Digest,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO components (product, document, name, version, purl, cpe) \
         SELECT d.product, d.sha256, c.value ->> 'name', c.value ->> 'version', \
         c.value ->> 'purl', c.value ->> 'cpe' FROM documents d, json_each(d.components) AS c \
         WHERE d.product = $1 AND d.sha256 = $2 AND NOT EXISTS \
         (SELECT 1 FROM components k WHERE k.product = d.product AND k.document = d.sha256)",
    )
    .bind(product.as_str())
    .bind(document.to_string())
    .execute(db)
    .await?;
    Ok(())
}

/// A component of a release.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contained {
    /// The channel of the release.
    pub channel: Channel,
    /// The version of the release.
    pub release: semver::Version,
    /// Hash of its image.
    pub image: Digest,
    /// Name of the component.
    pub name: String,
    /// Version of the component.
    pub version: Option<String>,
    /// Package URL of the component.
    pub purl: Option<String>,
}

/// Returns in which releases of a product a component is, by its name or its package URL, with or
/// without version and qualifiers.
pub async fn containing(
    store: &Store,
    product: &ProductId,
    name: Option<&str>,
    purl: Option<&str>,
) -> Result<Vec<Contained>, Error> {
    let rows = sqlx::query(
        "SELECT DISTINCT r.channel AS channel, r.version AS release_version, r.sha256 AS image, \
         c.name AS name, c.version AS component_version, c.purl AS purl \
         FROM components c \
         JOIN release_documents d ON d.product = c.product AND d.document = c.document \
         JOIN releases r ON r.product = d.product AND r.channel = d.channel \
         AND r.version = d.version \
         WHERE c.product = $1 AND ($2 IS NULL OR c.name = $2) AND ($3 IS NULL OR c.purl = $3 \
         OR substr(c.purl, 1, length($3) + 1) IN ($3 || '@', $3 || '?')) \
         ORDER BY r.channel, r.version, c.name",
    )
    .bind(product.as_str())
    .bind(name)
    .bind(purl)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| contained(&Row::new("components", row))).collect()
}

/// Returns devices of a product that were last seen running an image, by name.
pub async fn running(
    store: &Store,
    product: &ProductId,
    image: &Digest,
    after: &str,
    limit: u32,
) -> Result<Vec<DeviceId>, Error> {
    let rows = sqlx::query(
        "SELECT id FROM devices WHERE product = $1 AND sha256 = $2 AND id > $3 ORDER BY id LIMIT $4",
    )
    .bind(product.as_str())
    .bind(image.to_string())
    .bind(after)
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| Row::new("devices", row).parse("id")).collect()
}

fn read(row: &Row<'_>) -> Result<Document, Error> {
    Ok(Document {
        product: row.parse("product")?,
        sha256: row.parse("sha256")?,
        format: row.parse::<Format>("format")?,
        length: row.number("length")?,
        subjects: row.json("subjects")?,
        builders: row.json("builders")?,
        uploaded_at: row.number("uploaded_at")?,
    })
}

fn contained(row: &Row<'_>) -> Result<Contained, Error> {
    Ok(Contained {
        channel: row.parse("channel")?,
        release: row.parse("release_version")?,
        image: row.parse("image")?,
        name: row.text("name")?,
        version: row.text_or_null("component_version")?,
        purl: row.text_or_null("purl")?,
    })
}
