//! Tool calls: which one an answer makes, and with what arguments.
//!
//! A caller gets one where it is asked for (`mock-tool`, by name) or where the request forces it, as every provider
//! lets a request do. A conversation that ends with a tool's result is answered with text, so that an agent that asks
//! for a tool at each turn comes to an end.

use std::sync::Arc;

use memchr::memmem;
use serde_json::{Map, Value, json};

/// The call that an answer makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToolCall {
    pub name: Arc<str>,
    /// Its arguments, a JSON object as text.
    pub arguments: Arc<str>,
}

impl ToolCall {
    /// The name as a JSON string.
    pub fn name_json(&self) -> String {
        Value::from(&*self.name).to_string()
    }

    /// The arguments as OpenAI writes them: JSON text in a JSON string.
    pub fn arguments_json(&self) -> String {
        Value::from(&*self.arguments).to_string()
    }

    /// The arguments in two pieces, as a stream brings them, each a JSON string.
    pub fn argument_pieces(&self) -> Vec<String> {
        let text = &*self.arguments;
        let middle =
            (text.len() / 2..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        let (one, two) = text.split_at(middle);
        [one, two]
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .map(|piece| Value::from(piece).to_string())
            .collect()
    }
}

/// Whether a request may force a tool: cheap, for the requests that do not.
const FORCES: [&[u8]; 2] = [b"\"tool_choice\"", b"\"functionCallingConfig\""];

/// The call that a request gets: of the tool `asked` for, or of the one that the request forces.
pub fn call(asked: Option<&str>, body: &[u8]) -> Option<ToolCall> {
    if asked.is_none() && FORCES.iter().all(|name| memmem::find(body, name).is_none()) {
        return None;
    }
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    if ends_with_a_result(&request) {
        return None;
    }
    let tools = tools(&request);
    let name = match asked {
        Some(name) => name.to_owned(),
        None => forced(&request)?.or_else(|| tools.first().map(|(name, _)| (*name).to_owned()))?,
    };
    let schema = tools.iter().find(|(known, _)| *known == name).map(|(_, schema)| *schema);
    let arguments = schema.map_or_else(|| json!({}), example);
    Some(ToolCall { name: name.into(), arguments: arguments.to_string().into() })
}

/// Whether a tool is forced; within, its name, if it is one particular.
#[allow(clippy::option_option, reason = "forced or not, and then by name or not")]
fn forced(request: &Value) -> Option<Option<String>> {
    let name = |value: &Value| value.as_str().map(str::to_owned);
    let gemini = &request["toolConfig"]["functionCallingConfig"];
    if gemini["mode"].as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("any")) {
        return Some(name(&gemini["allowedFunctionNames"][0]));
    }
    let choice = &request["tool_choice"];
    match choice.as_str().or(choice["type"].as_str())? {
        "any" | "required" => Some(None),
        "tool" | "custom" => Some(name(&choice["name"])),
        "function" => Some(name(&choice["function"]["name"]).or_else(|| name(&choice["name"]))),
        _ => None,
    }
}

/// The tools of a request, in whatever dialect: name and schema of the arguments.
fn tools(request: &Value) -> Vec<(&str, &Value)> {
    let entries = request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut tools = Vec::new();
    for entry in entries {
        let declared = entry["functionDeclarations"].as_array();
        for tool in declared.map_or_else(|| std::slice::from_ref(entry), Vec::as_slice) {
            let tool = if tool["function"].is_object() { &tool["function"] } else { tool };
            let schemas = ["input_schema", "parameters", "parametersJsonSchema"];
            let schema = schemas.into_iter().map(|key| &tool[key]).find(|schema| schema.is_object());
            if let Some(name) = tool["name"].as_str() {
                tools.push((name, schema.unwrap_or(&Value::Null)));
            }
        }
    }
    tools
}

