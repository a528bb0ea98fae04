//! Products.

use sqlx::SqliteConnection;

use super::row::{Row, to_integer, to_json};
use super::{Error, Store};
use crate::domain::Product;
use crate::domain::product::{ProjectRule, VersionRule};

/// Adds a product.
pub async fn add(db: &mut SqliteConnection, product: &Product) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO products \
         (id, chip, hardware, channels, slot_bytes, image_version, image_project, secure_boot, \
         required_documents, builders, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(product.id.as_str())
    .bind(product.chip.as_str())
    .bind(to_json(&product.hardware))
    .bind(to_json(&product.channels))
    .bind(i64::from(product.slot_bytes))
    .bind(product.image_version.as_str())
    .bind(product.image_project.as_str())
    .bind(to_json(&product.secure_boot))
    .bind(to_json(&product.required_documents))
    .bind(to_json(&product.builders))
    .bind(to_integer(product.created_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Replaces the Secure Boot keys of a product.
pub async fn set_secure_boot(db: &mut SqliteConnection, product: &Product) -> Result<(), Error> {
    sqlx::query("UPDATE products SET secure_boot = $2 WHERE id = $1")
        .bind(product.id.as_str())
        .bind(to_json(&product.secure_boot))
        .execute(db)
        .await?;
    Ok(())
}

/// Replaces the documents that releases of a product must come with, and their builders.
pub async fn set_documents(db: &mut SqliteConnection, product: &Product) -> Result<(), Error> {
    sqlx::query("UPDATE products SET required_documents = $2, builders = $3 WHERE id = $1")
        .bind(product.id.as_str())
        .bind(to_json(&product.required_documents))
        .bind(to_json(&product.builders))
        .execute(db)
        .await?;
    Ok(())
}

/// Returns all products, by name.
pub async fn all(store: &Store) -> Result<Vec<Product>, Error> {
    let rows = sqlx::query("SELECT * FROM products ORDER BY id").fetch_all(store.readers()).await?;
    rows.iter().map(|row| read(&Row::new("products", row))).collect()
}

/// Returns a page of products, by name.
pub async fn page(store: &Store, after: &str, limit: u32) -> Result<Vec<Product>, Error> {
    let rows = sqlx::query("SELECT * FROM products WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(limit)
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(|row| read(&Row::new("products", row))).collect()
}

fn read(row: &Row<'_>) -> Result<Product, Error> {
    Ok(Product {
        id: row.parse("id")?,
        chip: row.parse("chip")?,
        hardware: row.json("hardware")?,
        channels: row.json("channels")?,
        slot_bytes: row.number("slot_bytes")?,
        image_version: row.word("image_version", VersionRule::parse)?,
        image_project: ProjectRule::parse(&row.text("image_project")?),
        secure_boot: row.json("secure_boot")?,
        required_documents: row.json("required_documents")?,
        builders: row.json("builders")?,
        created_at: row.number("created_at")?,
    })
}
