//! The Python environment with the foreign tools that judge our formats, python-tuf, esptool and Eclipse Paho,
//! with a mail server, and with Bumble, whose virtual controllers are a radio.

use std::fs;
use std::path::PathBuf;

use crate::workspace::{command, run, target_dir};

/// What strangers wrote and our tests compare with, pinned.
const REQUIREMENTS: [&str; 6] = [
    "tuf==7.0.0",
    "securesystemslib[crypto]==1.4.0",
    "esptool==5.6.0",
    "paho-mqtt==2.2.0",
    "aiosmtpd==1.4.6",
    "bumble==0.0.236",
];

/// Makes `target/python` when it is missing or has other versions, and returns its interpreter.
///
/// # Errors
///
/// When Python or a package cannot be had.
pub(crate) fn environment() -> anyhow::Result<PathBuf> {
    let folder = target_dir()?.join("python");
    let python = folder.join("bin/python");
    let stamp = folder.join("requirements.txt");
    let wanted = REQUIREMENTS.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    run(command("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(command(&python).args(pip).args(REQUIREMENTS))?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}
