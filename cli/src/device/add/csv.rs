//! Devices in a CSV file: each line is judged by itself.
//!
//! The first line names the columns: `id`, and any of `product`, `hardware` and `tag`, the last as
//! often as a device may have tags. Cells are not quoted, so that no line can swallow the next; no
//! cell needs it. Not here: whether the server takes them.

use std::collections::BTreeMap;

use waxwing_wire::{DeviceId, Hardware, ProductId};

use super::unfit::Unfit;
use crate::input;

/// Most devices in one file; more are two files, and two reports that somebody can read.
pub(super) const LINES_MAX: usize = 10_000;
/// Longest line in bytes: three names and sixteen tags with their longest values fit.
pub(super) const LINE_BYTES_MAX: usize = 4096;
/// Most columns: id, product, hardware and as many tags as a device may have.
pub(super) const COLUMNS_MAX: usize = 3 + 16;
/// Characters of an id that a report shows; a longer one is none.
const SHOWN_CHARS_MAX: usize = 64;

/// What some programs begin a text file with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A device to make.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Order {
    /// Its name.
    pub(super) device: DeviceId,
    /// Its product, if that was said.
    pub(super) product: Option<ProductId>,
    /// Its hardware revision, if that was said.
    pub(super) hardware: Option<Hardware>,
    /// What groups can ask for.
    pub(super) tags: BTreeMap<String, String>,
}

/// A line of the file.
#[derive(Debug)]
pub(super) struct Line {
    /// Its number, the first one being 1.
    pub(super) number: usize,
    /// What stands where the id should, to find the line by.
    pub(super) shown: String,
    /// The device, or what is wrong with the line.
    pub(super) order: Result<Order, Unfit>,
}

/// A file of which no line can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum InvalidFile {
    /// The first line names no columns that we know, or one twice.
    #[error("the first line names the columns: id, and any of product, hardware, tag,tag,...")]
    Header,
    /// Too many devices.
    #[error("it has more than {LINES_MAX} lines; divide it")]
    TooManyLines,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Column {
    Hardware,
    Id,
    Product,
    Tag,
}

/// Reads every line.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Line>, InvalidFile> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut lines = (1..).zip(bytes.split(|byte| *byte == b'\n'));
    let header = lines.next().and_then(|(_, header)| columns(header)).ok_or(InvalidFile::Header)?;
    let mut seen = BTreeMap::new();
    let mut read = Vec::new();
    for (number, line) in lines {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if read.len() == LINES_MAX {
            return Err(InvalidFile::TooManyLines);
        }
        let order = order(line, &header).and_then(|order| {
            let first = *seen.entry(order.device.clone()).or_insert(number);
            if first == number { Ok(order) } else { Err(Unfit::Duplicate(first)) }
        });
        read.push(Line { number, shown: shown(line, &header), order });
    }
    Ok(read)
}

fn columns(header: &[u8]) -> Option<Vec<Column>> {
    let header = str::from_utf8(header).ok()?;
    let columns = header.split(',').map(|name| match name.trim() {
        "hardware" => Some(Column::Hardware),
        "id" => Some(Column::Id),
        "product" => Some(Column::Product),
        "tag" => Some(Column::Tag),
        _ => None,
    });
    let columns: Vec<_> = columns.take(COLUMNS_MAX + 1).collect::<Option<_>>()?;
    let count = |wanted| columns.iter().filter(|column| **column == wanted).count();
    let once = count(Column::Hardware) <= 1 && count(Column::Product) <= 1;
    (columns.len() <= COLUMNS_MAX && count(Column::Id) == 1 && once).then_some(columns)
}

fn order(line: &[u8], columns: &[Column]) -> Result<Order, Unfit> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Unfit::LineLength(LINE_BYTES_MAX));
    }
    let line = str::from_utf8(line).map_err(|_| Unfit::NotText)?;
    if line.contains(|c: char| c == '"' || c.is_control()) {
        return Err(Unfit::Quoted);
    }
    let cells: Vec<_> = line.split(',').map(str::trim).collect();
    if cells.len() > columns.len() {
        return Err(Unfit::TooManyCells);
    }
    let cells = || columns.iter().zip(&cells).filter(|(_, cell)| !cell.is_empty());
    let cell = |wanted| cells().find(|(column, _)| **column == wanted).map(|(_, cell)| *cell);
    let tags = cells().filter(|(column, _)| **column == Column::Tag);
    let hardware = cell(Column::Hardware).map(Hardware::parse).transpose();
    let product = cell(Column::Product).map(ProductId::parse).transpose();
    Ok(Order {
        device: DeviceId::parse(cell(Column::Id).unwrap_or_default()).map_err(|_| Unfit::Id)?,
        product: product.map_err(|_| Unfit::OtherProduct)?,
        hardware: hardware.map_err(|_| Unfit::Hardware)?,
        tags: tags
            .map(|(_, cell)| input::tag(cell))
            .collect::<Result<_, _>>()
            .map_err(|_| Unfit::Tag)?,
    })
}

