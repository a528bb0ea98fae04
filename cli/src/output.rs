//! Prints answers: tables and colours for people, the server's JSON for programs.
//!
//! The only module that writes to standard output.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Attribute, Cell, Color, Table, presets};
use serde_json::{Map, Value};

use crate::error::Error;

/// Who reads the output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Output {
    /// A program.
    Json,
    /// A person at a terminal.
    Human,
}

impl Output {
    /// Chooses JSON when asked to, or when nobody sits at the other end.
    pub(crate) fn new(json: bool) -> Self {
        if json || !io::stdout().is_terminal() { Self::Json } else { Self::Human }
    }

    /// Prints a list: as one JSON array, or as a table of these fields.
    pub(crate) fn list(self, items: &[Value], fields: &[&str]) -> Result<(), Error> {
        if self == Self::Json {
            return json(&items.into());
        }
        print(&list_table(items, fields).trim_fmt())
    }

    /// Prints one thing: as JSON, or as a table of its fields.
    pub(crate) fn one(self, item: &Value) -> Result<(), Error> {
        let Some(fields) = item.as_object().filter(|_| self == Self::Human) else {
            return json(item);
        };
        print(&field_table(fields).trim_fmt())
    }

    /// Prints a line for people.
    pub(crate) fn say(self, line: &str) -> Result<(), Error> {
        match self {
            Self::Human => print(line),
            Self::Json => Ok(()),
        }
    }

    /// Prints that something was done: a sentence for people, the answer for programs.
    pub(crate) fn done(self, sentence: &str, answer: &Value) -> Result<(), Error> {
        match self {
            Self::Human => print(sentence),
            Self::Json => json(answer),
        }
    }
}

/// Prints one line of JSON.
pub(crate) fn json(value: &Value) -> Result<(), Error> {
    print(&value.to_string())
}

/// A reader that has seen enough and closed the pipe is no error.
fn print(text: &str) -> Result<(), Error> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// Makes a row per item.
fn list_table(items: &[Value], fields: &[&str]) -> Table {
    let mut table = plain_table();
    table.set_header(fields.iter().map(|field| heading(field)));
    table.add_rows(items.iter().map(|item| {
        fields.iter().map(|field| cell(&item.get(field).map_or_else(String::new, text)))
    }));
    table
}

/// Makes a row per field.
fn field_table(fields: &Map<String, Value>) -> Table {
    let mut table = plain_table();
    table.add_rows(fields.iter().map(|(field, value)| [heading(field), cell(&lines(value))]));
    table
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

fn heading(field: &str) -> Cell {
    Cell::new(clean(field).replace('_', " ")).add_attribute(Attribute::Dim)
}

fn cell(text: &str) -> Cell {
    let cell = Cell::new(if text.is_empty() { "-" } else { text });
    match color(text) {
        Some(color) => cell.fg(color),
        None => cell,
    }
}

/// Writes a value with room for it: a line per line of a text, per field of a map, and per map of a list.
/// The table indents them all, so that no line looks like another field.
fn lines(value: &Value) -> String {
    match value {
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().map(text).collect::<Vec<_>>().join("\n")
        }
        Value::Object(fields) => pairs(fields).join("\n"),
        Value::String(text) => text.lines().map(clean).collect::<Vec<_>>().join("\n"),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) => text(value),
    }
}

/// Writes a value as a person would: no quotes, lists with commas, maps as `key=value`.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => pairs(fields).join(" "),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Leaves out what has no value.
fn pairs(fields: &Map<String, Value>) -> Vec<String> {
    let pairs = fields.iter().map(|(key, value)| (key, text(value)));
    let pairs = pairs.filter(|(_, text)| !text.is_empty());
    pairs.map(|(key, text)| format!("{}={text}", clean(key))).collect()
}

/// Names come from devices and other operators too; none may move the cursor.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Colours the words for states of devices, rollouts and deployments.
fn color(word: &str) -> Option<Color> {
    match word {
        "active" | "finished" | "healthy" | "ok" => Some(Color::Green),
        "booted" | "confirmed" | "downloading" | "running" | "verified" => Some(Color::Cyan),
        "draft" | "paused" | "registered" | "timed_out" | "warning" => Some(Color::Yellow),
        "cancelled" | "failed" | "halted" | "revoked" | "rolled_back" => Some(Color::Red),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_read_like_prose() {
        let cases = [
            (json!(null), ""),
            (json!("a b"), "a b"),
            (json!(["a", "b"]), "a, b"),
            (json!({ "site": "lab", "none": null, "empty": [] }), "site=lab"),
            (json!([{ "percent": 10 }, { "percent": 100 }]), "percent=10, percent=100"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(&value), expected);
        }
    }

    #[test]
    fn a_table_has_a_row_per_item_and_shows_what_is_missing() {
        let items = [json!({ "id": "d1", "status": "active" }), json!({ "id": "long-name" })];
        let table = list_table(&items, &["id", "last_seen_at", "status"]).trim_fmt();
        let words: Vec<Vec<_>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["id", "last", "seen", "at", "status"]);
        assert_eq!(words[1], ["d1", "-", "active"]);
        assert_eq!(words[2], ["long-name", "-", "-"]);
    }

    #[test]
    fn one_thing_has_a_row_per_field() {
        let thing = json!({ "id": "d1", "tags": { "site": "lab" } });
        let table = field_table(thing.as_object().unwrap()).trim_fmt();
        assert!(table.contains("id    d1") && table.contains("site=lab"), "{table}");
        let long =
            json!({ "phases": [{ "percent": 10 }, { "percent": 50 }], "gate": { "a": 1, "b": 2 } });
        assert_eq!(field_table(long.as_object().unwrap()).lines().count(), 4);
    }

    #[test]
    fn a_name_cannot_send_escape_sequences_to_the_terminal() {
        assert_eq!(text(&json!("a\u{1b}[2Jb\r\n")), "a\u{fffd}[2Jb\u{fffd}\u{fffd}");
        let thing = json!({ "\u{1b}[2J": { "\u{9b}2J": "\u{7f}" }, "b": { "\n": 1 } });
        let table = field_table(thing.as_object().unwrap()).trim_fmt();
        assert!(table.chars().all(|c| !c.is_control() || c == '\n'), "{table:?}");
        assert_eq!(table.lines().count(), 2, "{table}");
    }

    #[test]
    fn a_log_keeps_its_lines_and_none_of_them_looks_like_a_field() {
        let thing = json!({ "detail": "started\r\nstate  done\n\u{1b}[1Aid 7\n", "state": "sent" });
        let table = field_table(thing.as_object().unwrap()).trim_fmt();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert!(lines[1..3].iter().all(|line| line.starts_with("        ")), "{table}");
        assert!(lines[0].ends_with("started") && lines[1].ends_with("state  done"), "{table}");
        assert!(lines[2].ends_with("\u{fffd}[1Aid 7"), "{table}");
    }
}
