//! The tools of a Responses request as functions, which is all that other APIs have, and their calls, there and back.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::responses::{Content, CustomTool, Item, NamedToolChoice, Part, Tool};
use super::tool_names::bounded;

/// A tool that is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: String,
    pub description: Option<String>,
    /// A JSON schema; none where the caller gave none.
    pub parameters: Option<Value>,
    pub strict: Option<bool>,
}

/// What a caller's tool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Function,
    /// Its input is text.
    Custom,
    LocalShell,
    Shell,
    ApplyPatch,
    ToolSearch,
}

/// A tool by the caller's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub kind: Kind,
    pub name: String,
    pub namespace: Option<String>,
}

/// A search that the target's provider runs itself.
#[derive(Clone, Debug)]
pub struct WebSearch {
    pub allowed_domains: Option<Vec<String>>,
    pub blocked_domains: Option<Vec<String>>,
    pub user_location: Option<Value>,
}

/// The tools of one request.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    pub functions: Vec<Function>,
    pub web_search: Option<WebSearch>,
    /// Those that the caller's provider alone runs, by their types.
    pub hosted: Vec<String>,
    /// By the name at the target.
    own: HashMap<String, Own>,
}

/// A call in the history.
#[derive(Debug)]
pub struct Call {
    pub id: String,
    /// At the target.
    pub name: String,
    pub arguments: Map<String, Value>,
}

/// What a call has come to.
#[derive(Debug)]
pub struct Output {
    pub call_id: String,
    pub parts: Vec<Part>,
    pub is_error: bool,
}

/// An item of the history as other APIs have it.
#[derive(Debug)]
pub enum Turn {
    Call(Call),
    Output(Output),
    Item(Item),
}

impl Tools {
    /// The request's tools, and those that come into play in its history: they are taken out of it.
    #[must_use]
    pub fn new(tools: Option<Vec<Tool>>, history: &mut [Item]) -> Self {
        let mut made = Self::default();
        for tool in tools.into_iter().flatten() {
            made.add(tool, None);
        }
        for item in history {
            match item {
                Item::AdditionalTools { tools } => {
                    for tool in std::mem::take(tools) {
                        made.add(tool, None);
                    }
                }
                Item::ToolSearchOutput { call_id: Some(call_id), tools } => {
                    let names: Vec<String> =
                        std::mem::take(tools).into_iter().flat_map(|tool| made.add(tool, None)).collect();
                    let text = if names.is_empty() {
                        "No tools were found.".to_owned()
                    } else {
                        format!("These tools can be called from now on: {}", names.join(", "))
                    };
                    *item = Item::FunctionCallOutput {
                        call_id: std::mem::take(call_id),
                        output: Content::Plain(text),
                    };
                }
                _ => {}
            }
        }
        made
    }

    /// Adds a tool; its names at the target come back.
    fn add(&mut self, tool: Tool, namespace: Option<&str>) -> Vec<String> {
        let own = |kind, name: String| Own { kind, name, namespace: namespace.map(str::to_owned) };
        let reserved = |kind, name: &str| Own { kind, name: name.to_owned(), namespace: None };
        let name = match tool {
            Tool::Function(tool) => {
                let own = own(Kind::Function, tool.name);
                self.add_function(own, tool.description, tool.parameters, tool.strict)
            }
            Tool::Custom(CustomTool { name, description, format }) => {
                let grammar = format.as_ref().and_then(|format| {
                    Some((format.syntax.as_deref().unwrap_or(&format.kind), format.definition.as_deref()?))
                });
                let description = custom_description(description, grammar);
                self.add_function(own(Kind::Custom, name), Some(description), Some(custom_parameters()), None)
            }
            Tool::Namespace { name, description, tools } => {
                let mut names = Vec::new();
                let before = self.functions.len();
                for tool in tools {
                    names.extend(self.add(tool, Some(&name)));
                }
                // Once is enough.
                let description = description.filter(|description| !description.is_empty());
                if let (Some(description), Some(first)) = (description, self.functions.get_mut(before)) {
                    let of_tool = first.description.take().unwrap_or_default();
                    first.description = Some(format!("{of_tool}\n\nOf all tools of `{name}`: {description}"));
                }
                return names;
            }
            Tool::LocalShell => {
                let description = "Runs a command on the user's machine, and returns what it prints.";
                let own = reserved(Kind::LocalShell, "local_shell");
                self.add_function(own, Some(description.to_owned()), Some(local_shell_parameters()), None)
            }
            Tool::Shell { is_local: true } => {
                let description = "Runs shell commands on the user's machine, and returns what they print.";
                let own = reserved(Kind::Shell, "shell");
                self.add_function(own, Some(description.to_owned()), Some(shell_parameters()), None)
            }
            Tool::ApplyPatch => {
                let description = "Creates, updates or deletes a file of the user's by a diff.";
                let own = reserved(Kind::ApplyPatch, "apply_patch");
                self.add_function(own, Some(description.to_owned()), Some(apply_patch_parameters()), None)
            }
            Tool::ToolSearch { description, parameters, is_client: true } => {
                let own = reserved(Kind::ToolSearch, "tool_search");
                self.add_function(own, description, parameters, None)
            }
            // Whatever could be found is there already.
            Tool::ToolSearch { is_client: false, .. } => return Vec::new(),
            Tool::WebSearch { allowed_domains, blocked_domains, user_location } => {
                let search = WebSearch { allowed_domains, blocked_domains, user_location };
                self.web_search.get_or_insert(search);
                return Vec::new();
            }
            Tool::Shell { is_local: false } => {
                self.hosted.push("shell".to_owned());
                return Vec::new();
            }
            Tool::Hosted(kind) => {
                self.hosted.push(kind);
                return Vec::new();
            }
        };
        vec![name]
    }