fn shown(line: &[u8], columns: &[Column]) -> String {
    let at = columns.iter().position(|column| *column == Column::Id).unwrap_or_default();
    let cell = line.split(|byte| *byte == b',').nth(at).unwrap_or_default();
    let cell = cell.get(..LINE_BYTES_MAX).unwrap_or(cell);
    String::from_utf8_lossy(cell).trim().chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The code of each line, `ok` for a good one.
    fn codes(text: &[u8]) -> Vec<(usize, &'static str)> {
        let code = |line: &Line| line.order.as_ref().map_or_else(Unfit::code, |_| "ok");
        parse(text).unwrap().iter().map(|line| (line.number, code(line))).collect()
    }

    #[test]
    fn a_line_is_a_device_with_its_tags() {
        let text =
            b"\xef\xbb\xbfid,product,hardware,tag,tag\r\nd1,th1,r2,site=a b,canary\r\n\r\nd2\r\n";
        let lines = parse(text).unwrap();
        let tags = [("site", "a b"), ("canary", "")].map(|(key, value)| (key.into(), value.into()));
        let order = Order {
            device: DeviceId::parse("d1").unwrap(),
            product: ProductId::parse("th1").ok(),
            hardware: Hardware::parse("r2").ok(),
            tags: tags.into(),
        };
        assert_eq!(lines[0].order, Ok(order));
        assert_eq!(codes(text), [(2, "ok"), (4, "ok")]);
    }

    #[test]
    fn a_bad_line_is_refused_by_its_name_and_the_next_one_is_read() {
        let long = [b"d-long,", "x".repeat(LINE_BYTES_MAX).as_bytes()].concat();
        for (line, code) in [
            (&b"d\xff1,th1"[..], "not_text"),
            (b"d1,th1,tag,more", "too_many_cells"),
            (b"=cmd|' /C calc'!A0,th1", "invalid_id"),
            (b"@SUM(1+1),th1", "invalid_id"),
            (b"../../etc/passwd,th1", "invalid_id"),
            (b",th1", "invalid_id"),
            (b"d1,th1,=1+1", "invalid_tag"),
            (b"d1,not a product", "other_product"),
            (b"d\x001,th1", "quoted"),
            (b"d1,th1,\"a", "quoted"),
            (b"d1\x1b[2J,th1", "quoted"),
            (b"before,th1", "duplicate_device"),
            (&long, "line_too_long"),
        ] {
            let text = [b"id,product,tag\nbefore,th1\n", line, b"\nafter,th1\n"].concat();
            assert_eq!(codes(&text), [(2, "ok"), (3, code), (4, "ok")], "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_file_without_columns_or_end_is_refused_whole() {
        let wide = format!("id{}\n", ",tag".repeat(COLUMNS_MAX));
        for header in ["", "\n", "d1,th1", "product\n", "id,id\n", "id,product,product\n", &wide] {
            assert_eq!(parse(header.as_bytes()).unwrap_err(), InvalidFile::Header, "{header:?}");
        }
        let lines = |count| format!("id\n{}", "d\n".repeat(count));
        assert_eq!(parse(lines(LINES_MAX).as_bytes()).unwrap().len(), LINES_MAX);
        assert_eq!(parse(lines(LINES_MAX + 1).as_bytes()).unwrap_err(), InvalidFile::TooManyLines);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_every_line_has_an_answer(bytes: Vec<u8>) {
            let text = [b"id,tag\n", &bytes[..]].concat();
            let lines = parse(&text).unwrap();
            prop_assert!(lines.len() <= bytes.split(|byte| *byte == b'\n').count());
            prop_assert!(lines.iter().all(|line| line.shown.chars().count() <= SHOWN_CHARS_MAX));
        }
    }
}
