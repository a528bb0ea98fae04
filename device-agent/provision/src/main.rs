//! `waxwing-provision`: makes what is written into a new device.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use waxwing_esp_image::partition::Partition;
use waxwing_provision::{
    Content, Readers, Template, credentials_of, make, place, replace, table, write_credentials,
};
use waxwing_wire::Provision;

/// Makes the flash of a new device.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Encode one device's credentials, and print where in its flash they belong.
    Credentials {
        /// Describes the device.
        device: PathBuf,
        /// Written there.
        #[arg(long)]
        out: PathBuf,
        /// Partition table of a device that has its own, as read from 0x8000; else the one that
        /// `table` writes.
        #[arg(long)]
        table: Option<PathBuf>,
        /// Partition of that table that is given up for the agent, as in the call of `guard`.
        #[arg(long, value_name = "LABEL", requires = "table")]
        spare: Option<String>,
    },
    /// Put a whole flash image together, with erased boot records and no credentials.
    Flash {
        /// Espressif's boot loader, or your own.
        #[arg(long)]
        boot_loader: PathBuf,
        /// Where the chip looks for it: 0 on an ESP32-C3, 4096 on an ESP32.
        #[arg(long, default_value_t = 0)]
        boot_loader_at: u32,
        /// The application image.
        #[arg(long)]
        app: PathBuf,
        /// Written there.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write the partition table of a new product.
    Table {
        /// Written there.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write one device's credentials into a flash image, and print where.
    Write {
        /// Describes the device.
        device: PathBuf,
        /// The flash image, replaced by one with the credentials.
        #[arg(long)]
        flash: PathBuf,
        /// Partition of its table that is given up for the agent, as in the call of `guard`.
        #[arg(long, value_name = "LABEL")]
        spare: Option<String>,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Credentials { device, out, table: of_device, spare } => {
            let of_device = of_device.as_deref().map(read).transpose()?;
            let bytes = of_device.map_or_else(|| Ok(table()?.to_vec()), anyhow::Ok)?;
            let place = place(&bytes, spare.as_deref())?;
            let content = credentials_of(&provision(&device)?, &place)?;
            replace(&out, &content, Readers::Owner)?;
            print(&place);
        }
        Command::Flash { boot_loader, boot_loader_at, app, out } => {
            let (boot_loader, app) = (read(&boot_loader)?, read(&app)?);
            let content = Content { boot_loader: &boot_loader, boot_loader_at, app: &app };
            replace(&out, &make(&content)?, Readers::Everybody)?;
        }
        Command::Table { out } => replace(&out, &table()?, Readers::Everybody)?,
        Command::Write { device, flash, spare } => {
            let mut content = read(&flash)?;
            let device = provision(&device)?;
            let place = write_credentials(&mut content, &device, spare.as_deref())?;
            replace(&flash, &content, Readers::Owner)?;
            print(&place);
        }
    }
    Ok(())
}

/// Reads a file that leaves nothing open.
fn provision(device: &Path) -> anyhow::Result<Provision> {
    let provision = Template::read(device)?.provision();
    provision.with_context(|| format!("cannot use {}", device.display()))
}

/// Prints what a flasher has to be told.
#[expect(clippy::print_stdout, reason = "this is what was asked for")]
fn print(place: &Partition) {
    println!("credentials: {:#x}, {:#x} bytes", place.offset, place.bytes);
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
