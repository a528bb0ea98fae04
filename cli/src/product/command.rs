//! `waxwing product command`: what the applications of a product can be asked for.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};
use waxwing_wire::{CommandName, ProductId};

use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::output::Output;

/// Subcommands of `waxwing product command`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List what applications can be asked for, with the schemas of the arguments.
    List {
        /// The product.
        product: ProductId,
    },
    /// Let nobody ask for it any more.
    Remove {
        /// The product.
        product: ProductId,
        /// What it is called.
        name: CommandName,
    },
    /// Let operators ask for something, with arguments that a JSON Schema allows.
    #[command(
        after_help = "Example:\n  waxwing product command set th1 open_valve --schema open_valve.json"
    )]
    Set {
        /// The product.
        product: ProductId,
        /// What it is called.
        name: CommandName,
        /// The schema; docs/commands.md says how much of JSON Schema is known.
        #[arg(long, value_name = "FILE")]
        schema: PathBuf,
    },
}

/// Runs one of them.
pub(super) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::List { product } => {
            let all: Vec<Value> = api.read(&format!("products/{product}/commands"), &[]).await?;
            out.list(&all, &["name", "schema", "changed_at"])
        }
        Command::Remove { product, name } => {
            let answer = api.remove(&format!("products/{product}/commands/{name}")).await?;
            out.done(&format!("nobody asks {product} for {name} any more"), &answer)
        }
        Command::Set { product, name, schema } => {
            let schema: Value = serde_json::from_str(&input::file(&schema)?)
                .map_err(|error| Error::Usage(format!("{}: {error}", schema.display())))?;
            let path = format!("products/{product}/commands/{name}");
            let answer = api.put(&path, &json!({ "schema": schema })).await?;
            out.done(&format!("{product} can be asked for {name}"), &answer)
        }
    }
}
