//! `waxwing product`: kinds of devices.

mod command;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;
use waxwing_wire::{Channel, Hardware, ProductId};

use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::output::Output;

/// Subcommands of `waxwing product`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// What the applications of a product can be asked for.
    #[command(subcommand)]
    Command(command::Command),
    /// Register the product that a definition file describes.
    #[command(
        after_help = "Example:\n  waxwing product create releases/th1/product.toml --root 1.root.json"
    )]
    Create {
        /// The `product.toml` that is reviewed in git.
        definition: PathBuf,
        /// The first root metadata of its Image repository, from the ceremony.
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
    },
    /// Replace what releases must come with, and who may have built them, by what the definition file
    /// says.
    #[command(after_help = "Example:\n  waxwing product documents releases/th1/product.toml")]
    Documents {
        /// The `product.toml` that is reviewed in git.
        definition: PathBuf,
    },
    /// List all products.
    List {
        /// Products to show.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Replace the Secure Boot keys of a product by those of its definition file.
    #[command(after_help = "Example:\n  waxwing product secure-boot releases/th1/product.toml")]
    SecureBoot {
        /// The `product.toml` that is reviewed in git.
        definition: PathBuf,
    },
    /// Show one product.
    Show {
        /// The product.
        product: ProductId,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Command(command) => command::run(command, api, out).await,
        Command::Create { definition, root } => create(&definition, &root, api, out).await,
        Command::Documents { definition } => documents(&definition, api, out).await,
        Command::List { limit } => {
            let products = api.list("products", &[], limit).await?;
            out.list(&products, &["id", "chip", "hardware", "channels", "slot_bytes"])
        }
        Command::SecureBoot { definition } => secure_boot(&definition, api, out).await,
        Command::Show { product } => out.one(&api.get(&format!("products/{product}"), &[]).await?),
    }
}

/// A `product.toml`, as `waxwing-keys` reads it too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    id: ProductId,
    chip: String,
    hardware: Vec<Hardware>,
    channels: Vec<Channel>,
    slot_bytes: u32,
    /// Whether the version in the image must be the release's: `match` or `ignore` (D27).
    image_version: Option<String>,
    /// The project name that the image must carry, or `ignore`; by default the product's (D27).
    image_project: Option<String>,
    /// Its Secure Boot keys; the server checks them.
    secure_boot: Option<serde_json::Value>,
    /// Documents that every release of a channel must come with; the server checks them.
    required_documents: Option<serde_json::Value>,
    /// Who may have built a release, by the ids in provenance.
    builders: Option<Vec<String>>,
}

/// The request that registers a product.
#[derive(Serialize)]
struct NewProduct {
    id: ProductId,
    chip: String,
    hardware: Vec<Hardware>,
    channels: Vec<Channel>,
    slot_bytes: u32,
    image_version: String,
    image_project: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secure_boot: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required_documents: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    builders: Option<Vec<String>>,
    /// The root metadata file in base64: its bytes are signed, so they travel unchanged.
    image_root: String,
}

fn read(definition: &Path) -> Result<Definition, Error> {
    let invalid = |error| Error::Usage(format!("{}: {error}", definition.display()));
    toml::from_str(&input::file(definition)?).map_err(invalid)
}

async fn secure_boot(definition: &Path, api: &Api, out: Output) -> Result<(), Error> {
    let product = read(definition)?;
    let keys = product.secure_boot.unwrap_or_else(|| json!({ "required": false }));
    let path = format!("products/{}/secure-boot", product.id);
    let sentence = format!("replaced the Secure Boot keys of {}", product.id);
    out.done(&sentence, &api.put(&path, &keys).await?)
}

async fn documents(definition: &Path, api: &Api, out: Output) -> Result<(), Error> {
    let product = read(definition)?;
    let request = json!({
        "required_documents": product.required_documents.unwrap_or_else(|| json!({})),
        "builders": product.builders.unwrap_or_default(),
    });
    let path = format!("products/{}/required-documents", product.id);
    let sentence = format!("replaced what releases of {} must come with", product.id);
    out.done(&sentence, &api.put(&path, &request).await?)
}

async fn create(definition: &Path, root: &Path, api: &Api, out: Output) -> Result<(), Error> {
    let product = read(definition)?;
    let sentence = format!("registered product {}", product.id);
    let request = NewProduct {
        image_version: product.image_version.unwrap_or_else(|| "match".to_owned()),
        image_project: product.image_project.unwrap_or_else(|| product.id.to_string()),
        id: product.id,
        chip: product.chip,
        hardware: product.hardware,
        channels: product.channels,
        slot_bytes: product.slot_bytes,
        secure_boot: product.secure_boot,
        required_documents: product.required_documents,
        builders: product.builders,
        image_root: STANDARD.encode(input::file(root)?),
    };
    out.done(&sentence, &api.post("products", &request).await?)
}
