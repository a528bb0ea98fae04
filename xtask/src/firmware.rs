//! `cargo xtask firmware`: the firmware of `device-agent/esp32`, as images that a chip boots.
//!
//! Everything goes to `target/firmware`. The images are judged by esptool and by our own parser,
//! and by limits on what they cost. Not here: booting them, which is `cargo xtask emulate`.

mod elf;
mod named;
mod parts;
mod twice;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::workspace::{cargo, command, root, run, target_dir};
use crate::{device, python};
use elf::Memory;
use named::Named;
use parts::Parts;

/// Where the firmware is: a workspace of its own.
const FOLDER: &str = "device-agent/esp32";

/// What an agent may cost in flash: agent, TUF, TLS, HTTP and MQTT, on top of the same product without
/// them.
const AGENT_BYTES_MAX: u64 = 330 * 1024;

/// A kind of firmware.
#[derive(Clone, Copy, Debug)]
struct Variant {
    name: &'static str,
    features: &'static str,
    program: &'static str,
    /// What else must compile.
    example: &'static [&'static str],
    /// Longest image in bytes: what it is now, and room for a careless change.
    image_bytes_max: u64,
    /// Most memory that is taken before the first statement, heap included, in bytes.
    static_bytes_max: u64,
}

/// The product, with the radio; and what the page about it shows.
const WIFI: Variant = Variant {
    name: "wifi",
    features: "wifi,agent",
    program: "waxwing-esp32",
    example: &["--example", "smallest"],
    image_bytes_max: 824_000,
    static_bytes_max: 192_000,
};

/// The product on the Ethernet of emulated chips.
const ETHERNET: Variant = Variant {
    name: "ethernet",
    features: "ethernet,agent",
    program: "waxwing-esp32",
    example: &[],
    image_bytes_max: 460_000,
    static_bytes_max: 138_000,
};

/// The product with the radio, without an agent.
const BARE: Variant = Variant {
    name: "bare",
    features: "wifi",
    program: "bare",
    example: &[],
    image_bytes_max: 496_000,
    static_bytes_max: 187_000,
};

/// The product on the Ethernet of emulated chips, without an agent.
const BARE_ETHERNET: Variant = Variant {
    name: "bare-ethernet",
    features: "ethernet",
    program: "bare",
    example: &[],
    image_bytes_max: 138_000,
    static_bytes_max: 133_000,
};

/// Espressif's boot loader for the ESP32-C3, without rollback.
const BOOT_LOADER: &str = "resources/bootloaders/esp32c3-bootloader.bin";
/// Its SHA-256: whatever else is under that name is not what was tested.
const BOOT_LOADER_SHA256: &str = "7c04141e1fd8da5a391e8004ffe3d8ee8e20eeb5baf9bd3abc05c03a17b1ed09";

/// Options of `cargo xtask firmware`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Build once more in another folder, and compare the images byte by byte.
    #[arg(long)]
    twice: bool,
}

/// An image and what it costs.
#[derive(Debug)]
struct Built {
    variant: Variant,
    image: PathBuf,
    image_bytes: u64,
    memory: Memory,
    parts: Parts,
}

/// Builds the images, checks them and prints what they cost.
///
/// # Errors
///
/// When one does not build, is refused by a judge, or costs too much.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    if args.twice { run_twice() } else { run_once() }
}

/// Builds the images and checks them.
///
/// # Errors
///
/// As [`run_all`].
pub(crate) fn run_once() -> anyhow::Result<()> {
    build_all(&python::environment()?).map(drop)
}

/// Builds the images for emulated chips only, with an agent and without, and checks them.
///
/// # Errors
///
/// As [`run_all`].
pub(crate) fn run_for_emulator() -> anyhow::Result<()> {
    let python = python::environment()?;
    let target = target_dir()?.join("device");
    let mut all = Vec::new();
    for variant in [ETHERNET, BARE_ETHERNET] {
        let built = build(&python, root(), &target, &out()?, variant)?;
        check(&python, &built)?;
        all.push(built);
    }
    flash_images(&all)
}