    fn add_function(
        &mut self,
        own: Own,
        description: Option<String>,
        parameters: Option<Value>,
        strict: Option<bool>,
    ) -> String {
        let name = self.sent_name(&own);
        if self.own.insert(name.clone(), own).is_none() {
            self.functions.push(Function { name: name.clone(), description, parameters, strict });
        }
        name
    }

    /// The name at the target. It depends on the tool alone, but for two that would have the same.
    #[must_use]
    pub fn sent_name(&self, own: &Own) -> String {
        let name = match &own.namespace {
            Some(namespace) if namespace.ends_with("__") => format!("{namespace}{}", own.name),
            Some(namespace) if !namespace.is_empty() => format!("{namespace}__{}", own.name),
            _ => own.name.clone(),
        };
        let sent = bounded(&name);
        if self.own.get(&sent).is_some_and(|other| other != own) {
            return bounded(&format!(
                "{name}.{:?}.{}",
                own.kind,
                own.namespace.as_deref().unwrap_or_default()
            ));
        }
        sent
    }

    /// What the target's name stands for; it is a function if nobody has told of it.
    #[must_use]
    pub fn own(&self, sent: &str) -> Own {
        let unknown = || Own { kind: Kind::Function, name: sent.to_owned(), namespace: None };
        self.own.get(sent).cloned().unwrap_or_else(unknown)
    }

    /// The name at the target of a tool that is to be called.
    #[must_use]
    pub fn chosen(&self, choice: &NamedToolChoice) -> Option<String> {
        let kind = match choice.kind.as_str() {
            "function" => Kind::Function,
            "custom" => Kind::Custom,
            "local_shell" => Kind::LocalShell,
            "shell" => Kind::Shell,
            "apply_patch" => Kind::ApplyPatch,
            "tool_search" => Kind::ToolSearch,
            _ => return None,
        };
        let name = choice.name.as_deref().unwrap_or(&choice.kind).to_owned();
        let sent = self.sent_name(&Own { kind, name, namespace: choice.namespace.clone() });
        self.own.contains_key(&sent).then_some(sent)
    }

    /// Reads an item of the history.
    #[must_use]
    pub fn turn(&self, item: Item) -> Turn {
        let call = |id: String, kind, name: &str, namespace, arguments| {
            let name = self.sent_name(&Own { kind, name: name.to_owned(), namespace });
            Turn::Call(Call { id, name, arguments })
        };
        let output = |call_id, parts, is_error| Turn::Output(Output { call_id, parts, is_error });
        match item {
            Item::FunctionCall { call_id, name, namespace, arguments } => {
                call(call_id, Kind::Function, &name, namespace, read_arguments(&arguments))
            }
            Item::CustomToolCall { call_id, name, namespace, input } => {
                let arguments = Map::from_iter([("input".to_owned(), Value::String(input))]);
                call(call_id, Kind::Custom, &name, namespace, arguments)
            }
            Item::LocalShellCall { call_id, id, action } => {
                let mut arguments = object(action);
                arguments.shift_remove("type");
                let id = call_id.or(id).unwrap_or_default();
                call(id, Kind::LocalShell, "local_shell", None, arguments)
            }
            Item::ShellCall { call_id, action } => call(call_id, Kind::Shell, "shell", None, object(action)),
            Item::ApplyPatchCall { call_id, operation } => {
                call(call_id, Kind::ApplyPatch, "apply_patch", None, object(operation))
            }
            Item::ToolSearchCall { call_id: Some(call_id), arguments } => {
                call(call_id, Kind::ToolSearch, "tool_search", None, object(arguments))
            }
            Item::FunctionCallOutput { call_id, output: content }
            | Item::CustomToolCallOutput { call_id, output: content } => {
                output(call_id, content.parts(), false)
            }
            Item::LocalShellCallOutput { id, call_id, output: content } => {
                output(call_id.or(id).unwrap_or_default(), content.parts(), false)
            }
            Item::ShellCallOutput { call_id, output: content } => {
                let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
                output(call_id, vec![Part::InputText { text }], false)
            }
            Item::ApplyPatchCallOutput { call_id, status, output: text } => {
                let is_error = status.as_deref() == Some("failed");
                let text = text.unwrap_or_else(|| status.unwrap_or_default());
                output(call_id, vec![Part::InputText { text }], is_error)
            }
            item => Turn::Item(item),
        }
    }

