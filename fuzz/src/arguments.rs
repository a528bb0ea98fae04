//! A schema of a product, in the first line, and the arguments that an operator sends, in the second.

use serde_json::{Map, Value};

use crate::domain::schema::Schema;

/// Whole numbers up to here are read alike by everybody.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;

/// A schema that is accepted is the same when written again, and takes what the clauses below say, which
/// know nothing of its code; what it refuses is named by a path of few words.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Some((schema, arguments)) = text.split_once('\n') else { return };
    let Ok(schema) = serde_json::from_str::<Value>(schema) else { return };
    let Ok(schema) = Schema::new(schema) else { return };
    let printed = schema.as_json().to_string();
    let again = serde_json::from_str(&printed).expect("what was printed is JSON");
    assert_eq!(Schema::new(again).as_ref(), Ok(&schema), "another schema when written again");
    let Ok(arguments) = serde_json::from_str::<Map<String, Value>>(arguments) else { return };
    let checked = schema.check(&arguments);
    let arguments = Value::Object(arguments);
    let expected = is_exact(&arguments) && obeys(schema.as_json(), &arguments);
    assert_eq!(checked.is_ok(), expected, "{checked:?}: {printed} {arguments}");
}

fn is_exact(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(is_exact),
        Value::Number(number) => number.as_f64().is_some_and(|it| it.abs() <= EXACT_MAX),
        Value::Object(members) => members.values().all(is_exact),
        Value::Bool(_) | Value::Null | Value::String(_) => true,
    }
}

/// Draft 2020-12, clause by clause, of a schema in which each keyword is as it should be.
fn obeys(schema: &Value, value: &Value) -> bool {
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    let count = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
    let is = |listed: &Value| equal(listed, value);
    let plain = schema.get("type").is_none_or(|kind| is_a(kind, value))
        && schema.get("const").is_none_or(is)
        && schema.get("enum").and_then(Value::as_array).is_none_or(|all| all.iter().any(is));
    let parts = match value {
        Value::Array(items) => {
            let length = items.len() as u64;
            let each = schema.get("items");
            count("minItems").is_none_or(|least| least <= length)
                && count("maxItems").is_none_or(|most| length <= most)
                && each.is_none_or(|schema| items.iter().all(|item| obeys(schema, item)))
        }
        Value::Number(number) => number.as_f64().is_some_and(|it| {
            bound("minimum").is_none_or(|least| least <= it)
                && bound("maximum").is_none_or(|most| it <= most)
                && bound("exclusiveMinimum").is_none_or(|below| below < it)
                && bound("exclusiveMaximum").is_none_or(|above| it < above)
                && bound("multipleOf").is_none_or(|unit| it % unit == 0.0)
        }),
        Value::Object(members) => obeys_as_object(schema, members),
        Value::String(text) => {
            let length = text.chars().count() as u64;
            count("minLength").is_none_or(|least| least <= length)
                && count("maxLength").is_none_or(|most| length <= most)
        }
        Value::Bool(_) | Value::Null => true,
    };
    plain && parts
}

fn obeys_as_object(schema: &Value, members: &Map<String, Value>) -> bool {
    let known = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties").and_then(Value::as_bool).unwrap_or(true);
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    required.filter_map(Value::as_str).all(|name| members.contains_key(name))
        && members.iter().all(|(name, member)| match known.and_then(|known| known.get(name)) {
            Some(schema) => obeys(schema, member),
            None => others,
        })
}

fn equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq() || one - other == 0.0,
        _ => one == other,
    }
}

fn is_a(kind: &Value, value: &Value) -> bool {
    let name = match value {
        Value::Array(_) => "array",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
        Value::Number(_) => "number",
        Value::Object(_) => "object",
        Value::String(_) => "string",
    };
    let is_whole = value.as_f64().is_some_and(|it| it.fract() == 0.0);
    kind == name || kind == "integer" && is_whole
}

/// Schemas with arguments that fit and that do not.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let valves = r#"{"type":"object","title":"v","required":["valves"],"additionalProperties":false,
        "properties":{"valves":{"type":"array","minItems":1,"maxItems":3,"items":{"type":"object",
        "properties":{"id":{"type":"integer","minimum":1,"exclusiveMaximum":9}}}},
        "mode":{"enum":["slow",1]},"on":{"const":true},"name":{"minLength":1,"maxLength":3},
        "step":{"multipleOf":5,"type":"number","maximum":20,"exclusiveMinimum":0}}}"#;
    let valves = valves.replace('\n', "");
    let line = |arguments: &str| format!("{valves}\n{arguments}").into_bytes();
    vec![
        ("fits", line(r#"{"valves":[{"id":1}],"mode":1.0,"on":true,"name":"äöü","step":10}"#)),
        ("one_more", line(r#"{"valves":[{"id":8}],"x":1}"#)),
        ("too_large", line(r#"{"valves":[{"id":9}]}"#)),
        ("too_many", line(r#"{"valves":[{},{},{},{}]}"#)),
    ]
}
