//! Whether the server answers, and whether devices can be served.

use serde::Deserialize;

use super::{Status, Verdict};
use crate::api::Api;
use crate::error::Error;

#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    missing: Vec<String>,
    warnings: Vec<String>,
}

/// Asks.
pub(super) async fn check(api: &Api) -> Result<Vec<Verdict>, Error> {
    let readiness: Readiness = api.read("readiness", &[]).await?;
    let verdict = if readiness.ready {
        Verdict::new("server", "readiness", Status::Ok).detail("devices are served")
    } else {
        let detail = format!("devices are not served for lack of {}", readiness.missing.join(", "));
        let next = next(&readiness.missing);
        Verdict::new("server", "readiness", Status::Failed).detail(detail).next(next)
    };
    let warnings = readiness.warnings.into_iter();
    let warnings =
        warnings.map(|detail| Verdict::new("server", "warning", Status::Warning).detail(detail));
    Ok([verdict].into_iter().chain(warnings).collect())
}

fn next(missing: &[String]) -> Option<&'static str> {
    match missing.first()?.as_str() {
        "database" => Some("the server's log says what is wrong with the database"),
        "director_clock" => Some("check the clock, then start waxwing-server --confirm-clock once"),
        "director_root" => Some("make the Director's root and `waxwing director import` it"),
        "images" => Some("make the folder of images writable"),
        _ => None,
    }
}
