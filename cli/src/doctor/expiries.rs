//! What expires, and when.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Status, Verdict};
use crate::api::Api;
use crate::error::Error;

const DAY_S: i64 = 24 * 3600;

#[derive(Deserialize)]
struct Expiries {
    items: Vec<Item>,
    device_certificates: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Item {
    subject: String,
    expires: String,
    seconds_left: i64,
    level: String,
}

/// Asks for everything that expires.
pub(super) async fn check(api: &Api) -> Result<Vec<Verdict>, Error> {
    let expiries: Expiries = api.read("expiries", &[]).await?;
    let devices = devices(&expiries.device_certificates);
    Ok(expiries.items.iter().map(verdict).chain([devices]).collect())
}

/// From seven days on it is a failure: whoever watches only exit codes must still have time.
fn verdict(item: &Item) -> Verdict {
    let status = match item.level.as_str() {
        "ok" => Status::Ok,
        "notice" | "warning" => Status::Warning,
        _ => Status::Failed,
    };
    let detail = match item.seconds_left {
        left @ 1.. => format!("expires {}, in {} days", item.expires, left / DAY_S),
        _ => format!("expired {}", item.expires),
    };
    let next = (status != Status::Ok).then(|| next(&item.subject));
    Verdict::new("expiries", &item.subject, status).detail(detail).next(next)
}

/// Devices renew by themselves at two thirds of a certificate's life: one that did not is off line,
/// and may still renew within the grace. So this warns, and never fails.
fn devices(counts: &BTreeMap<String, u64>) -> Verdict {
    let count = |level: &str| counts.get(level).copied().unwrap_or(0);
    let late = count("warning") + count("critical") + count("expired");
    let status = if late == 0 { Status::Ok } else { Status::Warning };
    let total: u64 = counts.values().sum();
    let detail = format!(
        "{total} in use; {} end within 14 days, {} within 7, {} have ended",
        count("warning"),
        count("critical"),
        count("expired"),
    );
    let next = (late > 0).then_some("find out why these devices have not polled lately");
    Verdict::new("expiries", "certificates of devices", status).detail(detail).next(next)
}

fn next(subject: &str) -> &'static str {
    let role = subject.rsplit('/').next().unwrap_or(subject);
    match (subject.split('/').next(), role) {
        (Some("crl"), _) => "the server makes one every day; its log says why not",
        (Some("pins"), _) => "have another server CA signed with `waxwing-keys trust server-ca`",
        (Some("certificate"), "server") => "it is replaced when the server starts",
        (Some("certificate"), _) => "make a new authority while this one is still trusted",
        (_, "snapshot" | "timestamp") => "`waxwing-keys publish --refresh`",
        (_, "root") => "`waxwing-keys root rotate`, and let the keyholders sign",
        _ => "`waxwing-keys renew`, let the keyholders sign, then publish",
    }
}
