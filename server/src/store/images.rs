//! Images that were checked and stored; the bytes are in the blob folder.

use sqlx::SqliteConnection;
use waxwing_wire::{Digest, ProductId};

use super::row::{Row, to_integer, to_json};
use super::{Error, Store};

/// What an image says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    /// The product it was uploaded for.
    pub product: ProductId,
    /// Its hash.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
    /// Version in its descriptor.
    pub version: Option<String>,
    /// Project in its descriptor.
    pub project: Option<String>,
    /// Anti-rollback version in its descriptor, 0 without one.
    pub secure_version: u32,
    /// Digests of the Secure Boot keys that signed it, in the order of the blocks.
    pub signed_by: Vec<Digest>,
    /// Hash of the list of its chunks, if it has one (D8).
    pub chunks: Option<Digest>,
    /// When it came, in Unix milliseconds.
    pub uploaded_at: u64,
}

/// Adds an image; one that is there already stays as it is.
pub async fn add(db: &mut SqliteConnection, image: &Image) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO images \
         (product, sha256, length, version, project, secure_version, signed_by, chunks, \
         uploaded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
    )
    .bind(image.product.as_str())
    .bind(image.sha256.to_string())
    .bind(to_integer(image.length))
    .bind(&image.version)
    .bind(&image.project)
    .bind(i64::from(image.secure_version))
    .bind(to_json(&image.signed_by))
    .bind(image.chunks.map(|list| list.to_string()))
    .bind(to_integer(image.uploaded_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Replaces what is read out of an image.
pub async fn set_read(db: &mut SqliteConnection, image: &Image) -> Result<(), Error> {
    sqlx::query("UPDATE images SET signed_by = $3, chunks = $4 WHERE product = $1 AND sha256 = $2")
        .bind(image.product.as_str())
        .bind(image.sha256.to_string())
        .bind(to_json(&image.signed_by))
        .bind(image.chunks.map(|list| list.to_string()))
        .execute(db)
        .await?;
    Ok(())
}

/// Returns an image of a product.
pub async fn find(
    store: &Store,
    product: &ProductId,
    sha256: &Digest,
) -> Result<Option<Image>, Error> {
    let row = sqlx::query("SELECT * FROM images WHERE product = $1 AND sha256 = $2")
        .bind(product.as_str())
        .bind(sha256.to_string())
        .fetch_optional(store.readers())
        .await?;
    row.as_ref().map(|row| read(&Row::new("images", row))).transpose()
}

/// Returns all images of a product.
pub async fn of_product(store: &Store, product: &ProductId) -> Result<Vec<Image>, Error> {
    let rows = sqlx::query("SELECT * FROM images WHERE product = $1")
        .bind(product.as_str())
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(|row| read(&Row::new("images", row))).collect()
}

fn read(row: &Row<'_>) -> Result<Image, Error> {
    Ok(Image {
        product: row.parse("product")?,
        sha256: row.parse("sha256")?,
        length: row.number("length")?,
        version: row.text_or_null("version")?,
        project: row.text_or_null("project")?,
        secure_version: row.number("secure_version")?,
        signed_by: row.json("signed_by")?,
        chunks: row.parse_or_null("chunks")?,
        uploaded_at: row.number("uploaded_at")?,
    })
}
