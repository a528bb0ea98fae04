//! `waxwing-provision`: makes what is written into a new device.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
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
        Command::Credentials { device, out } => {
            write_secret(&out, &DeviceFile::read(&device)?.encode()?)
        }
        Command::Flash { boot_loader, boot_loader_at, app, out } => {
            let (boot_loader, app) = (read(&boot_loader)?, read(&app)?);
            let content = Content { boot_loader: &boot_loader, boot_loader_at, app: &app };
            write(&out, &make(&content)?)
        }
        Command::Table { out } => write(&out, &table()?),
        Command::Write { device, flash } => {
            let mut content = read(&flash)?;
            write_credentials(&mut content, &DeviceFile::read(&device)?)?;
            write_secret(&flash, &content)
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes what only its owner may read: the token and the password of the network are in it.
fn write_secret(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let written = create_secret(path).and_then(|mut file| file.write_all(content));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(unix)]
fn create_secret(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

    /// Read and write, for the owner.
    const OWNER: u32 = 0o600;
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(OWNER).open(path)?;
    // One that was there may have been everybody's to read.
    file.set_permissions(fs::Permissions::from_mode(OWNER))?;
    Ok(file)
}

#[cfg(not(unix))]
fn create_secret(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}
