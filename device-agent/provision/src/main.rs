//! `waxwing-provision`: makes what is written into a new device.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use waxwing_provision::{Content, DeviceFile, make, table, write_credentials};

/// Makes the flash of a new device.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Encode one device's credentials, to be written to its partition `wx_cred`.
    Credentials {
        /// Describes the device.
        device: PathBuf,
        /// Written there.
        #[arg(long)]
        out: PathBuf,
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
    /// Write one device's credentials into a flash image.
    Write {
        /// Describes the device.
        device: PathBuf,
        /// The flash image, changed in place.
        #[arg(long)]
        flash: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Credentials { device, out } => write(&out, &DeviceFile::read(&device)?.encode()?),
        Command::Flash { boot_loader, boot_loader_at, app, out } => {
            let (boot_loader, app) = (read(&boot_loader)?, read(&app)?);
            let content = Content { boot_loader: &boot_loader, boot_loader_at, app: &app };
            write(&out, &make(&content)?)
        }
        Command::Table { out } => write(&out, &table()?),
        Command::Write { device, flash } => {
            let mut content = read(&flash)?;
            write_credentials(&mut content, &DeviceFile::read(&device)?)?;
            write(&flash, &content)
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
