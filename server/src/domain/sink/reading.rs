//! What telemetry says, as names with values: what databases and sums can use of it.
//!
//! Objects in objects are joined by full stops: `{"battery":{"volts":3.1}}` is `battery.volts`. What is no
//! reading is left out: lists, nothing, what the device says of itself, names that are long or hold control
//! characters. Not here: how it is written.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Most readings of one message.
pub const READINGS_MAX: usize = 64;

/// Longest name of a reading in bytes, full stops included.
pub const NAME_BYTES_MAX: usize = 128;

/// How deep objects may lie in objects.
const DEPTH_MAX: usize = 4;

/// What a device says of itself, which is no reading.
const ATTRIBUTES: &str = "attributes";

/// Where telemetry may say when it was measured, in Unix seconds (D24).
const MEASURED_AT: &str = "measured_at";

/// How long before it came a reading may have been measured, in milliseconds: a month, what a device may
/// keep without contact. A database has a file for each week, and a device could else make it have thousands.
const MEASURED_BEFORE_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// How far ahead of ours the clock of a device may be, in milliseconds: as far as a message is fresh.
const MEASURED_AHEAD_MS_MAX: u64 = 300_000;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A finite number; true is 1 and false is 0.
    Number(f64),
    /// A text.
    Text(String),
}

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// When it was measured, in Unix milliseconds, if it says so and that may be.
    pub measured_at: Option<u64>,
    /// The readings by name, in the order of names.
    pub values: Vec<(String, Reading)>,
}

/// The payload cannot be read: a number in it is too large for any computer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the payload holds a number that is too large")]
pub struct Unreadable;

impl Readings {
    /// Reads a payload that came at a time.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where a number has no value.
    pub fn parse(payload: &str, received_at: u64) -> Result<Self, Unreadable> {
        let object: Map<String, Value> = serde_json::from_str(payload).map_err(|_| Unreadable)?;
        let mut values = BTreeMap::new();
        collect(&object, "", DEPTH_MAX, &mut values);
        let values = values.into_iter().take(READINGS_MAX).collect();
        Ok(Self { measured_at: measured_at(&object, received_at), values })
    }
}

fn measured_at(object: &Map<String, Value>, received_at: u64) -> Option<u64> {
    let at = object.get(MEASURED_AT)?.as_u64()?.checked_mul(1000)?;
    let earliest = received_at.saturating_sub(MEASURED_BEFORE_MS_MAX);
    (earliest..=received_at.saturating_add(MEASURED_AHEAD_MS_MAX)).contains(&at).then_some(at)
}

fn collect(
    object: &Map<String, Value>,
    prefix: &str,
    depth: usize,
    values: &mut BTreeMap<String, Reading>,
) {
    let is_top = prefix.is_empty();
    for (key, value) in object {
        let name = format!("{prefix}{key}");
        if !is_name(key, &name) || is_top && matches!(key.as_str(), ATTRIBUTES | MEASURED_AT) {
            continue;
        }
        match value {
            Value::Bool(flag) => {
                values.insert(name, Reading::Number(f64::from(u8::from(*flag))));
            }
            Value::Number(number) => {
                let finite = number.as_f64().filter(|number| number.is_finite());
                values.extend(finite.map(|number| (name, Reading::Number(number))));
            }
            Value::Object(inner) if depth > 1 => {
                collect(inner, &format!("{name}."), depth - 1, values);
            }
            Value::Array(_) | Value::Null | Value::Object(_) => {}
            Value::String(text) => {
                values.insert(name, Reading::Text(text.clone()));
            }
        }
    }
}

fn is_name(key: &str, whole: &str) -> bool {
    !key.is_empty() && whole.len() <= NAME_BYTES_MAX && !key.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_795_167_000_000;

    #[track_caller]
    fn check(payload: &str, expected: &str) {
        let readings = Readings::parse(payload, NOW_MS).unwrap();
        let shown = readings.values.iter().map(|(name, reading)| match reading {
            Reading::Number(number) => format!("{name}={number}"),
            Reading::Text(text) => format!("{name}:{text}"),
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expected, "{payload}");
    }

    #[test]
    fn numbers_flags_and_texts_are_readings_and_the_rest_is_not() {
        check(r#"{"t":21.50,"on":true,"off":false,"s":"ok"}"#, "off=0 on=1 s:ok t=21.5");
        check(r#"{"b":{"v":3,"c":{"x":1}},"l":[1],"n":null}"#, "b.c.x=1 b.v=3");
        check(
            r#"{"attributes":{"site":"x"},"measured_at":5,"a":{"attributes":1}}"#,
            "a.attributes=1",
        );
        check(r#"{"":1,"a\nb":2,"c":3}"#, "c=3");
        check(r#"{"a":{"b":{"c":{"d":1,"e":{"f":2}}}}}"#, "a.b.c.d=1");
    }

    #[test]
    fn a_message_says_when_it_was_measured_unless_that_cannot_be() {
        let at = |text: &str| {
            Readings::parse(&format!(r#"{{"measured_at":{text}}}"#), NOW_MS).unwrap().measured_at
        };
        assert_eq!(at("1795166000"), Some(1_795_166_000_000));
        assert_eq!(at("1795167300"), Some(1_795_167_300_000));
        for wrong in
            ["1795167301", "1792574999", "0", "-1", "1.5", "\"now\"", "18446744073709551615"]
        {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_number_without_value_is_no_reading() {
        assert_eq!(Readings::parse(r#"{"a":1e999}"#, NOW_MS), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn whatever_devices_say_readings_are_few_short_and_finite(payload in "\\{.{0,200}\\}") {
            let Ok(readings) = Readings::parse(&payload, NOW_MS) else { return Ok(()) };
            prop_assert!(readings.values.len() <= READINGS_MAX);
            for (name, reading) in readings.values {
                prop_assert!(name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control));
                prop_assert!(!matches!(reading, Reading::Number(number) if !number.is_finite()));
            }
        }
    }
}
