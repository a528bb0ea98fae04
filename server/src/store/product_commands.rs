//! What the applications of a product can be asked for.

use sqlx::SqliteConnection;
use waxwing_wire::{CommandName, ProductId};

use super::row::{Row, to_integer};
use super::{Error, Store};
use crate::domain::schema::Schema;

/// A command that applications of a product know.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductCommand {
    /// Whose applications.
    pub product: ProductId,
    /// What it is called.
    pub name: CommandName,
    /// What its arguments may be.
    pub schema: Schema,
    /// Since when it is so, in Unix milliseconds.
    pub changed_at: u64,
}

/// Writes a command, in the place of the one of the same name.
pub async fn put(db: &mut SqliteConnection, command: &ProductCommand) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO product_commands (product, name, schema, changed_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (product, name) DO UPDATE SET schema = excluded.schema, \
         changed_at = excluded.changed_at",
    )
    .bind(command.product.as_str())
    .bind(command.name.as_str())
    .bind(command.schema.as_json().to_string())
    .bind(to_integer(command.changed_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Removes a command, and returns whether there was one.
pub async fn remove(
    db: &mut SqliteConnection,
    product: &ProductId,
    name: &CommandName,
) -> Result<bool, Error> {
    let removed = sqlx::query("DELETE FROM product_commands WHERE product = $1 AND name = $2")
        .bind(product.as_str())
        .bind(name.as_str())
        .execute(db)
        .await?;
    Ok(removed.rows_affected() > 0)
}

/// Returns all commands of a product, by name.
pub async fn of(store: &Store, product: &ProductId) -> Result<Vec<ProductCommand>, Error> {
    let rows = sqlx::query("SELECT * FROM product_commands WHERE product = $1 ORDER BY name")
        .bind(product.as_str())
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(|row| read(&Row::new("product_commands", row))).collect()
}

fn read(row: &Row<'_>) -> Result<ProductCommand, Error> {
    let schema = Schema::new(row.json("schema")?);
    Ok(ProductCommand {
        product: row.parse("product")?,
        name: row.parse("name")?,
        schema: schema.map_err(|wrong| row.damaged("schema", &wrong.why))?,
        changed_at: row.number("changed_at")?,
    })
}
