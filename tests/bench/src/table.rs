//! Numbers beside their goals and beside those of the run before.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// One number.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    name: String,
    value: f64,
    /// The highest value that is good enough, or the lowest.
    goal: Option<f64>,
    /// False when the value is beyond its goal.
    kept: bool,
}

/// All numbers of a run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Row {
    /// A number without a goal.
    pub(crate) fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, goal: None, kept: true }
    }

    /// Sets the goal.
    pub(crate) fn at_most(self, goal: f64) -> Self {
        Self { goal: Some(goal), kept: self.value <= goal, ..self }
    }

    /// Sets the goal of a number of which more is better.
    pub(crate) fn at_least(self, goal: f64) -> Self {
        Self { goal: Some(goal), kept: self.value >= goal, ..self }
    }
}

impl Table {
    /// Adds a number.
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints the numbers, and keeps them for the next run.
    ///
    /// # Errors
    ///
    /// When a goal is missed, or they cannot be printed or kept.
    pub(crate) fn finish(&self, previous: Option<&Path>, json: bool) -> anyhow::Result<()> {
        let before = previous.and_then(Self::read).unwrap_or_default();
        let mut out = io::stdout().lock();
        if json {
            serde_json::to_writer_pretty(&mut out, self)?;
            writeln!(out)?;
        } else {
            self.write(&before, &mut out)?;
        }
        if let Some(file) = previous {
            fs::write(file, serde_json::to_vec(self)?)?;
        }
        let missed: Vec<_> = self.rows.iter().filter(|row| !row.kept).collect();
        let missed: Vec<_> = missed.iter().map(|row| row.name.as_str()).collect();
        ensure!(missed.is_empty(), "beyond the goal: {}", missed.join("; "));
        Ok(())
    }

    /// A file that is not there, or of another version of this program, tells of no run before.
    fn read(file: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(file).ok()?).ok()
    }

    fn write(&self, before: &Self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:<52} {:>12} {:>10} {:>5} {:>8}", "", "value", "goal", "kept", "before")?;
        for row in &self.rows {
            let goal = row.goal.map_or_else(String::new, plain);
            let kept = match (row.goal, row.kept) {
                (None, _) => "",
                (Some(_), true) => "yes",
                (Some(_), false) => "NO",
            };
            let same = before.rows.iter().find(|other| other.name == row.name);
            let ratio =
                same.map_or_else(String::new, |it| format!("x {:.3}", row.value / it.value));
            let value = plain(row.value);
            writeln!(out, "{:<52} {value:>12} {goal:>10} {kept:>5} {ratio:>8}", row.name)?;
        }
        Ok(())
    }
}

/// Counts without a fraction, ratios with one.
fn plain(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
