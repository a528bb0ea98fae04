//! What the arguments of an application's command may be: a small part of JSON Schema.
//!
//! The keywords below mean what draft 2020-12 says. Any other is refused when the schema is stored:
//! one that is passed over would let arguments through that it was meant to keep out. There are no
//! references and no patterns, so checking costs no more than reading, and nothing is ever fetched.
//! Numbers are at most 2^53 - 1 from zero, in schemas and in arguments, so that everybody reads the same
//! (RFC 7493, 2.2); what is listed by `enum` and `const` is neither list nor object.
//! Why not a crate: those that know all of JSON Schema bring regular expressions and resolvers, some
//! forty crates, for what applications do not need.
//!
//! ```text
//! type enum const title description
//! properties required additionalProperties(true, false)
//! items minItems maxItems   minimum maximum exclusiveMinimum exclusiveMaximum multipleOf(integers)
//! minLength maxLength
//! ```

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Longest schema in bytes: some dozens of arguments with their descriptions.
pub const SCHEMA_BYTES_MAX: usize = 8 * 1024;
/// Deepest nesting of schemas: arguments are 512 bytes.
pub const SCHEMA_DEPTH_MAX: usize = 8;

/// The only `$schema`: in others the same words may mean something else.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Largest number: above it, different whole numbers are the same one to those who read them as doubles.
const NUMBER_MAX: f64 = 9_007_199_254_740_991.0;

/// A schema that is good.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema(Value);

/// Something is not as it should be, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrong {
    /// The path to it, such as `valves[2].open`; empty for the whole.
    pub path: String,
    /// Why, as the end of a sentence.
    pub why: String,
}

impl Schema {
    /// Takes a schema, if all of it is understood and it describes an object.
    ///
    /// # Errors
    ///
    /// [`Wrong`] says where it is not.
    pub fn new(schema: Value) -> Result<Self, Wrong> {
        if schema.get("type") != Some(&Value::from("object")) {
            return Err(wrong("type", "arguments are an object: `\"type\": \"object\"`"));
        }
        understand(&schema, "", 1)?;
        exact(&schema, "")?;
        Ok(Self(schema))
    }

    /// Checks arguments.
    ///
    /// # Errors
    ///
    /// [`Wrong`], the first thing that the schema does not allow.
    pub fn check(&self, arguments: &Map<String, Value>) -> Result<(), Wrong> {
        let arguments = Value::Object(arguments.clone());
        exact(&arguments, "")?;
        check(&self.0, &arguments, "")
    }

    /// Returns the schema as it was stored.
    pub const fn as_json(&self) -> &Value {
        &self.0
    }
}