/// Whether the last message of a conversation is a tool's result.
fn ends_with_a_result(request: &Value) -> bool {
    let lists = ["messages", "input", "contents"];
    let last = lists.into_iter().find_map(|key| request[key].as_array()?.last());
    let Some(last) = last else { return false };
    let parts = last["content"].as_array().or(last["parts"].as_array());
    last["role"] == "tool"
        || last["type"].as_str().is_some_and(|kind| kind.ends_with("_call_output"))
        || parts.is_some_and(|parts| {
            parts.iter().any(|part| part["type"] == "tool_result" || part["functionResponse"].is_object())
        })
}

/// How deep example arguments go: a schema that names itself has no end.
const DEPTH_MAX: usize = 8;

/// A value that a schema allows: required members, the first of what may be chosen.
fn example(schema: &Value) -> Value {
    value_of(schema, DEPTH_MAX)
}

fn value_of(schema: &Value, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    if !schema["const"].is_null() {
        return schema["const"].clone();
    }
    if let Some(first) = ["anyOf", "oneOf"].into_iter().find_map(|key| schema[key].as_array()?.first()) {
        return value_of(first, depth - 1);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("object");
    match kind.to_ascii_lowercase().as_str() {
        "string" => json!("mock"),
        "integer" => schema["minimum"].as_i64().map_or(json!(1), |least| json!(least)),
        "number" => schema["minimum"].as_f64().map_or(json!(1.5), |least| json!(least)),
        "boolean" => json!(true),
        "null" => Value::Null,
        "array" => match schema["minItems"].as_u64() {
            Some(1..) => json!([value_of(&schema["items"], depth - 1)]),
            _ => json!([]),
        },
        _ => {
            let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
            let members = required.iter().filter_map(Value::as_str);
            let members =
                members.map(|name| (name.to_owned(), value_of(&schema["properties"][name], depth - 1)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(request: &Value) -> Option<(String, String)> {
        call(None, request.to_string().as_bytes())
            .map(|call| (call.name.to_string(), call.arguments.to_string()))
    }

    #[test]
    fn a_forced_tool_is_called_in_every_dialect_with_what_its_schema_requires() {
        let schema = json!({ "type": "object", "required": ["city", "days"], "properties": {
            "city": { "type": "string" }, "days": { "type": "integer", "minimum": 3 }, "unit": { "enum": ["c"] } } });
        let expected = Some(("weather".to_owned(), r#"{"city":"mock","days":3}"#.to_owned()));
        for request in [
            json!({ "tool_choice": { "type": "any" }, "tools": [{ "name": "weather", "input_schema": schema }] }),
            json!({ "tool_choice": { "type": "tool", "name": "weather" },
                    "tools": [{ "name": "other" }, { "name": "weather", "input_schema": schema }] }),
            json!({ "tool_choice": "required",
                    "tools": [{ "type": "function", "function": { "name": "weather", "parameters": schema } }] }),
            json!({ "tool_choice": { "type": "function", "function": { "name": "weather" } },
                    "tools": [{ "type": "function", "function": { "name": "weather", "parameters": schema } }] }),
            json!({ "tool_choice": { "type": "function", "name": "weather" },
                    "tools": [{ "type": "function", "name": "weather", "parameters": schema }] }),
            json!({ "toolConfig": { "functionCallingConfig": { "mode": "ANY" } },
                    "tools": [{ "functionDeclarations": [{ "name": "weather", "parameters": schema }] }] }),
        ] {
            assert_eq!(called(&request), expected, "{request}");
        }
    }

    #[test]
    fn nothing_is_called_unasked_or_when_the_result_is_there() {
        let tools = json!([{ "name": "weather", "input_schema": {} }]);
        for request in [
            json!({ "tools": tools }),
            json!({ "tools": tools, "tool_choice": "auto" }),
            json!({ "tools": tools, "tool_choice": { "type": "none" } }),
            json!({ "tools": tools, "tool_choice": { "type": "any" },
                    "messages": [{ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "x" }] }] }),
            json!({ "tools": tools, "tool_choice": "required", "messages": [{ "role": "tool", "content": "7" }] }),
            json!({ "tools": tools, "tool_choice": "required", "input": [{ "type": "function_call_output" }] }),
        ] {
            assert_eq!(called(&request), None, "{request}");
        }
    }
}
