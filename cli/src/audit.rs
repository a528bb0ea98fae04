//! `waxwing audit`: who did what.

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

/// Arguments of `waxwing audit`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Entries to show, from the first that is asked for.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// Prints the log.
pub(crate) async fn run(args: Args, api: &Api, out: Output) -> Result<(), Error> {
    let entries = api.list("audit", &[], args.limit).await?;
    out.list(&entries, &["at", "actor", "action", "subject", "detail"])
}