    /// The item of a call that the target has made; none of one that a caller could not make sense of, as its arguments
    /// are not whole.
    #[must_use]
    pub fn item(&self, sent: &str, id: &str, call_id: &str, arguments: &str, status: &str) -> Option<Value> {
        let Own { kind, name, namespace } = self.own(sent);
        let read: Option<Map<String, Value>> = serde_json::from_str(arguments).ok();
        let mut item = match kind {
            Kind::Function => json!({
                "type": "function_call", "id": id, "call_id": call_id, "name": name, "arguments": arguments,
                "status": if read.is_some() { status } else { "incomplete" },
            }),
            Kind::Custom => {
                let input = match read?.shift_remove("input")? {
                    Value::String(input) => input,
                    input => input.to_string(),
                };
                json!({
                    "type": "custom_tool_call", "id": id, "call_id": call_id, "name": name, "input": input,
                    "status": status,
                })
            }
            Kind::LocalShell => {
                let mut action = Map::from_iter([("type".to_owned(), "exec".into())]);
                action.extend(read?);
                if let Some(Value::String(line)) = action.get("command") {
                    let command = json!(["bash", "-lc", line]);
                    action.insert("command".to_owned(), command);
                }
                action.entry("env").or_insert_with(|| json!({}));
                json!({
                    "type": "local_shell_call", "id": id, "call_id": call_id, "action": action, "status": status,
                })
            }
            Kind::Shell => {
                let mut action = read?;
                if let Some(Value::String(line)) = action.get("commands") {
                    let commands = json!([line]);
                    action.insert("commands".to_owned(), commands);
                }
                json!({
                    "type": "shell_call", "id": id, "call_id": call_id, "action": action, "status": status,
                })
            }
            Kind::ApplyPatch => json!({
                "type": "apply_patch_call", "id": id, "call_id": call_id, "operation": read?, "status": status,
            }),
            Kind::ToolSearch => json!({
                "type": "tool_search_call", "id": id, "call_id": call_id, "execution": "client",
                "arguments": read?, "status": status,
            }),
        };
        if let (Some(namespace), Some(fields)) = (namespace, item.as_object_mut()) {
            fields.insert("namespace".to_owned(), namespace.into());
        }
        Some(item)
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The arguments of a call in the history, which the caller may not have been able to read, either.
#[must_use]
pub fn read_arguments(arguments: &str) -> Map<String, Value> {
    if arguments.trim().is_empty() {
        return Map::new();
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::from_iter([("arguments".to_owned(), Value::String(arguments.to_owned()))]),
    }
}

/// The description of a tool whose input is text; of a grammar: its syntax, and its definition.
#[must_use]
pub fn custom_description(description: Option<String>, grammar: Option<(&str, &str)>) -> String {
    let mut description = description.unwrap_or_default();
    if let Some((syntax, definition)) = grammar {
        if !description.is_empty() {
            description.push_str("\n\n");
        }
        for words in ["`input` is text that follows this grammar (", syntax, "):\n", definition] {
            description.push_str(words);
        }
    }
    description
}

/// The parameters of a tool whose input is text.
#[must_use]
pub fn custom_parameters() -> Value {
    json!({
        "type": "object",
        "properties": { "input": { "type": "string", "description": "All of the tool's input, as plain text." } },
        "required": ["input"],
        "additionalProperties": false,
    })
}

fn local_shell_parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "command": { "type": "array", "items": { "type": "string" }, "description": "The program, and its arguments." },
            "working_directory": { "type": "string" },
            "env": { "type": "object", "additionalProperties": { "type": "string" } },
            "timeout_ms": { "type": "integer" },
        },
        "required": ["command"],
    })
}

fn shell_parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "commands": { "type": "array", "items": { "type": "string" }, "description": "Each is a line for the shell; they may run at the same time." },
            "timeout_ms": { "type": "integer", "description": "How long each may take." },
            "max_output_length": { "type": "integer", "description": "The most characters of output that are returned." },
        },
        "required": ["commands"],
    })
}

fn apply_patch_parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": { "type": "string", "enum": ["create_file", "update_file", "delete_file"] },
            "path": { "type": "string" },
            "diff": { "type": "string", "description": "In the V4A format; of a new file, every line begins with `+`. None to delete a file." },
        },
        "required": ["type", "path"],
    })
}
