//! A request of `OpenAI`'s Chat Completions, as far as conversions act on it, with what other providers have added to it.
//! <https://platform.openai.com/docs/api-reference/chat/create>

use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use super::responses::FunctionTool;

#[derive(Debug, Deserialize)]
pub struct Request {
    #[serde(deserialize_with = "messages")]
    pub messages: Vec<Message>,
    pub tools: Option<Vec<Tool>>,
    pub tool_choice: Option<ToolChoice>,
    /// The older form of tools.
    pub functions: Option<Vec<FunctionTool>>,
    /// The older form of a tool's choice: `auto`, `none`, or an object with a name.
    pub function_call: Option<Value>,
    pub parallel_tool_calls: Option<bool>,
    pub max_tokens: Option<u64>,
    pub max_completion_tokens: Option<u64>,
    pub temperature: Option<Number>,
    pub top_p: Option<Number>,
    pub n: Option<u64>,
    pub stop: Option<Stop>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    pub response_format: Option<ResponseFormat>,
    pub reasoning_effort: Option<String>,
    pub verbosity: Option<IgnoredAny>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<u64>,
    pub modalities: Option<Vec<String>>,
    pub audio: Option<IgnoredAny>,
    pub frequency_penalty: Option<Number>,
    pub presence_penalty: Option<Number>,
    pub logit_bias: Option<IgnoredAny>,
    pub seed: Option<Number>,
    pub prediction: Option<IgnoredAny>,
    pub store: Option<bool>,
    pub service_tier: Option<String>,
    pub prompt_cache_key: Option<String>,
    pub prompt_cache_retention: Option<IgnoredAny>,
    pub prompt_cache_options: Option<IgnoredAny>,
    pub moderation: Option<IgnoredAny>,
    pub web_search_options: Option<WebSearchOptions>,
}

/// By hand, so that an error says what is wrong with which message.
fn messages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Message>, D::Error> {
    let messages = Vec::<Value>::deserialize(deserializer)?.into_iter().enumerate();
    let read = messages.map(|(at, message)| {
        Message::deserialize(message).map_err(|error| D::Error::custom(format!("message {at}: {error}")))
    });
    read.collect()
}

#[derive(Debug, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: Option<Content>,
    pub refusal: Option<String>,
    pub tool_calls: Option<Vec<ToolCall>>,
    /// Of a tool's message: the call that it answers.
    pub tool_call_id: Option<String>,
    /// The older form of a call.
    pub function_call: Option<FunctionCall>,
    /// The older form of a tool's message names the function.
    pub name: Option<String>,
    /// What the model has thought, as some providers tell it.
    pub reasoning_content: Option<Value>,
    /// The same by another name.
    pub reasoning: Option<Value>,
    /// The same, for its provider to read again.
    pub reasoning_details: Option<Vec<ReasoningDetail>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

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
            Self::Plain(text) => vec![Part::Text { text }],
            Self::Parts(parts) => parts,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    Text {
        text: String,
    },
    Refusal {
        refusal: String,
    },
    ImageUrl {
        image_url: ImageUrl,
    },
    File {
        file: File,
    },
    InputAudio,
    /// What the model has thought, as some providers have it.
    Thinking,
    #[serde(other)]
    Other,
}

#[derive(Debug)]
pub struct ImageUrl {
    pub url: String,
    pub detail: Option<String>,
}

impl<'de> Deserialize<'de> for ImageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            /// Not `OpenAI`'s, but common.
            Plain(String),
            Object {
                url: String,
                detail: Option<String>,
            },
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Plain(url) => Self { url, detail: None },
            Form::Object { url, detail } => Self { url, detail },
        })
    }
}

#[derive(Debug, Deserialize)]
pub struct File {
    /// `data:`.
    pub file_data: Option<String>,
    pub file_id: Option<String>,
    pub filename: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct ToolCall {
    #[serde(default)]
    pub id: String,
    pub function: Option<FunctionCall>,
    /// A call of a tool whose input is text.
    pub custom: Option<CustomCall>,
    /// What Google has added to it.
    pub extra_content: Option<ExtraContent>,
}

#[derive(Debug, Deserialize)]
pub struct ExtraContent {
    pub google: Option<GoogleContent>,
}

#[derive(Debug, Deserialize)]
pub struct GoogleContent {
    pub thought_signature: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct FunctionCall {
    pub name: String,
    #[serde(default)]
    pub arguments: String,
}

#[derive(Debug, Deserialize)]
pub struct CustomCall {
    pub name: String,
    #[serde(default)]
    pub input: String,
}

#[derive(Debug, Deserialize)]
pub struct ReasoningDetail {
    pub text: Option<String>,
    pub data: Option<String>,
    pub signature: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Tool {
    Function {
        function: FunctionTool,
    },
    /// Its input is text.
    Custom {
        custom: Custom,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
pub struct Custom {
    pub name: String,
    pub description: Option<String>,
    pub format: Option<CustomFormat>,
}

#[derive(Debug, Deserialize)]
pub struct CustomFormat {
    pub grammar: Option<Grammar>,
}

#[derive(Debug, Deserialize)]
pub struct Grammar {
    pub definition: String,
    /// `lark` or `regex`.
    pub syntax: String,
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
    pub function: Option<Named>,
    pub custom: Option<Named>,
    pub allowed_tools: Option<AllowedTools>,
}

impl NamedToolChoice {
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.function.as_ref().or(self.custom.as_ref()).map(|named| named.name.as_str())
    }
}

#[derive(Debug, Deserialize)]
pub struct Named {
    pub name: String,
}

#[derive(Debug, Deserialize)]
pub struct AllowedTools {
    /// `auto` or `required`.
    pub mode: String,
    pub tools: Vec<NamedToolChoice>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Stop {
    One(String),
    Many(Vec<String>),
}

impl Stop {
    #[must_use]
    pub fn sequences(self) -> Vec<String> {
        match self {
            Self::One(sequence) => vec![sequence],
            Self::Many(sequences) => sequences,
        }
    }
}

#[derive(Debug, Deserialize)]
pub struct StreamOptions {
    pub include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    pub json_schema: Option<JsonSchema>,
}

#[derive(Debug, Deserialize)]
pub struct JsonSchema {
    pub name: Option<String>,
    pub description: Option<String>,
    pub schema: Option<Value>,
    pub strict: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub struct WebSearchOptions {
    pub user_location: Option<UserLocation>,
}

#[derive(Debug, Deserialize)]
pub struct UserLocation {
    pub approximate: Option<Value>,
}
