//! `waxwing-bench`: what things cost, in numbers that can be compared between machines.
//!
//! Each benchmark runs the real server binary as a process of its own and compares it with the
//! least that could do the same job, in turns, in the same run. Build it with `--release`; `cargo
//! xtask bench` does. Not here: gates. Ratios are printed, people and issues judge them (D32).

mod bare;
mod device;
mod fleet;
mod groups;
mod load;
mod metadata;
mod mqtt;
mod operator;
mod poll;
mod process;
mod report;
mod scale;
mod table;
mod trust;

// A board, the agent on it and an honest server, as the tests of the simulator have them.

#[path = "../../../device-agent/host/tests/it/backend.rs"]
#[expect(dead_code, clippy::indexing_slicing, clippy::unwrap_used, reason = "test code")]
mod backend;
#[path = "../../../device-agent/host/tests/it/cost.rs"]
#[expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "test code")]
mod cost;
#[path = "../../../device-agent/host/tests/it/ports.rs"]
mod ports;
#[path = "../../../device-agent/host/tests/it/world.rs"]
#[expect(dead_code, clippy::panic, clippy::unwrap_used, reason = "test code")]
mod world;

use clap::{Parser, Subcommand};

/// Benchmarks of Waxwing.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Serve nothing but `204 No Content`, for comparison.
    #[command(hide = true)]
    Bare(bare::Args),
    /// Measure the agent: firmware, an update in erases and hashes, a fleet of thousands.
    Device(device::Args),
    /// Measure queries over a million devices: the index against asking each of them.
    Groups(groups::Args),
    /// Measure the MQTT endpoint beside Mosquitto: connects, idle memory, messages checked and stored.
    Mqtt(mqtt::Args),
    /// Measure polls over mutual TLS: keep-alive, and a new connection for each.
    Poll(poll::Args),
    /// Measure what a million registered devices cost: memory, start, polls, a rollout to all of them.
    Scale(scale::Args),
    /// Measure the trust core: size, memory, instructions, bytes, signatures.
    Trust(trust::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Bench::parse().what {
        What::Bare(args) => bare::serve(&args).await,
        What::Device(args) => tokio::task::spawn_blocking(move || device::run(&args)).await?,
        What::Groups(args) => groups::run(&args),
        What::Mqtt(args) => mqtt::run(&args).await,
        What::Poll(args) => poll::run(&args).await,
        What::Scale(args) => scale::run(&args).await,
        What::Trust(args) => trust::run(&args).await,
    }
}
