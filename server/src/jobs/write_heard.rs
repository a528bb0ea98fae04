//! Writes behind when devices last said something by a message, one statement for many of them.

use waxwing_wire::DeviceId;

use crate::app::App;
use crate::store::{self, devices};

/// Most devices of a statement: a fifth of a second of the only writer.
const DEVICES_PER_STATEMENT_MAX: usize = 10_000;

/// Writes what was heard since the last time.
///
/// # Errors
///
/// When the database fails. Nothing is lost: the next call writes it.
pub async fn write_heard(app: &App) -> Result<(), store::Error> {
    let heard = app.alerts.heard.take();
    for batch in heard.chunks(DEVICES_PER_STATEMENT_MAX) {
        if let Err(error) = write(app, batch).await {
            app.alerts.heard.put_back(&heard);
            return Err(error);
        }
    }
    Ok(())
}

async fn write(app: &App, batch: &[(DeviceId, u64)]) -> Result<(), store::Error> {
    let mut change = app.store.begin().await?;
    devices::hear(change.connection(), batch).await?;
    change.commit().await.map(drop)
}
