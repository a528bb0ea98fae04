//! Follows the whole audit log and says what somebody did to it.
//!
//! A look at oneself: whoever owns the server owns this check too. The one that counts is
//! `waxwing doctor audit`, which trusts nothing that the server says. Not here: signatures; in the
//! server's own database they prove no more than the rows.

use waxwing_audit::{Audit, Finding, Note};

use crate::app::App;
use crate::store::audit::{self, Log};
use crate::store::{self, Store};

/// Rows and checkpoints read at a time.
const AT_ONCE: u32 = 1000;

/// What is wrong with the audit log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Damage {
    /// A row, or what was signed about rows.
    #[error(transparent)]
    Chain(#[from] Finding),
    /// A stored checkpoint is none, or is one of another log.
    #[error("the stored checkpoint {id} is damaged")]
    Checkpoint {
        /// Its number.
        id: i64,
    },
    /// The name or the end of the log is gone.
    #[error("the audit log has lost its name or its end")]
    NoEnd,
}

impl Damage {
    /// Returns the first row that is not as it was written, as far as one can tell; 0 before all.
    pub const fn row(self) -> i64 {
        match self {
            Self::Chain(finding) => finding.row(),
            Self::Checkpoint { .. } | Self::NoEnd => 0,
        }
    }
}

/// Checks the log, says what it found, and remembers it for those who ask.
///
/// # Errors
///
/// When the database fails.
pub async fn run(app: &App) -> Result<(), store::Error> {
    let damage = check_audit(&app.store).await?.err();
    app.metrics.audit(damage.is_none());
    if let (true, Some(damage)) = (app.audit_state.set(damage), damage) {
        tracing::error!(row = damage.row(), %damage, "the audit log is not as it was written");
    }
    Ok(())
}

/// Checks the log up to its present end.
///
/// # Errors
///
/// When the database fails.
pub async fn check_audit(store: &Store) -> Result<Result<i64, Damage>, store::Error> {
    let mut reader = store.reader().await?;
    // First the end: rows that come meanwhile are beyond it.
    let Some(log) = audit::log(&mut reader).await? else { return Ok(Err(Damage::NoEnd)) };
    let mut walk = Audit::new(&log.origin);
    if let Err(damage) = expect_signed(store, &log, &mut walk).await? {
        return Ok(Err(damage));
    }
    let mut after = None;
    loop {
        let links = audit::links(&mut reader, after, AT_ONCE).await?;
        let Some(last) = links.last() else { break };
        after = Some(last.row.id);
        if let Err(finding) = links.iter().try_for_each(|link| walk.follow(link)) {
            return Ok(Err(finding.into()));
        }
    }
    Ok(walk.finish().map(|head| head.size).map_err(Damage::Chain))
}

async fn expect_signed(
    store: &Store,
    log: &Log,
    walk: &mut Audit,
) -> Result<Result<(), Damage>, store::Error> {
    if let Err(finding) = walk.expect(log.head) {
        return Ok(Err(finding.into()));
    }
    let mut after = 0;
    loop {
        let stored = audit::checkpoints(store, after, AT_ONCE).await?;
        let Some(last) = stored.last() else { return Ok(Ok(())) };
        after = last.id;
        for stored in &stored {
            let note = Note::parse(&stored.note).ok();
            let of_log = note.filter(|note| note.unverified().origin == log.origin);
            let Some(note) = of_log else {
                return Ok(Err(Damage::Checkpoint { id: stored.id }));
            };
            if let Err(finding) = walk.expect(note.unverified().head) {
                return Ok(Err(finding.into()));
            }
        }
    }
}
