//! `waxwing operator`: who may do everything.

mod certificate;

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::api::Api;
use crate::error::Error;
use crate::input::segment;
use crate::output::Output;

const CERTIFICATE_EXAMPLES: &str = "\
Examples:
  waxwing operator certificate ada --out-dir ada
  mosquitto_sub -h updates.example -p 8883 --cafile ada/server-ca.pem --cert ada/ada.pem \\
    --key ada/ada.key -t 'waxwing/v1/+/telemetry' -v";

/// Subcommands of `waxwing operator`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add somebody who may do everything, and so approve what others planned. The token is shown here
    /// and never again.
    #[command(after_help = "Example:\n  waxwing operator add ada | jq -r .token > token")]
    Add {
        /// How the audit log calls them.
        operator: String,
    },
    /// Make a key and a certificate with which an operator may listen to devices over MQTT. The key stays
    /// here.
    #[command(after_help = CERTIFICATE_EXAMPLES)]
    Certificate {
        /// The operator.
        #[arg(value_parser = segment)]
        operator: String,
        /// Where to put key, certificate and the CA of the server.
        #[arg(long, value_name = "DIR")]
        out_dir: PathBuf,
        /// For how many days it is good, 365 at most.
        #[arg(long, value_name = "DAYS", default_value_t = 90)]
        days: u32,
    },
    /// List the certificates of an operator that are good.
    Certificates {
        /// The operator.
        #[arg(value_parser = segment)]
        operator: String,
    },
    /// List all operators.
    List {
        /// Operators to show.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Remove an operator, whose token is good no more.
    Remove {
        /// The operator.
        #[arg(value_parser = segment)]
        operator: String,
    },
    /// Revoke a certificate of an operator; what listens with it ends.
    RevokeCertificate {
        /// The operator.
        #[arg(value_parser = segment)]
        operator: String,
        /// Its serial number.
        #[arg(value_parser = segment)]
        serial: String,
    },
    /// Make a new token in the place of the present one. It is shown here and never again.
    #[command(after_help = "Keep the new token with `waxwing login` before the old one ends.\n\n\
        Examples:\n  waxwing operator replace-token admin | jq -r .token > token\n  \
        waxwing operator replace-token admin --overlap 0   # somebody else may know the old one")]
    ReplaceToken {
        /// The operator; the first one is `admin`.
        #[arg(value_parser = segment)]
        operator: String,
        /// Seconds for which the present token stays good.
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        overlap: u64,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Add { operator } => {
            out.one(&api.post("operators", &json!({ "name": operator })).await?)
        }
        Command::Certificate { operator, out_dir, days } => {
            certificate::make(&operator, days, &out_dir, api, out).await
        }
        Command::Certificates { operator } => {
            let all: Vec<Value> =
                api.read(&format!("operators/{operator}/certificates"), &[]).await?;
            out.list(&all, &["serial", "issued_at", "expires_at"])
        }
        Command::List { limit } => {
            out.list(&api.list("operators", &[], limit).await?, &["name", "created_at"])
        }
        Command::Remove { operator } => {
            let removed = api.remove(&format!("operators/{operator}")).await?;
            out.done(&format!("removed {operator}"), &removed)
        }
        Command::RevokeCertificate { operator, serial } => {
            let answer = api.remove(&format!("operators/{operator}/certificates/{serial}")).await?;
            out.done(&format!("revoked {serial} of {operator}"), &answer)
        }
        Command::ReplaceToken { operator, overlap } => {
            let path = format!("operators/{operator}/token");
            out.one(&api.post(&path, &json!({ "overlap_s": overlap })).await?)
        }
    }
}