fn wrong(path: &str, why: impl Into<String>) -> Wrong {
    Wrong { path: path.to_owned(), why: why.into() }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Walks through a value; a number that not everybody reads alike is refused.
fn exact(value: &Value, path: &str) -> Result<(), Wrong> {
    match value {
        Value::Number(number) if number.as_f64().is_none_or(|it| it.abs() > NUMBER_MAX) => {
            Err(wrong(path, format!("numbers are at most {NUMBER_MAX} from zero; write a text")))
        }
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(n, item)| exact(item, &format!("{path}[{n}]")))
        }
        Value::Object(members) => {
            members.iter().try_for_each(|(name, member)| exact(member, &join(path, name)))
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];

/// Walks through a schema; a keyword that says something we do not check is refused.
fn understand(schema: &Value, path: &str, depth: usize) -> Result<(), Wrong> {
    let Some(keywords) = schema.as_object() else {
        return Err(wrong(path, "a schema is an object"));
    };
    if depth > SCHEMA_DEPTH_MAX {
        return Err(wrong(path, format!("schemas are nested {SCHEMA_DEPTH_MAX} deep at most")));
    }
    keywords.iter().try_for_each(|(keyword, value)| {
        understand_keyword(keyword, value, &join(path, keyword), depth)
    })
}

fn understand_keyword(keyword: &str, value: &Value, path: &str, depth: usize) -> Result<(), Wrong> {
    let expect = |holds: bool, what: &str| if holds { Ok(()) } else { Err(wrong(path, what)) };
    match keyword {
        "$schema" => expect(value == DIALECT, &format!("this is {DIALECT}")),
        "additionalProperties" => expect(value.is_boolean(), "this is true or false"),
        "const" => expect(is_plain(value), "this is neither a list nor an object"),
        "description" | "title" => expect(value.is_string(), "this is a text"),
        "enum" => {
            let all = value.as_array().filter(|all| !all.is_empty());
            let is_list = all.is_some_and(|all| all.iter().all(is_plain));
            expect(is_list, "this is a list of what is neither a list nor an object")
        }
        "exclusiveMaximum" | "exclusiveMinimum" | "maximum" | "minimum" => {
            expect(value.is_number(), "this is a number")
        }
        "items" => understand(value, path, depth + 1),
        "maxItems" | "maxLength" | "minItems" | "minLength" => {
            expect(value.is_u64(), "this is a whole number")
        }
        "multipleOf" => {
            expect(value.as_u64().is_some_and(|it| it > 0), "this is a whole number above 0")
        }
        "properties" => {
            let properties = value.as_object().ok_or_else(|| wrong(path, "this is an object"))?;
            let mut each = properties.iter();
            each.try_for_each(|(name, schema)| understand(schema, &join(path, name), depth + 1))
        }
        "required" => {
            let is_list = value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
            expect(is_list, "this is a list of texts")
        }
        "type" => {
            let known = value.as_str().is_some_and(|name| TYPES.contains(&name));
            expect(known, "this is one type")
        }
        _ => Err(wrong(
            path,
            "this keyword is not known here; docs/commands.md lists those that are",
        )),
    }
}

/// Values of which each can be written in one way only, but for numbers.
fn is_plain(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

fn check(schema: &Value, value: &Value, path: &str) -> Result<(), Wrong> {
    let keywords = schema.as_object().into_iter().flatten();
    for (keyword, wanted) in keywords {
        if let Some(why) = broken(keyword, wanted, value) {
            return Err(wrong(path, why));
        }
    }
    check_object(schema, value, path)?;
    let items = value.as_array().into_iter().flatten().enumerate();
    let Some(schema) = schema.get("items") else { return Ok(()) };
    items.into_iter().try_for_each(|(n, item)| check(schema, item, &format!("{path}[{n}]")))
}

fn check_object(schema: &Value, value: &Value, path: &str) -> Result<(), Wrong> {
    let Some(members) = value.as_object() else { return Ok(()) };
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if !members.contains_key(name) {
            return Err(wrong(&join(path, name), "it is missing"));
        }
    }
    let is_closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    for (name, member) in members {
        let path = join(path, name);
        match schema.get("properties").and_then(|properties| properties.get(name)) {
            Some(schema) => check(schema, member, &path)?,
            None if is_closed => return Err(wrong(&path, "there is no such argument")),
            None => {}
        }
    }
    Ok(())
}

/// Returns why a value breaks a keyword that needs no look at its parts.
fn broken(keyword: &str, wanted: &Value, value: &Value) -> Option<String> {
    let number = value.as_f64().zip(wanted.as_f64());
    let count = |count: usize| u64::try_from(count).ok().zip(wanted.as_u64());
    let length = value.as_str().and_then(|text| count(text.chars().count()));
    let items = value.as_array().and_then(|items| count(items.len()));
    let holds = match keyword {
        "const" => same(value, wanted),
        "enum" => wanted.as_array().is_some_and(|all| all.iter().any(|it| same(it, value))),
        "exclusiveMaximum" => number.is_none_or(|(it, bound)| it < bound),
        "exclusiveMinimum" => number.is_none_or(|(it, bound)| it > bound),
        "maxItems" => items.is_none_or(|(it, bound)| it <= bound),
        "maxLength" => length.is_none_or(|(it, bound)| it <= bound),
        "maximum" => number.is_none_or(|(it, bound)| it <= bound),
        "minItems" => items.is_none_or(|(it, bound)| it >= bound),
        "minLength" => length.is_none_or(|(it, bound)| it >= bound),
        "minimum" => number.is_none_or(|(it, bound)| it >= bound),
        "multipleOf" => number.is_none_or(|(it, bound)| it % bound == 0.0),
        "type" => wanted.as_str().is_some_and(|name| is_of(value, name)),
        _ => true,
    };
    if holds {
        return None;
    }
    let mut why = String::new();
    // Writing to a String cannot fail.
    let _ = write!(why, "`{keyword}` is {wanted}");
    Some(why)
}

/// Numbers are the same by their value, not by how they are written (draft 2020-12, 4.2.2).
fn same(one: &Value, other: &Value) -> bool {
    one == other || one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| one - other == 0.0)
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        // 1.0 is an integer (draft 2020-12, 4.2.3).
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        _ => value.is_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn valves() -> Value {
        json!({
            "type": "object", "title": "Valves", "additionalProperties": false,
            "required": ["valves"],
            "properties": {
                "valves": {
                    "type": "array", "minItems": 1, "maxItems": 3,
                    "items": {
                        "type": "object", "required": ["id"],
                        "properties": {
                            "id": { "type": "integer", "minimum": 1, "exclusiveMaximum": 9 },
                            "open": { "type": "boolean" },
                            "name": { "type": "string", "minLength": 1, "maxLength": 3 },
                        },
                    },
                },
                "mode": { "enum": ["slow", "fast", 1] },
                "step": { "multipleOf": 5, "type": "number", "maximum": 20, "exclusiveMinimum": 0 },
                "really": { "const": true },
            },
        })
    }

    fn check(arguments: &Value) -> Result<(), String> {
        let schema = Schema::new(valves()).unwrap();
        let checked = schema.check(arguments.as_object().unwrap());
        checked.map_err(|wrong| format!("{}: {}", wrong.path, wrong.why))
    }

    #[test]
    fn arguments_that_fit_are_taken() {
        for good in [
            json!({ "valves": [{ "id": 1 }] }),
            json!({ "valves": [{ "id": 8, "open": true, "name": "äöü", "more": [] }], "mode": 1.0 }),
            json!({ "valves": [{ "id": 2.0 }], "step": 15, "really": true }),
        ] {
            assert_eq!(check(&good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_path() {
        for (arguments, expected) in [
            (json!({}), "valves: it is missing"),
            (json!({ "valves": [] }), "valves: `minItems` is 1"),
            (json!({ "valves": {} }), "valves: `type` is \"array\""),
            (json!({ "valves": [{}] }), "valves[0].id: it is missing"),
            (json!({ "valves": [{ "id": 1 }, { "id": 0 }] }), "valves[1].id: `minimum` is 1"),
            (json!({ "valves": [{ "id": 9 }] }), "valves[0].id: `exclusiveMaximum` is 9"),
            (json!({ "valves": [{ "id": 1.5 }] }), "valves[0].id: `type` is \"integer\""),
            (json!({ "valves": [{ "id": "1" }] }), "valves[0].id: `type` is \"integer\""),
            (json!({ "valves": [{ "id": 1, "name": "" }] }), "valves[0].name: `minLength` is 1"),
            (
                json!({ "valves": [{ "id": 1, "name": "long" }] }),
                "valves[0].name: `maxLength` is 3",
            ),
            (
                json!({ "valves": [{ "id": 1, "open": 1 }] }),
                "valves[0].open: `type` is \"boolean\"",
            ),
            (
                json!({ "valves": [{ "id": 1, "more": 9_007_199_254_740_992_u64 }] }),
                "valves[0].more: numbers are at most 9007199254740991 from zero; write a text",
            ),
            (json!({ "valves": [1] }), "valves[0]: `type` is \"object\""),
            (json!({ "valves": [{ "id": 1 }], "x": 1 }), "x: there is no such argument"),
            (json!({ "valves": [{ "id": 1 }], "step": 7 }), "step: `multipleOf` is 5"),
            (json!({ "valves": [{ "id": 1 }], "step": 25 }), "step: `maximum` is 20"),
            (json!({ "valves": [{ "id": 1 }], "step": 0 }), "step: `exclusiveMinimum` is 0"),
            (json!({ "valves": [{ "id": 1 }], "really": false }), "really: `const` is true"),
            (
                json!({ "valves": [{ "id": 1 }], "mode": "x" }),
                "mode: `enum` is [\"slow\",\"fast\",1]",
            ),
        ] {
            assert_eq!(check(&arguments), Err(expected.to_owned()), "{arguments}");
        }
    }

    #[test]
    fn what_would_be_passed_over_is_refused() {
        for (schema, path) in [
            (json!({}), "type"),
            (json!({ "type": "array" }), "type"),
            (json!({ "type": ["object"] }), "type"),
            (json!({ "type": "object", "$ref": "https://example.com/x" }), "$ref"),
            (json!({ "type": "object", "$schema": "http://json-schema.org/schema#" }), "$schema"),
            (json!({ "type": "object", "const": {} }), "const"),
            (json!({ "type": "object", "patternProperties": {} }), "patternProperties"),
            (json!({ "type": "object", "additionalProperties": {} }), "additionalProperties"),
            (json!({ "type": "object", "required": "x" }), "required"),
            (json!({ "type": "object", "properties": [] }), "properties"),
            (json!({ "type": "object", "properties": { "a": true } }), "properties.a"),
            (
                json!({ "type": "object", "properties": { "a": { "pattern": ".*" } } }),
                "properties.a.pattern",
            ),
            (
                json!({ "type": "object", "properties": { "a": { "minLength": -1 } } }),
                "properties.a.minLength",
            ),
            (
                json!({ "type": "object", "properties": { "a": { "multipleOf": 0 } } }),
                "properties.a.multipleOf",
            ),
            (
                json!({ "type": "object", "properties": { "a": { "enum": [] } } }),
                "properties.a.enum",
            ),
            (
                json!({ "type": "object", "properties": { "a": { "enum": [1, [2]] } } }),
                "properties.a.enum",
            ),
            (
                json!({ "type": "object", "properties": { "a": { "maximum": 1e16 } } }),
                "properties.a.maximum",
            ),
        ] {
            assert_eq!(Schema::new(schema.clone()).unwrap_err().path, path, "{schema}");
        }
        let deep = (0..SCHEMA_DEPTH_MAX).fold(json!({}), |inner, _| json!({ "items": inner }));
        let deep = json!({ "type": "object", "properties": { "a": deep } });
        assert!(Schema::new(deep).unwrap_err().why.contains("nested"));
    }
}
