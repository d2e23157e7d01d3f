//! What the meter can look for in an answer, and how a dialect says by which names.
//!
//! Each dialect names what it has; the meter composes the names of all and reads an answer by what it is: an
//! OpenAI-shaped answer on a Gemini path, or an Anthropic-shaped one from an OpenAI-compatible server, is metered all
//! the same.

use crate::domain::terms::Term;

#[derive(Clone, Copy, Debug)]
pub struct AnswerNames {
    /// Fields by the object that contains them. Arrays are transparent: their elements count as members of that object.
    pub fields: &'static [(Field, &'static [(&'static str, Field)])],
    /// Kinds of events (or, of a whole answer, its own) that say how far it has come.
    pub events: &'static [(&'static str, Event)],
    /// States of an answer whose work goes on after it.
    pub pending: &'static [&'static str],
    /// Kinds of steps that the provider bills separately.
    pub steps: &'static [(&'static str, StepKind)],
}

impl AnswerNames {
    /// For a dialect whose answers are all in the shape of another one.
    pub const NONE: Self = Self { fields: &[], events: &[], pending: &[], steps: &[] };
}

/// What the kind of an event says about the answer's progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An answer begins that ends with a [`Self::Last`] event.
    First,
    Last,
    /// The last one, of an answer that failed.
    Failed,
    Error,
}

/// How a step relates to the counts of the answer that it is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Included in the answer's counts.
    Within,
    /// Billed in addition to them.
    Beside,
}

/// A field of an answer, identified by its position: what its value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Of no interest.
    Ignored,
    /// An event, a line or a whole answer.
    Root,
    /// `message`: of Anthropic's `message_start`, of an OpenAI choice, of Ollama.
    Message,
    /// `response`: of a Responses event; as a string, what Ollama generated.
    Response,
    /// A content block, an item of a Responses output, a part of content; as a string, content itself.
    Block,
    /// `delta`: of Anthropic and OpenAI Chat; as a string, what a Responses event adds.
    Delta,
    /// An OpenAI choice.
    Choice,
    /// A tool call of OpenAI Chat or Ollama.
    ToolCall,
    /// The function in a tool call.
    Function,
    /// A Gemini candidate.
    Candidate,
    /// The content of a Gemini candidate, or one of its parts.
    Part,
    /// `usage` that is final for everything before it.
    Usage,
    /// `usage` in Anthropic's `message_start`: its output count is a placeholder.
    UsageAtStart,
    /// Anthropic's `cache_creation`.
    CacheCreation,
    /// OpenAI's `prompt_tokens_details`, `input_tokens_details`.
    InputDetails,
    /// OpenAI's `completion_tokens_details`, `output_tokens_details`.
    OutputDetails,
    /// One of Anthropic's `iterations`: a sampling step within one answer.
    Iteration,
    /// OpenAI's `svg_usage`: a step beside the answer.
    StepBeside,
    /// The `cache_creation` of a step.
    StepCacheCreation,
    /// The output details of a step.
    StepOutputDetails,
    /// The kind of a step.
    StepKind,
    /// The model of a step.
    StepModel,
    /// Service tier, speed or region that the call was served with.
    Term(Term),
    /// Gemini's `usageMetadata`.
    UsageMetadata,
    /// `data`, `results`: what embeddings and rankings list.
    Listed,
    /// A vector, or the score of a document: only its presence matters.
    Vector,
    /// A string that the model produced: counted, never kept.
    Content,
    /// JSON that the model produced (tool arguments): counted, never kept.
    ContentJson,
    /// A token count.
    Number(Count),
    /// The model that answers.
    Model,
    /// The kind of an event.
    Kind,
    /// Why the model stopped, once it has.
    StopReason,
    /// The status of work that may go on after its answer: of a Responses answer, a run, an interaction.
    Status,
    /// Ollama's `done`.
    Done,
    /// An error, if anything in it is neither null nor empty.
    Error,
}

impl Field {
    /// Whether an object here has members of interest.
    #[must_use]
    pub fn has_members(self) -> bool {
        !matches!(
            self,
            Self::Ignored
                | Self::Content
                | Self::ContentJson
                | Self::Number(_)
                | Self::Model
                | Self::Kind
                | Self::StopReason
                | Self::Status
                | Self::Done
                | Self::Vector
                | Self::StepKind
                | Self::StepModel
                | Self::Term(_)
        )
    }

