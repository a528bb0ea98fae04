//! The final table.

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};

/// A promise, and whether it was kept.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was promised.
    pub(crate) promise: &'static str,
    /// What was seen, or why not.
    pub(crate) outcome: Result<String>,
}

/// Draws the table, as wide as the terminal.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["promise", "", "seen"]);
    for row in rows {
        let (mark, color, seen) = match &row.outcome {
            Ok(seen) => ("kept", Color::Green, seen.clone()),
            Err(error) => ("BROKEN", Color::Red, format!("{error:#}")),
        };
        let mark = Cell::new(mark).fg(color).add_attribute(Attribute::Bold);
        table.add_row([Cell::new(row.promise), mark, Cell::new(seen)]);
    }
    table.to_string()
}
