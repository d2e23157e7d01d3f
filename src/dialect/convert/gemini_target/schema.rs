//! JSON schemas as Gemini takes them in `parametersJsonSchema` and `responseJsonSchema`: some keywords of all, and one
//! that it does not know is the end of the whole request.
//!
//! What other words say the same is changed: `const` to `enum`, `oneOf` to `anyOf`, exclusive bounds to inclusive ones,
//! `allOf` to the schema that it amounts to, `nullable` to a type, `$ref` to what it stands for. What annotates for
//! programs is removed (`$schema`, `$id`, `$comment`, `$defs`, `examples`, `deprecated` and the like). What else there is
//! (`pattern`, `default`, `minLength`, `not`, `if`, …) is told the model in the description.

use serde_json::{Map, Value, json};

/// How deep a schema is read, its references' schemas included.
const DEPTH_MAX: usize = 32;
/// How many schemas there are in one at most, its references' schemas included.
const NODES_MAX: usize = 4_000;
/// How often a schema may be within itself.
const CYCLES_MAX: usize = 1;
/// Keywords that mean nothing to a model.
const SILENT: [&str; 14] = [
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "$defs",
    "$vocabulary",
    "$dynamicAnchor",
    "definitions",
    "deprecated",
    "examples",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
];
const FORMATS: [&str; 7] = ["date-time", "date", "time", "int32", "int64", "float", "double"];

/// The schema of a function's parameters; none where it has none.
#[must_use]
pub fn parameters(schema: &Value) -> Option<Value> {
    let mut schema = cleaned(schema);
    let fields = schema.as_object_mut()?;
    let is_object = fields.get("type").is_some_and(|kind| kind == "object");
    let has_more = ["anyOf", "properties"].iter().any(|more| fields.contains_key(*more))
        || fields.get("additionalProperties").is_some_and(Value::is_object);
    // An object of which nothing is known is refused.
    if !has_more {
        return None;
    }
    if !is_object {
        let rest = std::mem::take(fields);
        fields.insert("type".to_owned(), "object".into());
        fields.extend(rest.into_iter().filter(|(name, _)| name != "type"));
    }
    Some(schema)
}

/// Any schema.
#[must_use]
pub fn cleaned(schema: &Value) -> Value {
    let mut cleaner = Cleaner { root: schema, within: Vec::new(), nodes: 0 };
    Value::Object(cleaner.clean(schema, 0))
}

struct Cleaner<'s> {
    root: &'s Value,
    /// The references that are being followed.
    within: Vec<&'s str>,
    nodes: usize,
}

