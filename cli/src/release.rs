//! `waxwing release`: what may be installed. Publishing is `waxwing-keys publish`.

use clap::Subcommand;
use waxwing_wire::ProductId;

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

/// Subcommands of `waxwing release`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the releases of a product that its signed metadata allows.
    List {
        /// The product.
        product: ProductId,
        /// Releases to show.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::List { product, limit } => {
            let releases = api.list(&format!("products/{product}/releases"), &[], limit).await?;
            out.list(
                &releases,
                &[
                    "channel",
                    "version",
                    "security_version",
                    "chip",
                    "length",
                    "ceiling_permille",
                    "listed",
                    "sha256",
                ],
            )
        }
    }
}
