//! The files of the dashboards, and what they ask.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Where an answer is sought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// What devices say.
    Influxdb,
    /// Numbers about the server.
    Prometheus,
}

impl Source {
    /// Its name in dashboards and provisioning.
    pub(super) const fn uid(self) -> &'static str {
        match self {
            Self::Influxdb => "waxwing-influxdb",
            Self::Prometheus => "waxwing-prometheus",
        }
    }

    fn of(item: &Value) -> Result<Self> {
        let uid = item.pointer("/datasource/uid").and_then(Value::as_str);
        let all = [Self::Influxdb, Self::Prometheus];
        let found = all.into_iter().find(|source| Some(source.uid()) == uid);
        found.with_context(|| format!("a known source in {item}"))
    }
}

/// Something that a dashboard asks, with its variables filled in.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "the place is for people who read that there was no answer")]
pub(super) struct Query {
    place: String,
    pub(super) source: Source,
    pub(super) text: String,
}

/// What Grafana puts in for times. The longer name stands first.
const TIMES: [(&str, &str); 3] =
    [("$__rate_interval", "1m"), ("$__interval", "10s"), ("$timeFilter", "time > now() - 1h")];

/// The folder of the dashboards.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

/// Returns every dashboard with its file.
pub(super) fn boards() -> Result<Vec<(PathBuf, Value)>> {
    let mut boards = Vec::new();
    for entry in fs::read_dir(folder().join("grafana/dashboards"))? {
        let path = entry?.path();
        let board = serde_json::from_slice(&fs::read(&path)?);
        boards.push((path.clone(), board.with_context(|| path.display().to_string())?));
    }
    ensure!(!boards.is_empty(), "there are no dashboards");
    Ok(boards)
}

/// Returns everything that panels and variables ask.
pub(super) fn queries() -> Result<Vec<Query>> {
    let mut queries = Vec::new();
    for (path, board) in boards()? {
        let place = |title: &str| format!("{}: {title}", path.display());
        let variables = items(&board, "/templating/list");
        let names = variables.iter().map(|it| text(it, "/name")).collect::<Result<Vec<_>>>()?;
        let filled_in = |asked: &str| fill_in(asked, &names);
        for variable in variables {
            let asked = text(variable, "/query/query").or_else(|_| text(variable, "/query"))?;
            let (place, text) = (place(text(variable, "/name")?), filled_in(asked)?);
            queries.push(Query { place, source: Source::of(variable)?, text });
        }
        for panel in items(&board, "/panels") {
            let title = text(panel, "/title")?;
            let targets = items(panel, "/targets");
            ensure!(!targets.is_empty() || text(panel, "/type")? == "row", "{title} asks nothing");
            for target in targets {
                let asked = text(target, "/expr").or_else(|_| text(target, "/query"))?;
                let (place, text) = (place(title), filled_in(asked)?);
                queries.push(Query { place, source: Source::of(target)?, text });
            }
        }
    }
    Ok(queries)
}

/// Returns the members of a list, none if there is no list.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.with_context(|| format!("{pointer} in {value}"))
}

/// Puts in a short time, and for every variable what Grafana does for "All".
fn fill_in(asked: &str, variables: &[&str]) -> Result<String> {
    let mut filled = TIMES.iter().fold(asked.to_owned(), |text, (name, it)| text.replace(name, it));
    for name in variables {
        filled = filled.replace(&format!("${name}"), ".*");
    }
    let rest = filled.split('$').skip(1).find(|rest| rest.starts_with(char::is_alphabetic));
    ensure!(rest.is_none(), "an unknown variable in {asked}");
    Ok(filled)
}
