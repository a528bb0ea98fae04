//! `cargo xtask ci`: everything that must hold besides the tests.

use crate::steps::Steps;
use crate::workspace::{cargo, root, run};
use crate::{bench, conformance, emulator, firmware, firmware_check, fuzz, tidy, tools};

/// Folders with a workspace of their own, for other targets or with other flags.
const WORKSPACES: [&str; 3] = ["device-agent/esp32", "fuzz", "tests/bench/device"];

/// Runs every check, also after one has failed; cheap ones first.
///
/// # Errors
///
/// Names the checks that failed.
pub(crate) fn run_all() -> anyhow::Result<()> {
    let mut steps = Steps::default();
    steps.run("fmt", fmt);
    steps.run("tidy", tidy::run);
    steps.run("deny", deny);
    steps.run("clippy", clippy);
    steps.run("conformance", conformance::check);
    steps.run("emulator", emulator::check);
    steps.run("doc", doc);
    steps.run("firmware-check", firmware_check::run_build);
    steps.run("firmware", firmware::run_once);
    steps.run("trust budget", bench::run_counts);
    steps.run("fuzz", fuzz::run_each_shortly);
    steps.finish()
}

fn fmt() -> anyhow::Result<()> {
    run(cargo("fmt").args(["--all", "--check"]))?;
    for workspace in WORKSPACES {
        run(cargo("fmt").current_dir(root().join(workspace)).arg("--check"))?;
    }
    Ok(())
}

/// Advisories are left out: they change without us, so they would fail a commit that is good. That
/// a crate may be used and is not is no fault.
fn deny() -> anyhow::Result<()> {
    tools::require(tools::DENY)?;
    let check = ["--all-features", "check", "--allow", "unused-wrapper"];
    run(cargo("deny").args(check).args(["bans", "licenses", "sources"]))?;
    // The tools of fuzzing have licences of their own; nothing of them is shipped.
    let manifest = ["--manifest-path", "fuzz/Cargo.toml"];
    run(cargo("deny").args(manifest).args(check).args(["bans", "sources"]))
}

fn clippy() -> anyhow::Result<()> {
    let what = ["--workspace", "--all-targets", "--all-features", "--keep-going"];
    run(cargo("clippy").args(what).args(["--", "--deny", "warnings"]))?;
    // The other workspace is for another target: its build is a step of its own.
    // The unit tests of the files that the fuzz targets share with the server are the server's.
    let mut fuzz = cargo("clippy");
    let what = ["--locked", "--lib", "--bins", "--examples"];
    fuzz.current_dir(root().join("fuzz")).args(what);
    run(fuzz.args(["--", "--deny", "warnings"]))
}

/// Private items are documented too: the reader is who works on them.
fn doc() -> anyhow::Result<()> {
    let flags = "--deny warnings --allow rustdoc::private_intra_doc_links";
    let what = ["--workspace", "--all-features", "--no-deps", "--document-private-items"];
    run(cargo("doc").args(what).env("RUSTDOCFLAGS", flags))
}
