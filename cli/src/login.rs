//! `waxwing login`: keeps a server's address, CA and token, once the server has accepted them.

use std::path::PathBuf;

use reqwest::Url;

use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::profile::{self, Profile, ProfileName};

const EXAMPLES: &str = "\
The token is never an argument, where other users of this machine could read it.

Examples:
  waxwing login https://updates.example:8445 --ca server-ca.pem
  waxwing login https://localhost:8445 --ca server-ca.pem --token-file token
  waxwing --profile factory login https://10.0.0.2:8445 --ca factory-ca.pem < token";

/// Arguments of `waxwing login`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Address of the server's admin listener.
    server: Url,
    /// The server's CA certificate, the only one that will be trusted.
    #[arg(long, value_name = "FILE", required_unless_present = "public_roots")]
    ca: Option<PathBuf>,
    /// Trust the system's CAs instead: for a server with a public certificate.
    #[arg(long, conflicts_with = "ca")]
    public_roots: bool,
    /// Where the token is; otherwise it is asked for, or read from standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Asks the server one question with the new profile, then writes it.
pub(crate) async fn run(args: Args, name: &ProfileName) -> Result<(), Error> {
    let ca = args.ca.as_deref().map(input::file).transpose()?;
    let token = input::secret(args.token_file.as_deref(), "Admin token: ")?;
    let profile = Profile { server: args.server.into(), token, ca };
    Api::new(&profile, None)?.get("products", &[("limit", "1")]).await?;
    let path = profile::save(name, &profile)?;
    eprintln!("logged in to {}; profile {name} is {}", profile.server, path.display());
    Ok(())
}
