//! An answer of Gemini's `generateContent`, whole or a chunk of its stream, as far as conversions act on it.
//! <https://ai.google.dev/api/generate-content#generatecontentresponse>

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Response {
    pub candidates: Option<Vec<Candidate>>,
    pub prompt_feedback: Option<PromptFeedback>,
    pub usage_metadata: Option<UsageMetadata>,
    pub model_version: Option<String>,
    #[serde(rename = "responseId")]
    pub id: Option<String>,
    /// In a stream that has begun.
    pub error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Candidate {
    pub content: Option<Content>,
    pub finish_reason: Option<String>,
    pub finish_message: Option<String>,
    pub grounding_metadata: Option<GroundingMetadata>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Content {
    pub parts: Option<Vec<Part>>,
}

/// One of its members is there; what is not asked for here is not among them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Part {
    pub text: Option<String>,
    /// The text is what the model thinks.
    pub thought: Option<bool>,
    pub thought_signature: Option<String>,
    pub function_call: Option<FunctionCall>,
    /// A picture, most often.
    pub inline_data: Option<InlineData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct FunctionCall {
    pub name: String,
    pub args: Option<Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InlineData {
    pub mime_type: String,
}

/// Why a request was not answered at all.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PromptFeedback {
    pub block_reason: Option<String>,
    pub block_reason_message: Option<String>,
}

/// What was found on the web.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroundingMetadata {
    pub web_search_queries: Option<Vec<String>>,
    pub grounding_chunks: Option<Vec<GroundingChunk>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GroundingChunk {
    pub web: Option<WebSource>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WebSource {
    pub uri: String,
    pub title: Option<String>,
}

/// Counts of tokens; each chunk has those so far.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct UsageMetadata {
    /// With what a cache has read.
    #[serde(rename = "promptTokenCount")]
    pub prompt: Option<u64>,
    #[serde(rename = "cachedContentTokenCount")]
    pub cached: Option<u64>,
    /// Beside the prompt.
    #[serde(rename = "toolUsePromptTokenCount")]
    pub tool_use: Option<u64>,
    #[serde(rename = "candidatesTokenCount")]
    pub candidates: Option<u64>,
    /// Beside the candidates.
    #[serde(rename = "thoughtsTokenCount")]
    pub thoughts: Option<u64>,
}
