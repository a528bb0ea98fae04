//! Says in the log when something is about to end: once for each level, and again after a restart.
//!
//! Not here: what ends, and what people do about it.

use waxwing_tuf::Time;

use crate::app::App;
use crate::domain::expiry::Level;
use crate::expiries::{self, Devices};
use crate::store;

/// Looks at everything that ends.
///
/// # Errors
///
/// When the database fails.
pub async fn watch_expiries(app: &App, now_ms: u64) -> Result<(), store::Error> {
    let expiries = expiries::all(app);
    for (expiry, level) in app.expiries.news(&expiries, now_ms) {
        let (subject, ends) = (&expiry.subject, Time::from_millis(expiry.ends_ms).to_string());
        match level {
            // Nothing became less urgent: that is no news.
            Level::Ok => {}
            Level::Notice | Level::Warning => {
                tracing::warn!(subject, ends, %level, "expires soon");
            }
            Level::Critical => tracing::error!(subject, ends, %level, "expires within days"),
            Level::Expired => tracing::error!(subject, ends, %level, "has expired"),
        }
    }
    app.metrics.device_certificates(&Devices::count(&app.store, now_ms).await?);
    Ok(())
}