/// As [`run_once`], and once more in another folder: the images are the same.
///
/// # Errors
///
/// As [`run_all`].
pub(crate) fn run_twice() -> anyhow::Result<()> {
    let python = python::environment()?;
    twice::compare(&python, &build_all(&python)?)
}

fn build_all(python: &Path) -> anyhow::Result<Vec<Built>> {
    let target = target_dir()?.join("device");
    let mut all = Vec::new();
    // Fetches all that is built, so that the folders are there whose names are taken out of it.
    boot_loader()?;
    for variant in [ETHERNET, WIFI, BARE_ETHERNET, BARE] {
        let built = build(python, root(), &target, &out()?, variant)?;
        check(python, &built)?;
        all.push(built);
    }
    flash_images(&all)?;
    report(&all)?;
    Ok(all)
}

/// Returns where the images are.
///
/// # Errors
///
/// When the folder cannot be made.
fn out() -> anyhow::Result<PathBuf> {
    let folder = target_dir()?.join("firmware");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Returns Espressif's boot loader, fetched with the crate that carries it.
///
/// # Errors
///
/// When it cannot be fetched, or is another one than was tested.
pub(crate) fn boot_loader() -> anyhow::Result<PathBuf> {
    let mut metadata = cargo("metadata");
    metadata.current_dir(root().join(FOLDER).join("boot-loader"));
    let output = metadata.args(["--locked", "--format-version", "1"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata.get("packages").and_then(Value::as_array);
    let manifest = packages.into_iter().flatten().find_map(|package| {
        let is_it = package.get("name")?.as_str()? == "espflash";
        is_it.then(|| package.get("manifest_path")?.as_str()).flatten()
    });
    let folder = Path::new(manifest.context("espflash is not in the lock file")?).parent();
    let file = folder.unwrap_or(Path::new("/")).join(BOOT_LOADER);
    if sha256(&file)? != BOOT_LOADER_SHA256 {
        bail!("{} is not the boot loader that was tested", file.display());
    }
    Ok(file)
}

/// Builds one image from the sources in `source`.
fn build(
    python: &Path,
    source: &Path,
    target: &Path,
    out: &Path,
    variant: Variant,
) -> anyhow::Result<Built> {
    let named = Named::give(source)?;
    let mut build = device::cargo_build_to(target)?;
    build.current_dir(source.join(FOLDER)).args(["--release", "--locked", "--manifest-path"]);
    build.arg(named.path().join(FOLDER).join("Cargo.toml"));
    build.args(["--no-default-features", "--features", variant.features]);
    build.args(["--bin", variant.program]).args(variant.example);
    build.args(["--config", &remapped(&[source, &named.path()])?]);
    run(build.env("SOURCE_DATE_EPOCH", built_at_s()))?;
    drop(named);
    let program = target.join(device::TARGET).join("release").join(variant.program);
    let elf = out.join(format!("{}.elf", variant.name));
    fs::copy(&program, &elf).with_context(|| format!("cannot copy {}", program.display()))?;
    let image = out.join(format!("app-{}.bin", variant.name));
    // What the header says about flash is not changed when it is flashed: the file is what is signed.
    let flash = ["--flash-mode", "dio", "--flash-freq", "40m", "--flash-size", "4MB"];
    run(esptool(python).arg("elf2image").args(flash).arg("-o").args([&image, &elf]))?;
    let image_bytes = fs::metadata(&image)?.len();
    let elf = fs::read(&elf)?;
    let memory = Memory::of(&elf).context("cannot read the program's sections")?;
    let parts = parts::of(&elf).context("cannot read the program's symbols")?;
    Ok(Built { variant, image, image_bytes, memory, parts })
}

/// Takes the names of folders out of the program: it is the same wherever it was built, and shorter.
/// A panic still names its file, beginning with the crate.
fn remapped(sources: &[&Path]) -> anyhow::Result<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let registries = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    let registries = fs::read_dir(&registries)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("cannot list {}", registries.display()))?;
    let mut folders = registries;
    folders.sort();
    folders.extend(sources.iter().map(|&source| source.to_owned()));
    let flags: Vec<String> = folders
        .iter()
        .map(|folder| format!("\"--remap-path-prefix={}/=\"", folder.display()))
        .collect();
    Ok(format!("target.{}.rustflags=[{}]", device::TARGET, flags.join(",")))
}

/// The time in the image: that of the last commit, so that the same source makes the same bytes.
fn built_at_s() -> String {
    if let Some(epoch) = std::env::var_os("SOURCE_DATE_EPOCH") {
        return epoch.to_string_lossy().into_owned();
    }
    let output = command("git").args(["log", "-1", "--format=%ct"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "0".into())
}

fn esptool(python: &Path) -> Command {
    let mut esptool = command(python);
    esptool.args(["-m", "esptool", "--chip", "esp32c3"]);
    esptool
}

/// Has esptool judge the image, and looks at what it costs.
fn check(python: &Path, built: &Built) -> anyhow::Result<()> {
    let output = esptool(python).arg("image-info").arg(&built.image).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let is_valid =
        |what: &str| said.lines().any(|line| line.starts_with(what) && line.ends_with("(valid)"));
    if !output.status.success() || !is_valid("Checksum:") || !is_valid("Validation hash:") {
        bail!("esptool refuses {}:\n{said}", built.image.display());
    }
    let Variant { name, image_bytes_max, static_bytes_max, .. } = built.variant;
    within(&format!("{name}: image"), built.image_bytes, image_bytes_max)?;
    within(&format!("{name}: memory"), built.memory.static_bytes, static_bytes_max)
}

fn within(what: &str, bytes: u64, bytes_max: u64) -> anyhow::Result<()> {
    if bytes > bytes_max {
        bail!("{what} has {bytes} bytes, {} too many", bytes - bytes_max);
    }
    Ok(())
}

/// Puts flash images together, where our own parser judges.
fn flash_images(all: &[Built]) -> anyhow::Result<()> {
    let boot_loader = boot_loader()?;
    run(cargo("build").args(["--package", "waxwing-provision"]))?;
    let tool = target_dir()?.join("debug/waxwing-provision");
    for built in all {
        let flash = built.image.with_file_name(format!("flash-{}.bin", built.variant.name));
        let mut make = command(&tool);
        make.arg("flash").arg("--boot-loader").arg(&boot_loader);
        run(make.arg("--app").arg(&built.image).arg("--out").arg(flash))?;
    }
    Ok(())
}

/// Prints the sizes, and writes them down.
fn report(all: &[Built]) -> anyhow::Result<()> {
    let row = |built: &Built| {
        let Memory { static_bytes, code_bytes, stack_bytes } = built.memory;
        eprintln!(
            "{:>14}: image {:>9}, static memory {static_bytes:>7}, code in memory {code_bytes:>6}, \
             stack {stack_bytes:>7}",
            built.variant.name, built.image_bytes,
        );
        json!({
            "name": built.variant.name,
            "image_bytes": built.image_bytes,
            "static_bytes": static_bytes,
            "code_in_memory_bytes": code_bytes,
            "stack_bytes": stack_bytes,
        })
    };
    let rows: Vec<Value> = all.iter().map(row).collect();
    let find = |variant: Variant| {
        let built = all.iter().find(|built| built.variant.name == variant.name);
        built.with_context(|| format!("{} was not built", variant.name))
    };
    let (with, without) = (find(WIFI)?, find(BARE)?);
    let agent = with.image_bytes.saturating_sub(without.image_bytes);
    let parts = parts::difference(&with.parts, &without.parts, agent);
    for (part, bytes) in &parts {
        eprintln!("{part:>20}: {bytes:>7}");
    }
    eprintln!("{:>20}: {agent:>7} bytes of flash, limit {AGENT_BYTES_MAX}", "agent in all");
    let manifest = json!({ "images": rows, "agent_bytes": agent, "parts": parts });
    fs::write(out()?.join("manifest.json"), format!("{manifest:#}\n"))?;
    within("agent: flash", agent, AGENT_BYTES_MAX)
}

/// Returns a file's SHA-256 in hexadecimal.
fn sha256(file: &Path) -> anyhow::Result<String> {
    let output = command("sha256sum").arg(file).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let digest = text.split_whitespace().next().filter(|_| output.status.success());
    Ok(digest.with_context(|| format!("cannot hash {}", file.display()))?.to_owned())
}
