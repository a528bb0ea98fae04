//! What the agent costs in firmware, as `cargo xtask firmware` found it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::table::{Row, Table};

/// Most flash of agent, TUF, TLS, HTTP and MQTT on top of the same product without them, in bytes.
const FLASH_GOAL: u32 = 330 * 1024;
/// Most memory of the same during an update, stack included, in bytes.
const MEMORY_GOAL: u32 = 48 * 1024;

/// Where memory is written down, beside the manifest: there since a chip was emulated.
const MEMORY: &str = "memory.json";

/// What is written there.
#[derive(Deserialize)]
struct Manifest {
    /// By variants of the product.
    images: Vec<Image>,
    /// Flash of the agent and all it needs.
    agent_bytes: u32,
    /// Of it by groups of crates, where that was looked at.
    #[serde(default)]
    parts: BTreeMap<String, u32>,
}

/// What the test of an emulated chip found, and left beside it.
#[derive(Deserialize)]
struct Memory {
    /// Of the agent and all it needs, during an update.
    agent_ram_bytes: u32,
}

#[derive(Deserialize)]
struct Image {
    name: String,
    image_bytes: u32,
}

/// Adds what is written there.
///
/// # Errors
///
/// When it is not what `cargo xtask firmware` writes.
pub(super) fn add_to(table: &mut Table, manifest: &Path) -> anyhow::Result<()> {
    let read = fs::read(manifest).with_context(|| format!("cannot read {}", manifest.display()));
    let Manifest { images, agent_bytes, parts } = serde_json::from_slice(&read?)?;
    for Image { name, image_bytes } in images {
        table.add(Row::new(format!("flash: image {name}, bytes"), image_bytes.into()));
    }
    for (part, bytes) in parts {
        table.add(Row::new(format!("flash: of the agent {part}, bytes"), bytes.into()));
    }
    let row = Row::new("flash: the agent and all it needs, bytes", agent_bytes.into());
    table.add(row.at_most(FLASH_GOAL.into()));
    if let Ok(found) = fs::read(manifest.with_file_name(MEMORY)) {
        let Memory { agent_ram_bytes } = serde_json::from_slice(&found)?;
        let row = Row::new("memory: the agent in an update, bytes", agent_ram_bytes.into());
        table.add(row.at_most(MEMORY_GOAL.into()));
    }
    Ok(())
}
