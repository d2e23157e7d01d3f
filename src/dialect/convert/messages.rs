//! A request of Anthropic's Messages, as far as conversions act on it.
//! <https://docs.anthropic.com/en/api/messages>

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Number, Value};

#[derive(Debug, Deserialize)]
pub struct Request {
    pub system: Option<Text>,
    pub messages: Vec<Message>,
    pub tools: Option<Vec<Tool>>,
    pub tool_choice: Option<ToolChoice>,
    pub thinking: Option<Thinking>,
    pub output_config: Option<OutputConfig>,
    pub max_tokens: Option<u64>,
    pub stop_sequences: Option<Vec<String>>,
    pub temperature: Option<Number>,
    pub top_p: Option<Number>,
    pub top_k: Option<Number>,
    pub stream: Option<bool>,
    pub service_tier: Option<String>,
    pub context_management: Option<ContextManagement>,
    pub mcp_servers: Option<Vec<IgnoredAny>>,
    pub container: Option<IgnoredAny>,
    pub fallbacks: Option<IgnoredAny>,
    pub speed: Option<IgnoredAny>,
    pub inference_geo: Option<IgnoredAny>,
}

/// Text alone, or in blocks.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Text {
    Plain(String),
    Blocks(Vec<TextBlock>),
}

#[derive(Debug, Deserialize)]
pub struct TextBlock {
    pub text: String,
    pub cache_control: Option<IgnoredAny>,
}

impl Text {
    /// The blocks; what Claude Code says of itself to its provider is none of them.
    #[must_use]
    pub fn blocks(self) -> Vec<TextBlock> {
        let blocks = match self {
            Self::Plain(text) => vec![TextBlock { text, cache_control: None }],
            Self::Blocks(blocks) => blocks,
        };
        let is_said = |block: &TextBlock| !block.text.is_empty() && !block.text.starts_with(ATTRIBUTION);
        blocks.into_iter().filter(is_said).collect()
    }
}

/// The start of the block that names the client's version to Anthropic, which takes it away itself. It changes between
/// calls, and would be the end of every prompt cache.
const ATTRIBUTION: &str = "x-anthropic-billing-header:";

#[derive(Debug, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Assistant,
    /// In the middle of a conversation.
    System,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Content {
    Plain(String),
    Blocks(Vec<Block>),
}

impl Content {
    #[must_use]
    pub fn blocks(self) -> Vec<Block> {
        match self {
            Self::Plain(text) => vec![Block::Text { text, cache_control: None }],
            Self::Blocks(blocks) => blocks,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    Text {
        text: String,
        cache_control: Option<IgnoredAny>,
    },
    Image {
        source: Source,
        cache_control: Option<IgnoredAny>,
    },
    Document {
        source: Source,
        title: Option<String>,
        context: Option<String>,
        cache_control: Option<IgnoredAny>,
    },
    SearchResult {
        source: String,
        title: String,
        content: Vec<TextBlock>,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    ToolResult {
        tool_use_id: String,
        content: Option<Content>,
        is_error: Option<bool>,
        cache_control: Option<IgnoredAny>,
    },
    Thinking {
        thinking: String,
        signature: Option<String>,
    },
    RedactedThinking {
        data: String,
    },
    /// A tool that Anthropic ran itself.
    ServerToolUse {
        name: String,
        input: Value,
    },
    WebSearchToolResult {
        content: Value,
    },
    /// One that means nothing elsewhere.
    #[serde(other)]
    Other,
}

/// Where an image or a document is.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    Base64 { media_type: String, data: String },
    Url { url: String },
    Text { data: String },
    Content { content: Content },
    File { file_id: String },
}

#[derive(Debug, Deserialize)]
pub struct Tool {
    /// None, or `custom`, for the caller's own tools; else a version of one of Anthropic's.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub name: String,
    pub description: Option<String>,
    pub input_schema: Option<Value>,
    pub strict: Option<bool>,
    pub cache_control: Option<IgnoredAny>,
    pub defer_loading: Option<bool>,
    /// Of `web_search`.
    pub allowed_domains: Option<Vec<String>>,
    pub blocked_domains: Option<Vec<String>>,
    pub user_location: Option<Value>,
}

impl Tool {
    /// Whether the caller runs it.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == "custom")
    }

    #[must_use]
    pub fn is_web_search(&self) -> bool {
        self.kind.as_deref().is_some_and(|kind| kind.starts_with("web_search_"))
    }
}

#[derive(Debug, Deserialize)]
pub struct ToolChoice {
    #[serde(rename = "type")]
    pub kind: ToolChoiceKind,
    pub name: Option<String>,
    pub disable_parallel_tool_use: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoiceKind {
    Auto,
    Any,
    Tool,
    None,
}

#[derive(Debug, Deserialize)]
pub struct Thinking {
    #[serde(rename = "type")]
    pub kind: ThinkingKind,
    pub budget_tokens: Option<u64>,
    /// `summarized` or `omitted`.
    pub display: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingKind {
    Enabled,
    Adaptive,
    BetweenTools,
    Disabled,
}

#[derive(Debug, Deserialize)]
pub struct OutputConfig {
    pub effort: Option<String>,
    pub format: Option<OutputFormat>,
    pub task_budget: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub struct OutputFormat {
    #[serde(rename = "type")]
    pub kind: String,
    pub schema: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub struct ContextManagement {
    #[serde(default)]
    pub edits: Vec<Edit>,
}

#[derive(Debug, Deserialize)]
pub struct Edit {
    #[serde(rename = "type")]
    pub kind: String,
    pub trigger: Option<Value>,
}
