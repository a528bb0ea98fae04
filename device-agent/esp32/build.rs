//! Tells the firmware when it was built: as `SOURCE_DATE_EPOCH` says, so that the same source makes
//! the same bytes, else now.

use std::env;
use std::time::SystemTime;

fn main() {
    let epoch = env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse::<u64>().ok());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(|it| it.as_secs());
    let built_at_s = epoch.unwrap_or_else(|| now().unwrap_or(0));
    println!("cargo::rustc-env=WAXWING_BUILT_AT_S={built_at_s}");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    if epoch.is_none() {
        // What is never there has always changed: a build of today is not of when it was first made.
        println!("cargo::rerun-if-changed=never-there");
    }
}
