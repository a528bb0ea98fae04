//! The line protocol of InfluxDB
//! (<https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/>): readings as points.
//!
//! A field has one type for good, and the first to write it decides; a point with another is refused. So all
//! numbers are floats in one measurement, and all texts are texts in another: no device can spoil a field
//! for the others. Not here: sending.

use std::fmt::Write as _;

use waxwing_wire::{DeviceId, ProductId};

use super::reading::{Reading, Readings};

/// What the name of the measurement of texts ends with.
const TEXTS: &str = "_text";

/// A field must not be called as the time of a point is.
const RESERVED: &str = "time";

/// Nanoseconds in a millisecond: the places behind the time of a message, for its position.
const NANOS: u64 = 1_000_000;

/// Whose readings they are, and when.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The name of the measurement: letters, digits, `_`, `-` and `.`.
    pub measurement: &'a str,
    /// Who measured.
    pub device: &'a DeviceId,
    /// What it is.
    pub product: &'a ProductId,
    /// When the message came, in Unix milliseconds.
    pub received_at: u64,
    /// The place of the message in the log: no two messages of a device are the same point, and one that is
    /// written twice is.
    pub position: u64,
}

/// Returns the lines for readings: one with numbers, one with texts, each only if there are any.
pub fn lines(source: &Source<'_>, readings: &Readings) -> String {
    let numbers = readings.values.iter().filter_map(|(name, reading)| match reading {
        Reading::Number(number) => Some((name, number_text(*number))),
        Reading::Text(_) => None,
    });
    let texts = readings.values.iter().filter_map(|(name, reading)| match reading {
        Reading::Number(_) => None,
        Reading::Text(text) => Some((name, quoted(text))),
    });
    let time = nanos(readings.measured_at.unwrap_or(source.received_at), source.position);
    let mut lines = String::new();
    line(&mut lines, source, "", numbers, time);
    line(&mut lines, source, TEXTS, texts, time);
    lines
}

fn line<'a>(
    out: &mut String,
    source: &Source<'_>,
    suffix: &str,
    fields: impl Iterator<Item = (&'a String, String)>,
    time: u64,
) {
    let fields = fields.filter_map(|(name, value)| Some(format!("{}={value}", key(name)?)));
    let fields: Vec<_> = fields.collect();
    if fields.is_empty() {
        return;
    }
    // Names of devices and products hold nothing that needs an escape.
    let Source { measurement, device, product, .. } = source;
    let fields = fields.join(",");
    let written =
        writeln!(out, "{measurement}{suffix},device={device},product={product} {fields} {time}");
    written.expect("a text takes what is written to it");
}

/// Writes the key of a field: commas, equal signs and spaces are escaped. There is no safe way to write a
/// backslash: before one of these it would escape it.
fn key(name: &str) -> Option<String> {
    if name.contains('\\') {
        return None;
    }
    let mut key = String::with_capacity(name.len() + 1);
    for c in name.chars() {
        if matches!(c, ',' | '=' | ' ') {
            key.push('\\');
        }
        key.push(c);
    }
    if name == RESERVED {
        key.push('_');
    }
    Some(key)
}

/// Writes a finite number: with a point or an exponent, as the shortest that is read as the same.
fn number_text(number: f64) -> String {
    format!("{number:?}")
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

fn nanos(at_ms: u64, position: u64) -> u64 {
    at_ms.saturating_mul(NANOS).saturating_add(position % NANOS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_795_167_000_000;

    fn written(payload: &str, position: u64) -> String {
        let (device, product) = ("d-1".parse().unwrap(), "th1".parse().unwrap());
        let source = Source {
            measurement: "telemetry",
            device: &device,
            product: &product,
            received_at: NOW_MS,
            position,
        };
        lines(&source, &Readings::parse(payload, NOW_MS).unwrap())
    }

    #[test]
    fn golden_lines() {
        insta::assert_snapshot!(
            written(r#"{"celsius":21.5,"n":3,"on":true,"state":"a \"b\" \\ c","tiny":1e-7}"#, 42),
            @r#"
        telemetry,device=d-1,product=th1 celsius=21.5,n=3.0,on=1.0,tiny=1e-7 1795167000000000042
        telemetry_text,device=d-1,product=th1 state="a \"b\" \\ c" 1795167000000000042
        "#);
        insta::assert_snapshot!(
            written(r#"{"a b":1,"c,d":2,"e=f":3,"g\\":4,"time":5,"measured_at":1795166000}"#, 1_000_007),
            @r"telemetry,device=d-1,product=th1 a\ b=1.0,c\,d=2.0,e\=f=3.0,time_=5.0 1795166000000000007");
    }

    #[test]
    fn a_message_without_readings_is_no_line() {
        for payload in ["{}", r#"{"attributes":{"a":"b"}}"#, r#"{"l":[1]}"#, r#"{"\\":1}"#] {
            assert_eq!(written(payload, 1), "", "{payload}");
        }
    }

    #[test]
    fn two_messages_of_one_moment_are_two_points_and_one_message_is_one() {
        assert_ne!(written(r#"{"a":1}"#, 1), written(r#"{"a":1}"#, 2));
        assert_eq!(written(r#"{"a":1}"#, 7), written(r#"{"a":1}"#, 7));
    }

    /// Reads a line as the reference says, with another method than it was written.
    fn fields(line: &str) -> Vec<(String, String)> {
        let mut fields = vec![(String::new(), String::new())];
        let (mut escaped, mut in_quotes, mut in_value) = (false, false, false);
        let rest = line.split_once(' ').unwrap().1;
        for c in rest.chars() {
            let (key, value) = fields.last_mut().unwrap();
            let into = if in_value { value } else { key };
            match c {
                _ if escaped => {
                    into.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' if in_value => in_quotes = !in_quotes,
                _ if in_quotes => into.push(c),
                ' ' => break,
                '=' if !in_value => in_value = true,
                ',' => {
                    in_value = false;
                    fields.push(Default::default());
                }
                _ => into.push(c),
            }
        }
        fields
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_whatever_devices_call_it(
            numbers in prop::collection::btree_map("[^\\\\\\p{Cc}]{1,20}", any::<i32>(), 1..8),
            texts in prop::collection::btree_map("t[^\\\\\\p{Cc}]{1,20}", ".{0,20}", 1..8),
        ) {
            let payload = serde_json::json!({ "n": numbers, "s": texts }).to_string();
            let written = written(&payload, 1);
            let text_at = written.find("\ntelemetry_text,").unwrap();
            let (numbers_line, texts_line) = written.split_at(text_at);
            let expected = numbers.iter().map(|(k, v)| (format!("n.{k}"), format!("{:?}", f64::from(*v))));
            prop_assert_eq!(fields(numbers_line), expected.collect::<Vec<_>>());
            let expected = texts.into_iter().map(|(k, v)| (format!("s.{k}"), v));
            prop_assert_eq!(fields(texts_line.trim_start_matches('\n')), expected.collect::<Vec<_>>());
        }
    }
}
