//! The tools of a request, and which of them has to be called.

use serde_json::{Map, Value, json};

use crate::dialect::convert::messages::{Tool, ToolChoice, ToolChoiceKind};
use crate::dialect::convert::tool_names::ToolNames;
use crate::dialect::convert::{Dropped, NotConverted};

pub(super) fn add(
    tools: Option<Vec<Tool>>,
    choice: Option<ToolChoice>,
    names: &mut ToolNames,
    made: &mut Map<String, Value>,
    dropped: &mut Dropped,
) -> Result<(), NotConverted> {
    let forced = choice.as_ref().and_then(|choice| choice.name.clone());
    let mut sent = Vec::new();
    let mut search = None;
    for tool in tools.unwrap_or_default() {
        if tool.is_custom() {
            sent.push(function(tool, names, dropped));
        } else if tool.is_web_search() {
            search = Some(tool.name.clone());
            sent.push(web_search(tool, dropped));
        } else if forced.as_ref() == Some(&tool.name) {
            let kind = tool.kind.unwrap_or_default();
            return Err(NotConverted::unsupported(
                "tool_choice",
                format!("`{kind}` is a tool that Anthropic alone has"),
            ));
        } else {
            dropped.add("tools.type");
        }
    }
    if sent.is_empty() {
        return Ok(());
    }
    made.insert("tools".to_owned(), Value::Array(sent));
    let Some(choice) = choice else { return Ok(()) };
    let value = match (choice.kind, choice.name) {
        (ToolChoiceKind::Any, _) => "required".into(),
        (ToolChoiceKind::None, _) => "none".into(),
        (ToolChoiceKind::Tool, Some(name)) if search.as_ref() == Some(&name) => {
            json!({ "type": "web_search" })
        }
        (ToolChoiceKind::Tool, Some(name)) => json!({ "type": "function", "name": names.sent(&name) }),
        (ToolChoiceKind::Auto | ToolChoiceKind::Tool, _) => "auto".into(),
    };
    made.insert("tool_choice".to_owned(), value);
    if let Some(disabled) = choice.disable_parallel_tool_use {
        made.insert("parallel_tool_calls".to_owned(), (!disabled).into());
    }
    Ok(())
}

fn function(tool: Tool, names: &mut ToolNames, dropped: &mut Dropped) -> Value {
    let schema = with_properties(tool.input_schema.unwrap_or_else(|| json!({ "type": "object" })));
    let strict = tool.strict == Some(true) && is_strict(&schema);
    dropped.add_if(tool.strict == Some(true) && !strict, "tools.strict");
    let mut function = Map::new();
    function.insert("type".to_owned(), "function".into());
    function.insert("name".to_owned(), names.sent(&tool.name).into());
    if let Some(description) = tool.description {
        function.insert("description".to_owned(), description.into());
    }
    function.insert("parameters".to_owned(), schema);
    // Where it is not said, the API takes it for true, and makes every parameter a required one.
    function.insert("strict".to_owned(), strict.into());
    Value::Object(function)
}

fn web_search(tool: Tool, dropped: &mut Dropped) -> Value {
    let mut search = Map::new();
    search.insert("type".to_owned(), "web_search".into());
    if let Some(domains) = tool.allowed_domains.filter(|domains| !domains.is_empty()) {
        search.insert("filters".to_owned(), json!({ "allowed_domains": domains }));
    }
    if let Some(location) = tool.user_location.filter(Value::is_object) {
        search.insert("user_location".to_owned(), location);
    }
    dropped.add_if(tool.blocked_domains.is_some_and(|domains| !domains.is_empty()), "tools.blocked_domains");
    Value::Object(search)
}

/// An object's schema without `properties` is refused.
fn with_properties(mut schema: Value) -> Value {
    if let Some(object) = schema.as_object_mut()
        && !object.contains_key("properties")
    {
        object.entry("type").or_insert_with(|| "object".into());
        object.insert("properties".to_owned(), Value::Object(Map::new()));
    }
    schema
}

/// Whether a schema keeps to what `strict` asks of it: every object is closed, and all that it names is required.
pub(super) fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => {
            let of_object = object.get("properties").and_then(Value::as_object).is_none_or(|properties| {
                let required = object.get("required").and_then(Value::as_array);
                let is_required = |name: &String| {
                    required.is_some_and(|required| required.iter().any(|one| one.as_str() == Some(name)))
                };
                object.get("additionalProperties") == Some(&Value::Bool(false))
                    && properties.keys().all(is_required)
            });
            of_object && object.values().all(is_strict)
        }
        Value::Array(elements) => elements.iter().all(is_strict),
        _ => true,
    }
}
