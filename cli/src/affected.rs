//! `waxwing affected`: which devices run a release with a component in it.

use waxwing_wire::ProductId;

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

/// Arguments of `waxwing affected`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  waxwing affected --product th1 --name mbedtls --version '>=3.0,<3.6.1'"
)]
pub(crate) struct Args {
    /// The product.
    #[arg(long)]
    product: ProductId,
    /// Name of the component, as SBOMs write it.
    #[arg(long, required_unless_present = "purl")]
    name: Option<String>,
    /// Package URL of the component; without a version, every version.
    #[arg(long)]
    purl: Option<String>,
    /// Versions of the component: one, or comparisons that must all hold.
    #[arg(long)]
    version: Option<String>,
    /// Devices to show.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

/// Runs it.
pub(crate) async fn run(args: Args, api: &Api, out: Output) -> Result<(), Error> {
    let given = [("name", &args.name), ("purl", &args.purl), ("version", &args.version)];
    let query: Vec<_> =
        given.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))).collect();
    let path = format!("products/{}/affected", args.product);
    let devices = api.list(&path, &query, args.limit).await?;
    out.list(&devices, &["device", "channel", "release", "component", "component_version", "purl"])
}
