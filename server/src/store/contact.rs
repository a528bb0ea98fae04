//! Contact: how many devices without the image of a rollout had none, by the hour in which they were back.

use sqlx::SqliteConnection;

use super::row::{Row, to_json};
use super::{Error, Store};
use crate::domain::effect::Lost;

/// Adds to what was counted in each hour.
pub async fn add(db: &mut SqliteConnection, lost: &[Lost]) -> Result<(), Error> {
    let rows = lost.iter().map(|lost| (&lost.rollout, lost.hour, lost.devices));
    sqlx::query(
        "INSERT INTO contact_lost (rollout, hour, devices) \
         SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1) WHERE true \
         ON CONFLICT (rollout, hour) DO UPDATE SET devices = devices + excluded.devices",
    )
    .bind(to_json(&rows.collect::<Vec<_>>()))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns all that was counted. Who it was is not kept.
pub async fn all(store: &Store) -> Result<Vec<Lost>, Error> {
    let rows = sqlx::query("SELECT * FROM contact_lost").fetch_all(store.readers()).await?;
    let lost = rows.iter().map(|row| {
        let row = Row::new("contact_lost", row);
        Ok(Lost {
            rollout: row.parse("rollout")?,
            hour: row.number("hour")?,
            devices: row.number("devices")?,
            who: Vec::new(),
        })
    });
    lost.collect()
}
