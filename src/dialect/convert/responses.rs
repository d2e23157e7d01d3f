//! A request of `OpenAI`'s Responses, as far as conversions act on it.
//! <https://platform.openai.com/docs/api-reference/responses/create>

use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

#[derive(Debug, Deserialize)]
pub struct Request {
    pub instructions: Option<Input>,
    #[serde(default)]
    pub input: Input,
    pub tools: Option<Vec<Tool>>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    pub reasoning: Option<Reasoning>,
    pub max_output_tokens: Option<u64>,
    pub max_tool_calls: Option<IgnoredAny>,
    pub text: Option<TextConfig>,
    pub temperature: Option<Number>,
    pub top_p: Option<Number>,
    pub top_logprobs: Option<u64>,
    pub stream: Option<bool>,
    pub store: Option<bool>,
    pub include: Option<Vec<String>>,
    pub previous_response_id: Option<IgnoredAny>,
    pub conversation: Option<IgnoredAny>,
    pub background: Option<bool>,
    /// A template that the provider keeps.
    pub prompt: Option<IgnoredAny>,
    pub prompt_cache_key: Option<String>,
    pub prompt_cache_retention: Option<IgnoredAny>,
    pub prompt_cache_options: Option<IgnoredAny>,
    pub service_tier: Option<String>,
    pub truncation: Option<String>,
    pub context_management: Option<IgnoredAny>,
    pub moderation: Option<IgnoredAny>,
}

/// Words alone, or items.
#[derive(Debug)]
pub enum Input {
    Plain(String),
    Items(Vec<Item>),
}

impl Default for Input {
    fn default() -> Self {
        Self::Items(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By hand, so that an error says what is wrong with which item.
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Plain(text)),
            Value::Null => Ok(Self::default()),
            Value::Array(items) => {
                let read = items.into_iter().enumerate().map(|(at, item)| {
                    Item::of_value(item).map_err(|error| D::Error::custom(format!("item {at}: {error}")))
                });
                read.collect::<Result<_, _>>().map(Self::Items)
            }
            _ => Err(D::Error::custom("neither a string nor a list of items")),
        }
    }
}

impl Input {
    #[must_use]
    pub fn items(self) -> Vec<Item> {
        match self {
            Self::Plain(text) => vec![Item::Message { role: Role::User, content: Content::Plain(text) }],
            Self::Items(items) => items,
        }
    }
}

/// One thing of a conversation.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    Message {
        role: Role,
        content: Content,
    },
    Reasoning {
        #[serde(default)]
        summary: Vec<Part>,
        /// What it has thought word for word; open models have it.
        content: Option<Vec<Part>>,
        encrypted_content: Option<String>,
    },
    FunctionCall {
        call_id: String,
        name: String,
        namespace: Option<String>,
        #[serde(default)]
        arguments: String,
    },
    FunctionCallOutput {
        call_id: String,
        output: Content,
    },
    CustomToolCall {
        call_id: String,
        name: String,
        namespace: Option<String>,
        #[serde(default)]
        input: String,
    },
    CustomToolCallOutput {
        call_id: String,
        output: Content,
    },
    LocalShellCall {
        call_id: Option<String>,
        id: Option<String>,
        action: Value,
    },
    LocalShellCallOutput {
        /// Of the call, in spite of its name, where there is no `call_id`.
        id: Option<String>,
        call_id: Option<String>,
        output: Content,
    },
    ShellCall {
        call_id: String,
        action: Value,
    },
    ShellCallOutput {
        call_id: String,
        output: Value,
    },
    ApplyPatchCall {
        call_id: String,
        operation: Value,
    },
    ApplyPatchCallOutput {
        call_id: String,
        status: Option<String>,
        output: Option<String>,
    },
    ToolSearchCall {
        call_id: Option<String>,
        #[serde(default)]
        arguments: Value,
    },
    ToolSearchOutput {
        call_id: Option<String>,
        #[serde(default)]
        tools: Vec<Tool>,
    },
    /// Tools that come into play from here on.
    AdditionalTools {
        #[serde(default)]
        tools: Vec<Tool>,
    },
    /// Settings from here on.
    ConfigurationUpdate {
        reasoning: Option<Reasoning>,
        text: Option<TextConfig>,
    },
    /// Any other, by its type.
    #[serde(skip)]
    Other(String),
}

