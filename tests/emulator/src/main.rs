//! `waxwing-emulator`: runs a flash file in the model.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use waxwing_emulator::flash::{Cut, Nor, Operation, Tear, after_cut};
use waxwing_emulator::machine::{End, Limits, Machine, Summary};
use waxwing_emulator::net::{Host, Network};
use waxwing_emulator::serial::Serial;

/// Runs the content of an ESP32-C3's flash. The file changes as the flash does.
///
/// Exit codes: 0 the awaited text came, or a time limit that nothing was awaited in; 2 wrong usage;
/// 3 the planned power cut; 4 the awaited text did not come; 5 too many resets; 6 nothing to boot;
/// 7 the program did something that the model does not know; 1 everything else.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<Run>,
}

#[derive(Subcommand)]
enum Command {
    /// Writes what the flash would hold had the power failed at an operation of a logged run.
    Cut(CutOptions),
}

#[derive(Args)]
struct Run {
    /// The flash: as many bytes as the chip has.
    #[arg(long)]
    flash: PathBuf,
    /// A host that the device can reach: NAME:PORT=127.0.0.1:PORT. May be repeated.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<Host>,
    /// Where the serial line goes; `-` is the terminal.
    #[arg(long, default_value = "-")]
    uart: PathBuf,
    /// Stop when a line on the serial line contains this.
    #[arg(long, value_name = "TEXT")]
    until: Option<String>,
    /// Cut the power at this flash operation, counted from 1.
    #[arg(long, value_name = "N")]
    power_cut_at: Option<u64>,
    /// When during it.
    #[arg(long, value_enum, default_value = "torn", requires = "power_cut_at")]
    cut: Tear,
    /// Stop after this many seconds of the world.
    #[arg(long, default_value_t = 600, value_name = "S")]
    max_seconds: u64,
    /// Stop after this many seconds of the chip's time.
    #[arg(long, default_value_t = 86_400, value_name = "S")]
    max_virtual_seconds: u64,
    /// Stop after this many resets.
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_resets: usize,
    /// Seed of random numbers and of what memory holds when power comes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write a summary of the run as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write every flash operation as a line of JSON, for `cut`.
    #[arg(long, value_name = "FILE")]
    flash_log: Option<PathBuf>,
    /// Write the static memory (`0x3FC8_0000` on) as it is at the end.
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
}

#[derive(Args)]
struct CutOptions {
    /// The flash before the run.
    #[arg(long)]
    flash: PathBuf,
    /// The log of the run.
    #[arg(long)]
    log: PathBuf,
    /// The operation, counted from 1.
    #[arg(long, value_name = "N")]
    at: u64,
    /// When during it.
    #[arg(long, value_enum, default_value = "torn")]
    cut: Tear,
    /// Where the flash after the cut goes.
    #[arg(long)]
    to: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match (options.command, options.run) {
        (Some(Command::Cut(options)), _) => cut(&options).map(|()| ExitCode::SUCCESS),
        (None, Some(options)) => run(&options),
        (None, None) => Err(anyhow::anyhow!("--flash FILE is missing")),
    };
    done.unwrap_or_else(|error| {
        eprintln!("waxwing-emulator: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(options: &Run) -> anyhow::Result<ExitCode> {
    let mut flash = Nor::open(&options.flash).with_context(|| display(&options.flash))?;
    if let Some(at) = options.power_cut_at {
        flash.plan(Cut { at, tear: options.cut });
    }
    if options.flash_log.is_some() {
        flash.keep_log();
    }
    let out: Box<dyn Write> = if options.uart == Path::new("-") {
        Box::new(std::io::stdout())
    } else {
        Box::new(File::create(&options.uart).with_context(|| display(&options.uart))?)
    };
    let serial = Serial::new(out, options.until.clone());
    let limits = Limits {
        wall: Duration::from_secs(options.max_seconds),
        virtual_time: Duration::from_secs(options.max_virtual_seconds),
        resets: options.max_resets,
    };
    let network = Network::new(&options.hosts)?;
    let mut machine = Machine::new(flash, serial, network, options.seed, limits)?;
    let summary = machine.run()?;
    report(options, &machine, &summary)?;
    Ok(ExitCode::from(code(&summary.end, options.until.is_some())))
}

fn report(options: &Run, machine: &Machine<'_>, summary: &Summary) -> anyhow::Result<()> {
    if let End::Unknown(text) | End::NoBootLoader(text) = &summary.end {
        eprintln!("waxwing-emulator: {text}");
    }
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(summary)? + "\n")
            .with_context(|| display(file))?;
    }
    if let Some(file) = &options.flash_log {
        let mut lines = String::new();
        for operation in machine.flash().log() {
            lines += &serde_json::to_string(operation)?;
            lines.push('\n');
        }
        std::fs::write(file, lines).with_context(|| display(file))?;
    }
    if let Some(file) = &options.memory {
        std::fs::write(file, machine.memory()).with_context(|| display(file))?;
    }
    Ok(())
}

const fn code(end: &End, awaited: bool) -> u8 {
    match end {
        End::PowerCut => 3,
        End::Time if awaited => 4,
        End::Text | End::Time => 0,
        End::Resets => 5,
        End::NoBootLoader(_) => 6,
        End::Unknown(_) => 7,
    }
}

fn cut(options: &CutOptions) -> anyhow::Result<()> {
    let cells = std::fs::read(&options.flash).with_context(|| display(&options.flash))?;
    let log = std::fs::read_to_string(&options.log).with_context(|| display(&options.log))?;
    let operations: Vec<Operation> =
        log.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("flash log")?;
    let cut = Cut { at: options.at, tear: options.cut };
    let flash = after_cut(cells, &operations, cut);
    std::fs::write(&options.to, flash).with_context(|| display(&options.to))
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
