//! Where settings come from: the file, and variables of the environment on top of it.
//!
//! Not here: what the settings are, and which values make sense.

use std::path::Path;

use super::{Config, ConfigError};

/// Reads a file whose every key is known.
pub(super) fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let parsed = |source| ConfigError::File { path: path.to_owned(), source };
    // Read into the real type first: its errors point at the line.
    toml::from_str::<Config>(&text).map_err(parsed)?;
    text.parse().map_err(parsed)
}

/// Turns a table into a configuration, with defaults for what it leaves out.
pub(super) fn parse(table: toml::Table) -> Result<Config, toml::de::Error> {
    table.try_into()
}

/// Sets what a variable such as `LISTEN__DEVICE` stands for, `listen.device`, in the table.
pub(super) fn apply(
    table: &mut toml::Table,
    path: &str,
    value: &str,
) -> Result<(), toml::de::Error> {
    let path = path.to_lowercase();
    let (sections, key) =
        path.rsplit_once("__").map_or((None, path.as_str()), |(s, k)| (Some(s), k));
    let mut table = table;
    for section in sections.into_iter().flat_map(|sections| sections.split("__")) {
        let entry = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry
            .as_table_mut()
            .ok_or_else(|| serde::de::Error::custom(format!("`{section}` is no section")))?;
    }
    table.insert(key.to_owned(), value_of(value));
    Ok(())
}

fn value_of(text: &str) -> toml::Value {
    let parsed = format!("value = {text}").parse::<toml::Table>();
    let literal = parsed.ok().and_then(|mut table| table.remove("value"));
    literal.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}