    /// Whether a string here is what the model produced.
    #[must_use]
    pub fn is_content_text(self) -> bool {
        matches!(self, Self::Content | Self::ContentJson | Self::Delta | Self::Block | Self::Response)
    }

    /// Whether a string here is kept, to be understood.
    #[must_use]
    pub fn is_kept_text(self) -> bool {
        matches!(
            self,
            Self::Model
                | Self::Kind
                | Self::StopReason
                | Self::Status
                | Self::Error
                | Self::Number(_)
                | Self::StepKind
                | Self::StepModel
                | Self::Term(_)
        )
    }
}

/// A count's name, or several that only ever mean the same in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "they are the providers' names")]
pub enum Count {
    /// `input_tokens` of Anthropic, of Responses.
    InputTokens,
    /// `inputTokens` of Bedrock.
    InputTokensCamel,
    /// `prompt_tokens`.
    PromptTokens,
    /// `promptTokenCount`.
    PromptTokenCount,
    /// `prompt_eval_count`.
    PromptEvalCount,
    /// `total_input_tokens` of Gemini's Interactions.
    TotalInputTokens,
    /// `toolUsePromptTokenCount`, `total_tool_use_tokens`: results of built-in tools, beside the prompt.
    ToolInput,
    /// `output_tokens`.
    OutputTokens,
    /// `outputTokens` of Bedrock.
    OutputTokensCamel,
    /// `completion_tokens`.
    CompletionTokens,
    /// `candidatesTokenCount`.
    CandidatesTokenCount,
    /// `eval_count`.
    EvalCount,
    /// `total_output_tokens` of Gemini's Interactions.
    TotalOutputTokens,
    /// `output_tokens` of an answer that has only begun.
    OutputSoFar,
    /// `total_tokens`.
    TotalTokens,
    /// `totalTokenCount`, `totalTokens`.
    TotalTokenCount,
    /// `cache_read_input_tokens`.
    CacheReadInputTokens,
    /// `cacheReadInputTokens` of Bedrock.
    CacheReadCamel,
    /// `cache_creation_input_tokens`: all lifetimes.
    CacheCreationInputTokens,
    /// `cacheWriteInputTokens` of Bedrock.
    CacheWriteCamel,
    /// `ephemeral_5m_input_tokens`.
    Ephemeral5m,
    /// `ephemeral_1h_input_tokens`.
    Ephemeral1h,
    /// `claude_cache_creation_5_m_tokens` of new-api.
    Claude5m,
    /// `claude_cache_creation_1_h_tokens` of new-api.
    Claude1h,
    /// `cached_tokens` in the details of an input.
    CachedTokens,
    /// `cached_tokens` in `usage` itself (Moonshot, Together).
    CachedTokensBare,
    /// `prompt_cache_hit_tokens` (`DeepSeek`).
    PromptCacheHitTokens,
    /// `cachedContentTokenCount`.
    CachedContentTokenCount,
    /// `prompt_eval_cached_count`.
    PromptEvalCachedCount,
    /// `total_cached_tokens` of Gemini's Interactions.
    TotalCachedTokens,
    /// `cache_write_tokens` in the details of an input (OpenAI, `OpenRouter`).
    CacheWriteTokens,
    /// `cache_creation_input_tokens` and the like in the details of an input (Qwen, `LiteLLM`, new-api).
    CacheCreationInside,
    /// `reasoning_tokens`, `thinking_tokens` in the details of an output.
    ReasoningTokens,
    /// `reasoning_tokens` in `usage` itself (Perplexity).
    ReasoningTokensBare,
    /// `thoughtsTokenCount`.
    ThoughtsTokenCount,
    /// `total_thought_tokens` of Gemini's Interactions.
    TotalThoughtTokens,
    /// The following of one step of an answer: `input_tokens`,
    StepInput,
    /// `output_tokens`,
    StepOutput,
    /// `cache_read_input_tokens`,
    StepCacheRead,
    /// `cache_creation_input_tokens`,
    StepCacheWrite,
    /// `ephemeral_5m_input_tokens`,
    Step5m,
    /// `ephemeral_1h_input_tokens`,
    Step1h,
    /// `reasoning_tokens`.
    StepReasoning,
}