impl<'s> Cleaner<'s> {
    fn clean(&mut self, schema: &'s Value, depth: usize) -> Map<String, Value> {
        self.nodes += 1;
        let Value::Object(fields) = schema else { return Map::new() };
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Map::new();
        }
        let mut made = Map::new();
        let mut told = Map::new();
        if let Some(kind) = fields.get("type") {
            made.insert("type".to_owned(), kind.clone());
        }
        // What stands beside a reference holds before what that says.
        let (others, own): (Vec<_>, Vec<_>) =
            fields.iter().partition(|(name, _)| matches!(name.as_str(), "$ref" | "allOf"));
        for (name, value) in own.into_iter().chain(others) {
            self.add(name, value, depth, &mut made, &mut told);
        }
        if fields.get("nullable") == Some(&Value::Bool(true)) {
            make_nullable(&mut made);
        }
        tidy(&mut made);
        if !told.is_empty() {
            tell(&mut made, &told);
        }
        made
    }

    fn add(
        &mut self,
        name: &str,
        value: &'s Value,
        depth: usize,
        made: &mut Map<String, Value>,
        told: &mut Map<String, Value>,
    ) {
        let kept = match (name, value) {
            ("$ref", Value::String(reference)) => {
                let target = self.follow(reference, depth);
                return merge(made, target);
            }
            ("allOf", Value::Array(all)) => {
                for one in all {
                    let one = self.clean(one, depth + 1);
                    merge(made, one);
                }
                return;
            }
            ("enum", Value::Array(values)) => return choose(values, made),
            ("const", value) => return choose(std::slice::from_ref(value), made),
            ("type" | "title" | "description" | "required", value)
            | ("minimum" | "maximum" | "minItems" | "maxItems", value @ Value::Number(_))
            | ("additionalProperties", value @ Value::Bool(_)) => (name, value.clone()),
            ("exclusiveMinimum", Value::Number(_)) => ("minimum", value.clone()),
            ("exclusiveMaximum", Value::Number(_)) => ("maximum", value.clone()),
            // The words of an older draft, in which they change `minimum`.
            ("exclusiveMinimum" | "exclusiveMaximum" | "nullable", Value::Bool(_)) => return,
            ("format", Value::String(format)) if FORMATS.contains(&format.as_str()) => (name, value.clone()),
            ("anyOf" | "oneOf", Value::Array(all)) => ("anyOf", self.each(all, depth)),
            ("prefixItems", Value::Array(all)) => (name, self.each(all, depth)),
            ("items", Value::Array(all)) => ("prefixItems", self.each(all, depth)),
            ("items" | "additionalProperties", value) => (name, self.clean(value, depth + 1).into()),
            ("properties", Value::Object(all)) => {
                let all = all.iter().map(|(name, one)| (name.clone(), self.clean(one, depth + 1).into()));
                let all: Map<String, Value> = all.collect();
                return merge(made, Map::from_iter([("properties".to_owned(), all.into())]));
            }
            (name, _) if SILENT.contains(&name) || name.starts_with("x-") => return,
            (name, value) => {
                told.insert(name.to_owned(), value.clone());
                return;
            }
        };
        merge(made, Map::from_iter([(kept.0.to_owned(), kept.1)]));
    }

    fn each(&mut self, all: &'s [Value], depth: usize) -> Value {
        all.iter().map(|one| Value::Object(self.clean(one, depth + 1))).collect()
    }

    /// The schema that a reference stands for; of one that is within itself the outline, of none anything.
    fn follow(&mut self, reference: &'s str, depth: usize) -> Map<String, Value> {
        let seen = self.within.iter().filter(|within| **within == reference).count();
        let pointer = reference.strip_prefix('#');
        let Some(target) = pointer.and_then(|pointer| self.root.pointer(pointer)) else { return Map::new() };
        if seen > CYCLES_MAX {
            let kept = ["type", "description"].into_iter().filter_map(|name| Some((name, target.get(name)?)));
            return kept.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        }
        self.within.push(reference);
        let made = self.clean(target, depth + 1);
        self.within.pop();
        made
    }
}

/// Adds what another schema wants, too. Of what both say differently the first holds.
fn merge(made: &mut Map<String, Value>, other: Map<String, Value>) {
    for (name, value) in other {
        match (name.as_str(), made.get_mut(&name), value) {
            ("properties", Some(Value::Object(known)), Value::Object(more)) => {
                for (name, value) in more {
                    known.entry(name).or_insert(value);
                }
            }
            ("required", Some(Value::Array(known)), Value::Array(more)) => {
                for value in more {
                    if !known.contains(&value) {
                        known.push(value);
                    }
                }
            }
            (_, Some(_), _) => {}
            (_, None, value) => _ = made.insert(name, value),
        }
    }
}

/// Texts and numbers can be enumerated; `null` is a type.
fn choose(values: &[Value], made: &mut Map<String, Value>) {
    let can_be_chosen = |value: &&Value| value.is_string() || value.is_number();
    let chosen: Vec<Value> = values.iter().filter(can_be_chosen).cloned().collect();
    let kinds = values.iter().filter_map(|value| match value {
        Value::String(_) => Some("string"),
        Value::Number(number) if number.is_f64() => Some("number"),
        Value::Number(_) => Some("integer"),
        Value::Bool(_) => Some("boolean"),
        Value::Null => Some("null"),
        Value::Array(_) | Value::Object(_) => None,
    });
    let mut names: Vec<&str> = Vec::new();
    for kind in kinds {
        if !names.contains(&kind) {
            names.push(kind);
        }
    }
    let others = values.len() - chosen.len();
    let nulls = values.iter().filter(|value| value.is_null()).count();
    let mut other = Map::new();
    match names.as_slice() {
        [] => {}
        [name] => _ = other.insert("type".to_owned(), (*name).into()),
        names => _ = other.insert("type".to_owned(), names.into()),
    }
    // Where something cannot be enumerated, all of that kind is possible.
    if !chosen.is_empty() && others == nulls {
        other.insert("enum".to_owned(), chosen.into());
    }
    merge(made, other);
}

fn make_nullable(made: &mut Map<String, Value>) {
    if let Some(Value::String(kind)) = made.get("type") {
        let kinds = json!([kind, "null"]);
        made.insert("type".to_owned(), kinds);
    }
}

/// What is required has to be there.
fn tidy(made: &mut Map<String, Value>) {
    let names = made
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().map(Value::String).collect::<Vec<_>>());
    if let Some(Value::Array(required)) = made.get_mut("required") {
        let names = names.unwrap_or_default();
        required.retain(|name| names.contains(name));
        if required.is_empty() {
            made.shift_remove("required");
        }
    }
    if made.get("properties").and_then(Value::as_object).is_some_and(Map::is_empty) {
        made.shift_remove("properties");
    }
}

