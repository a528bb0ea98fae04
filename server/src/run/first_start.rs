//! What an operator is told, once: the way in, and what the ceremony needs.
//!
//! The token is shown before its hash is stored: a start cut short in between shows another one the
//! next time, and nobody is locked out. Not here: keys; they are never shown.

use std::io;
use std::path::Path;

use serde_json::json;
use waxwing_tuf::author::{PublicKeyFile, fingerprint};

use crate::app::App;
use crate::domain::audit::{Action, Entry, SERVER};
use crate::http::admin;
use crate::setup;
use crate::store::{self, audit, operators};

/// The name of the first operator.
const FIRST_OPERATOR: &str = "admin";

/// The file with the Director's public key, as `waxwing-keys` reads it.
const DIRECTOR_FILE: &str = "director.pub.json";

/// Makes the first admin token, if there is none, and shows the operator what there is to know.
pub(super) async fn prepare(app: &App, show: impl Fn(&str) -> io::Result<()>) -> Result<(), Error> {
    write_director_key(app)?;
    if !operators::all(&app.store).await?.is_empty() {
        return Ok(());
    }
    let token = admin::new_token(app.random.as_ref());
    let mut change = app.store.begin().await?;
    let sha256 = admin::token_sha256(&token);
    let now_ms = app.clock.now_ms();
    operators::add(change.connection(), FIRST_OPERATOR, &sha256, now_ms).await?;
    audit::add(change.connection(), &entry(now_ms)).await?;
    show(&letter(app, &token)).map_err(Error::Show)?;
    drop(change.commit().await?);
    Ok(())
}

fn entry(now_ms: u64) -> Entry {
    Entry {
        at: now_ms,
        actor: SERVER.to_owned(),
        action: Action::AdminTokenCreated,
        subject: format!("operator/{FIRST_OPERATOR}"),
        reason: "first start".to_owned(),
        detail: json!({}),
    }
}

fn letter(app: &App, token: &str) -> String {
    let path = |path: &Path| path.display().to_string();
    format!(
        "This is shown once.\n\
         admin token: {token}\n\
         server CA: {}\n\
         director key: {}\n\
         director fingerprint: {}\n",
        path(&setup::server_ca_path(&app.config)),
        path(&app.config.data_dir.join(DIRECTOR_FILE)),
        fingerprint(app.director.public()),
    )
}

fn write_director_key(app: &App) -> Result<(), Error> {
    let file = PublicKeyFile::new(app.director.public(), "director");
    let json = serde_json::to_vec_pretty(&file).map_err(io::Error::from)?;
    Ok(setup::write_atomically(&app.config.data_dir.join(DIRECTOR_FILE), &json)?)
}

/// Why a first start cannot be completed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Director's public key cannot be written.
    #[error("cannot write the Director's public key")]
    Json(#[from] io::Error),
    /// The token cannot be shown, and so it does not count.
    #[error("cannot print what a first start shows")]
    Show(#[source] io::Error),
    /// A file cannot be written.
    #[error(transparent)]
    Setup(#[from] setup::Error),
    /// The token cannot be stored.
    #[error("cannot store the first admin token")]
    Store(#[from] store::Error),
}