impl Item {
    fn of_value(mut value: Value) -> Result<Self, serde_json::Error> {
        const KNOWN: [&str; 16] = [
            "message",
            "reasoning",
            "function_call",
            "function_call_output",
            "custom_tool_call",
            "custom_tool_call_output",
            "local_shell_call",
            "local_shell_call_output",
            "shell_call",
            "shell_call_output",
            "apply_patch_call",
            "apply_patch_call_output",
            "tool_search_call",
            "tool_search_output",
            "additional_tools",
            "configuration_update",
        ];
        let Some(fields) = value.as_object_mut() else {
            return Err(Error::custom("it is no object"));
        };
        match fields.get("type").and_then(Value::as_str) {
            // Both may come without a type.
            None => {
                let kind = if fields.contains_key("role") { "message" } else { "item_reference" };
                fields.insert("type".to_owned(), kind.into());
                Self::of_value(value)
            }
            Some(kind) if !KNOWN.contains(&kind) => Ok(Self::Other(kind.to_owned())),
            Some(_) => Self::deserialize(value),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Assistant,
    System,
    Developer,
}

/// Words alone, or parts: of a message, or what a tool has answered.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Content {
    Plain(String),
    Parts(Vec<Part>),
}

impl Content {
    #[must_use]
    pub fn parts(self) -> Vec<Part> {
        match self {
            Self::Plain(text) => vec![Part::InputText { text }],
            Self::Parts(parts) => parts,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Whoever's.
    #[serde(alias = "output_text", alias = "text", alias = "summary_text", alias = "reasoning_text")]
    InputText {
        text: String,
    },
    Refusal {
        refusal: String,
    },
    InputImage {
        /// `data:` or a URL.
        image_url: Option<String>,
        file_id: Option<String>,
        detail: Option<String>,
    },
    InputFile {
        file_data: Option<String>,
        file_url: Option<String>,
        file_id: Option<String>,
        filename: Option<String>,
    },
    InputAudio,
    #[serde(other)]
    Other,
}

#[derive(Debug)]
pub enum Tool {
    Function(FunctionTool),
    /// Its input is text.
    Custom(CustomTool),
    Namespace {
        name: String,
        description: Option<String>,
        tools: Vec<Tool>,
    },
    LocalShell,
    /// Whether the caller runs its commands, and not a container at the provider.
    Shell {
        is_local: bool,
    },
    ApplyPatch,
    ToolSearch {
        description: Option<String>,
        parameters: Option<Value>,
        /// Whether the caller searches.
        is_client: bool,
    },
    WebSearch {
        allowed_domains: Option<Vec<String>>,
        blocked_domains: Option<Vec<String>>,
        user_location: Option<Value>,
    },
    /// Any other that the provider runs itself, by its type.
    Hosted(String),
}

#[derive(Debug, Deserialize)]
pub struct FunctionTool {
    pub name: String,
    pub description: Option<String>,
    pub parameters: Option<Value>,
    pub strict: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub struct CustomTool {
    pub name: String,
    pub description: Option<String>,
    pub format: Option<CustomFormat>,
}

/// What the input of a custom tool looks like.
#[derive(Debug, Deserialize)]
pub struct CustomFormat {
    /// `text` or `grammar`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `lark` or `regex`.
    pub syntax: Option<String>,
    pub definition: Option<String>,
}

/// The fields of every tool that is neither a function nor a custom one.
#[derive(Debug, Deserialize)]
struct AnyTool {
    name: Option<String>,
    description: Option<String>,
    #[serde(default)]
    tools: Vec<Tool>,
    parameters: Option<Value>,
    execution: Option<String>,
    environment: Option<Environment>,
    external_web_access: Option<bool>,
    filters: Option<Filters>,
    user_location: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Environment {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Filters {
    allowed_domains: Option<Vec<String>>,
    blocked_domains: Option<Vec<String>>,
}

impl<'de> Deserialize<'de> for Tool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let read = || match kind.as_str() {
            "function" => FunctionTool::deserialize(value).map(Self::Function),
            "custom" => CustomTool::deserialize(value).map(Self::Custom),
            _ => AnyTool::deserialize(value).map(|tool| tool.of_kind(kind)),
        };
        read().map_err(|error| D::Error::custom(format!("tools: {error}")))
    }
}

impl AnyTool {
    fn of_kind(self, kind: String) -> Tool {
        match kind.as_str() {
            "namespace" => Tool::Namespace {
                name: self.name.unwrap_or_default(),
                description: self.description,
                tools: self.tools,
            },
            "local_shell" => Tool::LocalShell,
            "shell" => Tool::Shell {
                is_local: self.environment.is_none_or(|environment| environment.kind == "local"),
            },
            "apply_patch" => Tool::ApplyPatch,
            "tool_search" => Tool::ToolSearch {
                description: self.description,
                parameters: self.parameters,
                is_client: self.execution.as_deref() == Some("client"),
            },
            // Where the web itself is not to be reached, what is left is `OpenAI`'s own index.
            kind if kind.starts_with("web_search") && self.external_web_access != Some(false) => {
                let (allowed_domains, blocked_domains) = self
                    .filters
                    .map_or((None, None), |filters| (filters.allowed_domains, filters.blocked_domains));
                Tool::WebSearch { allowed_domains, blocked_domains, user_location: self.user_location }
            }
            _ => Tool::Hosted(kind),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum ToolChoice {
    /// `auto`, `none` or `required`.
    Mode(String),
    Named(NamedToolChoice),
}

#[derive(Debug, Deserialize)]
pub struct NamedToolChoice {
    /// `function`, `custom`, `allowed_tools`, or the type of another tool.
    #[serde(rename = "type")]
    pub kind: String,
    pub name: Option<String>,
    pub namespace: Option<String>,
    /// Of `allowed_tools`: `auto` or `required`.
    pub mode: Option<String>,
    /// Of `allowed_tools`.
    #[serde(default)]
    pub tools: Vec<NamedToolChoice>,
}

#[derive(Debug, Deserialize)]
pub struct Reasoning {
    pub effort: Option<String>,
    /// `auto`, `concise` or `detailed`.
    pub summary: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct TextConfig {
    pub format: Option<TextFormat>,
    pub verbosity: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct TextFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    pub name: Option<String>,
    pub description: Option<String>,
    pub schema: Option<Value>,
    pub strict: Option<bool>,
}
