//! Debian's Prometheus with the configuration of the repository, in a folder of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::blocking::Client;
use serde_json::Value;
use waxwing_e2e::process::{Line, Process};

use super::files::{folder, items};

/// Where the configuration finds the server.
const TARGET: &str = "127.0.0.1:9464";

/// How often the configuration has it look; a test has less time.
const INTERVAL: &str = "15s";

/// A Prometheus.
pub(super) struct Prometheus {
    address: String,
    client: Client,
    _process: Process,
}

impl Prometheus {
    /// Starts it, to read the numbers of a server.
    pub(super) fn create(here: &Path, server: &str) -> Result<Self> {
        fs::create_dir_all(here)?;
        let configuration = fs::read_to_string(folder().join("prometheus/prometheus.yml"))?;
        ensure!(configuration.contains(TARGET) && configuration.contains(INTERVAL));
        let configuration = configuration.replace(TARGET, server).replace(INTERVAL, "1s");
        fs::write(here.join("prometheus.yml"), configuration)?;
        fs::copy(folder().join("prometheus/rules.yml"), here.join("rules.yml"))?;
        let mut command = Command::new("prometheus");
        command.arg("--config.file").arg(here.join("prometheus.yml"));
        command.arg("--storage.tsdb.path").arg(here.join("data"));
        command.arg("--web.listen-address=127.0.0.1:0");
        let process = Process::spawn("prometheus", command, here)?;
        let address = wait_until_ready(&process)?;
        Ok(Self { address, client: Client::new(), _process: process })
    }

    /// Tells whether there is anything in the answer to an expression, or to the query of a variable.
    pub(super) fn has_answer(&self, text: &str) -> Result<bool> {
        let Some(variable) = text.strip_prefix("label_values(") else {
            let answer = self.ask("query", &[("query", text)])?;
            return Ok(answer.pointer("/result/0").is_some());
        };
        let variable = variable.strip_suffix(')').context("label_values(series, label)")?;
        let (series, label) = variable.split_once(", ").context("a series and a label")?;
        let values = self.ask(&format!("label/{label}/values"), &[("match[]", series)])?;
        Ok(values.pointer("/0").is_some())
    }

    /// Returns the names of all numbers that it has read.
    pub(super) fn names(&self) -> Result<BTreeSet<String>> {
        let names = self.ask("label/__name__/values", &[])?;
        Ok(items(&names, "").iter().filter_map(|it| Some(it.as_str()?.to_owned())).collect())
    }

    /// Returns the expressions of its rules, which must be well.
    pub(super) fn rules(&self) -> Result<Vec<String>> {
        let groups = self.ask("rules", &[])?;
        let rules = items(&groups, "/groups/0/rules");
        ensure!(!rules.is_empty(), "{groups}");
        let is_ill = |rule: &&Value| rule.pointer("/health").is_none_or(|it| it == "err");
        ensure!(rules.iter().find(is_ill).is_none(), "{groups}");
        let expression = |rule: &Value| Some(rule.pointer("/query")?.as_str()?.to_owned());
        Ok(rules.iter().filter_map(expression).collect())
    }

    /// Returns all series of the server with their labels, as text.
    pub(super) fn series(&self) -> Result<String> {
        Ok(self.ask("series", &[("match[]", r#"{job="waxwing"}"#)])?.to_string())
    }

    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let answer = self.client.get(url).query(parameters).send()?.text()?;
        let mut answer: Value = serde_json::from_str(&answer)?;
        ensure!(answer.pointer("/status").is_some_and(|it| it == "success"), "{answer}");
        ensure!(answer.pointer("/warnings").is_none(), "{answer}");
        Ok(answer.pointer_mut("/data").context("an answer")?.take())
    }
}

/// Reads what it says until it answers, and returns where.
fn wait_until_ready(process: &Process) -> Result<String> {
    let mut address = None;
    while let Some(Line::Error(line) | Line::Output(line)) = process.line()? {
        if let Some((_, rest)) = line.split_once("msg=\"Listening on\" address=") {
            address = rest.split_whitespace().next().map(str::to_owned);
        }
        if line.contains("Server is ready") {
            return address.context("it says where it listens");
        }
    }
    bail!("Prometheus did not start; see {}", process.log().display())
}
