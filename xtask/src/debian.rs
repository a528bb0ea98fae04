//! Programs that tests need from the system: found, installed by apt, or named.

use std::path::Path;

use anyhow::bail;

use crate::workspace::{command, run, succeeds};

/// A Debian package and how to see that it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    /// Its name for apt-get.
    pub(crate) name: &'static str,
    /// A command that succeeds when the package, or its like on another system, is installed.
    pub(crate) probe: &'static [&'static str],
}

/// Makes sure that the packages are installed: by apt-get, when we are root on Debian.
///
/// # Errors
///
/// Names what is missing when it cannot be installed from here.
pub(crate) fn require(packages: &[Package]) -> anyhow::Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() || !Path::new("/etc/debian_version").exists() {
        bail!("install first (names of Debian packages): {}", missing.join(" "));
    }
    install(&missing)
}

fn missing(packages: &[Package]) -> Vec<&'static str> {
    packages.iter().filter(|package| !package.is_installed()).map(|package| package.name).collect()
}

fn install(names: &[&str]) -> anyhow::Result<()> {
    run(command("apt-get").args(["update", "--quiet"]))?;
    let options = ["install", "--yes", "--quiet", "--no-install-recommends"];
    run(command("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(options).args(names))
}

fn is_root() -> bool {
    let output = command("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

impl Package {
    fn is_installed(self) -> bool {
        self.probe
            .split_first()
            .is_some_and(|(program, args)| succeeds(command(program).args(args)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_missing_when_its_probe_fails_or_does_not_exist() {
        let here = Package { name: "here", probe: &["true"] };
        let fails = Package { name: "fails", probe: &["false"] };
        let absent = Package { name: "absent", probe: &["no-such-program-anywhere"] };
        assert_eq!(missing(&[here, fails, absent]), ["fails", "absent"]);
    }
}
