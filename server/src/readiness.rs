//! What the server cannot do its work without, and what it does it in spite of.
//!
//! Not here: whether the process answers at all.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::jobs::check_audit::Damage;

/// Whether devices can be served.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether they can.
    pub ready: bool,
    /// What they cannot be served without, and is missing.
    pub missing: Vec<&'static str>,
    /// What is wrong although devices are served: for people, soon.
    pub warnings: Vec<String>,
}

/// What the last look at the audit log found.
#[derive(Debug, Default)]
pub struct AuditState(Mutex<Option<Damage>>);

impl AuditState {
    /// Remembers what a look found; returns whether that is news.
    pub fn set(&self, damage: Option<Damage>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *state, damage) != damage
    }

    fn get(&self) -> Option<Damage> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readiness {
    /// Looks at everything the server needs.
    pub async fn of(app: &App) -> Self {
        let blobs = app.blobs.clone();
        let images = tokio::task::spawn_blocking(move || blobs.probe().is_ok()).await;
        let needs = [
            ("database", app.store.ping().await.is_ok()),
            ("images", images.unwrap_or(false)),
            ("director_root", app.repositories.director().is_some()),
            ("director_clock", app.director.now_ms().is_ok()),
        ];
        let missing: Vec<_> =
            needs.into_iter().filter(|(_, is_met)| !is_met).map(|(need, _)| need).collect();
        let audit = app.audit_state.get().map(|damage| format!("audit log: {damage}"));
        Self { ready: missing.is_empty(), missing, warnings: audit.into_iter().collect() }
    }
}
