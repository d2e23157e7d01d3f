//! JSON schemas as Anthropic takes them: of a tool's input, and of an answer.

use serde_json::{Map, Value, json};

/// A tool's input: an object, and none of several at the top. What is lost by that is said in the description.
#[must_use]
pub fn input_schema(schema: Option<Value>, description: &mut Option<String>) -> Value {
    let mut fields = match schema {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(lost) = fields.shift_remove(choice) {
            let description = description.get_or_insert_default();
            if !description.is_empty() {
                description.push_str("\n\n");
            }
            let lost = json!({ choice: lost }).to_string();
            for words in ["The input also has to satisfy ", &lost, "."] {
                description.push_str(words);
            }
        }
    }
    if fields.get("type").is_none_or(|kind| kind != "object") {
        let rest = std::mem::take(&mut fields);
        fields.insert("type".to_owned(), "object".into());
        fields.extend(rest.into_iter().filter(|(name, _)| name != "type"));
    }
    fields.entry("properties").or_insert_with(|| json!({}));
    Value::Object(fields)
}

/// `output_config.format` for an answer by a schema. What its grammars cannot hold the answer to is said in descriptions.
#[must_use]
pub fn output_format(schema: Value) -> Value {
    json!({ "type": "json_schema", "schema": cleaned(schema, 0) })
}

/// Deeper than any schema that is meant.
const DEPTH_MAX: usize = 64;

fn cleaned(schema: Value, depth: usize) -> Value {
    let Value::Object(fields) = schema else { return schema };
    if depth > DEPTH_MAX {
        return json!({});
    }
    let one = |value: Value| cleaned(value, depth + 1);
    let each = |value: Value| match value {
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, one(value))).collect(),
        value => value,
    };
    let all = |value: Value| match value {
        Value::Array(values) => values.into_iter().map(one).collect(),
        value => value,
    };
    let is_object =
        fields.get("type").is_some_and(|kind| kind == "object") || fields.contains_key("properties");
    let mut made = Map::new();
    let mut lost = Map::new();
    for (name, value) in fields {
        let (name, value) = match name.as_str() {
            "type" | "enum" | "const" | "description" | "title" | "required" | "$ref" | "default" => {
                (name, value)
            }
            "properties" | "$defs" | "definitions" => (name, each(value)),
            "anyOf" | "allOf" => (name, all(value)),
            // Of them one is enough for a grammar.
            "oneOf" => ("anyOf".to_owned(), all(value)),
            "items" => (name, one(value)),
            "format" if value.as_str().is_some_and(|format| FORMATS.contains(&format)) => (name, value),
            "minItems" if value == 0 || value == 1 => (name, value),
            "additionalProperties" | "$schema" => continue,
            _ => {
                lost.insert(name, value);
                continue;
            }
        };
        made.insert(name, value);
    }
    if is_object {
        made.insert("additionalProperties".to_owned(), false.into());
    }
    if !lost.is_empty() {
        let lost = Value::Object(lost).to_string();
        let description = match made.get("description").and_then(Value::as_str) {
            Some(description) => format!("{description}\n\n{lost}"),
            None => lost,
        };
        made.insert("description".to_owned(), description.into());
    }
    Value::Object(made)
}

/// Forms of strings that are kept to.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];
