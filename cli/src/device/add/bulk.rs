//! The devices of a CSV file, one after the other, and a report with a row for each.
//!
//! What is done stays done, and running again does the rest. When the server is gone, the lines that
//! are left are not tried.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::csv::{self, Line};
use super::kit::Kit;
use super::make::{Outcome, make};
use super::unfit::Unfit;
use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::output::Output;

/// What became of a line.
#[derive(Serialize)]
struct Row {
    line: usize,
    device: String,
    outcome: &'static str,
    /// The cause, if it failed.
    code: String,
    /// What to do about it.
    next: String,
}

/// Makes every device that can be made.
pub(super) async fn run(
    kit: &Kit,
    file: &Path,
    folder: &Path,
    force: bool,
    api: &Api,
    out: Output,
) -> Result<(), Error> {
    let failed = |path: &Path, source| Error::File { path: path.to_owned(), source };
    let lines = csv::parse(&input::bytes(file)?);
    let lines = lines.map_err(|error| failed(file, io::Error::other(error)))?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| failed(folder, error))?;
    let (all, bar) = (lines.len(), progress(lines.len(), out));
    let mut report = Vec::with_capacity(all);
    let (mut failures, mut is_over) = (0, false);
    for line in lines {
        let row = if is_over {
            Row::new(&line, "not_tried", "", "run the same again".to_owned())
        } else {
            match add(kit, &line, folder, force, api).await {
                Err(error) => {
                    is_over = error.is_final();
                    Row::new(&line, "failed", error.code(), error.advice())
                }
                Ok(outcome) => Row::new(&line, outcome.as_str(), "", String::new()),
            }
        };
        failures += usize::from(matches!(row.outcome, "failed" | "not_tried"));
        report.push(json!(row));
        bar.inc(1);
    }
    bar.finish_and_clear();
    out.list(&report, &["line", "device", "outcome", "code", "next"])?;
    if failures == 0 { Ok(()) } else { Err(Error::Incomplete { failed: failures, all }) }
}

async fn add(
    kit: &Kit,
    line: &Line,
    folder: &Path,
    force: bool,
    api: &Api,
) -> Result<Outcome, Error> {
    let order = line.order.as_ref().map_err(Unfit::clone)?;
    let file = folder.join(format!("{}.bin", order.device));
    Ok(make(kit, order, &file, force, api).await?.outcome)
}

impl Row {
    fn new(line: &Line, outcome: &'static str, code: &str, next: String) -> Self {
        let (line, device) = (line.number, line.shown.clone());
        Self { line, device, outcome, code: code.to_owned(), next }
    }
}

/// Returns a bar for people, on standard error; none where nobody would see it.
fn progress(lines: usize, out: Output) -> ProgressBar {
    if out == Output::Json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::try_from(lines).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} devices, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