fn tell(made: &mut Map<String, Value>, told: &Map<String, Value>) {
    let words = Value::Object(told.clone()).to_string();
    let description = match made.get("description").and_then(Value::as_str) {
        Some(description) if !description.is_empty() => format!("{description} ({words})"),
        _ => words,
    };
    made.insert("description".to_owned(), description.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gemini_does_not_know_is_said_in_its_words_or_told() {
        for (schema, expected) in [
            (
                json!({ "$schema": "x", "type": "string", "const": "a" }),
                json!({ "type": "string", "enum": ["a"] }),
            ),
            (json!({ "const": true }), json!({ "type": "boolean" })),
            (
                json!({ "type": ["string", "null"], "enum": ["a", null] }),
                json!({ "type": ["string", "null"], "enum": ["a"] }),
            ),
            (json!({ "enum": [1, null] }), json!({ "type": ["integer", "null"], "enum": [1] })),
            (
                json!({ "type": "integer", "exclusiveMinimum": 0, "maximum": 9, "default": 1 }),
                json!({ "type": "integer", "minimum": 0, "maximum": 9, "description": "{\"default\":1}" }),
            ),
            (
                json!({ "type": "string", "description": "A day.", "pattern": "^[a-z]+$", "minLength": 1 }),
                json!({ "type": "string", "description": "A day. ({\"pattern\":\"^[a-z]+$\",\"minLength\":1})" }),
            ),
            (
                json!({ "type": "string", "format": "uri", "nullable": true }),
                json!({ "type": ["string", "null"], "description": "{\"format\":\"uri\"}" }),
            ),
            (
                json!({ "oneOf": [{ "type": "string", "format": "date" }, { "type": "array", "items": [true, { "const": 2 }] }] }),
                json!({ "anyOf": [
                    { "type": "string", "format": "date" },
                    { "type": "array", "prefixItems": [{}, { "type": "integer", "enum": [2] }] },
                ] }),
            ),
            (
                json!({ "allOf": [
                    { "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a", "gone"] },
                    { "properties": { "b": { "type": "null" } }, "required": ["b"] },
                ] }),
                json!({
                    "type": "object",
                    "properties": { "a": { "type": "string" }, "b": { "type": "null" } },
                    "required": ["a", "b"],
                }),
            ),
        ] {
            assert_eq!(cleaned(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn references_are_what_they_stand_for_as_deep_as_is_sensible() {
        let schema = json!({
            "type": "object",
            "properties": {
                "tree": { "$ref": "#/$defs/node", "description": "Of all." },
                "lost": { "$ref": "https://example.com/schema" },
            },
            "$defs": {
                "node": {
                    "type": "object",
                    "description": "A node.",
                    "properties": { "name": { "$ref": "#/$defs/a~1b" }, "next": { "$ref": "#/$defs/node" } },
                },
                "a/b": { "type": "string" },
            },
        });
        let inner = json!({
            "type": "object",
            "description": "A node.",
            "properties": { "name": { "type": "string" }, "next": { "type": "object", "description": "A node." } },
        });
        let mut tree = inner.clone();
        tree["properties"]["next"] = inner;
        let made = cleaned(&schema);
        assert_eq!(made["properties"]["tree"]["properties"], tree["properties"]);
        assert_eq!(made["properties"]["lost"], json!({}));
        assert!(!made.to_string().contains('$'), "{made}");

        // Each refers to the next twice: as a tree it would have more schemas than there are bytes.
        let mut definitions = Map::new();
        for at in 0..60 {
            let next = json!({ "$ref": format!("#/$defs/d{}", at + 1) });
            definitions.insert(format!("d{at}"), json!({ "properties": { "a": next, "b": next } }));
        }
        let bomb = json!({ "$ref": "#/$defs/d0", "$defs": definitions });
        assert!(cleaned(&bomb).to_string().len() < 200_000);
    }

    #[test]
    fn a_function_has_an_object_for_parameters_or_none() {
        for nothing in [
            json!({}),
            json!({ "type": "object" }),
            json!({ "type": "object", "properties": {} }),
            json!(null),
        ] {
            assert_eq!(parameters(&nothing), None, "{nothing}");
        }
        let made = parameters(&json!({ "properties": { "a": {} } }));
        assert_eq!(made, Some(json!({ "type": "object", "properties": { "a": {} } })));
    }
}
