//! `waxwing audit`: who did what.

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

/// Arguments of `waxwing audit`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Entries to show, the oldest first.
    #[arg(long, default_value_t = 10_000)]
    limit: usize,
}

/// Prints the log.
pub(crate) async fn run(args: Args, api: &Api, out: Output) -> Result<(), Error> {
    let entries = api.list("audit", &[], args.limit).await?;
    out.list(&entries, &["at", "actor", "action", "subject", "reason", "detail"])
}
