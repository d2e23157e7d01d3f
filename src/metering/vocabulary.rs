//! What the meter looks for: the names that providers give to usage, model, content and endings, and where
//! they stand. Everything else in an answer is skipped unread.
//!
//! Arrays are transparent: their elements stand where the array stands. Sources are the providers' API
//! references: Anthropic Messages and streaming; OpenAI Chat Completions, Responses, Completions, Embeddings;
//! Gemini `GenerateContentResponse`; Ollama `docs/api.md`. Names that only compatible servers use are marked.

use crate::domain::terms::Term;
use crate::metering::counts::Count;

/// A place in an answer, and so what a value there means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Of no interest.
    Nothing,
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
    /// `usage` that is final for what has passed.
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
    /// On which terms the call is served.
    Term(Term),
    /// Gemini's `usageMetadata`.
    UsageMetadata,
    /// `data`, `results`: what embeddings and rankings list.
    Listed,
    /// A vector, or the score of a document: whatever it is, it is there, and it is not read.
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
    /// How far work is that may go on after its answer: of a Responses answer, a run, an interaction.
    Status,
    /// Ollama's `done`.
    Done,
    /// An error, if anything in it is neither null nor empty.
    Error,
}

impl Place {
    /// Whether an object here has members of interest.
    #[must_use]
    pub fn has_members(self) -> bool {
        !matches!(
            self,
            Self::Nothing
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
    pub fn is_word(self) -> bool {
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

    /// Where the member `key` of an object here stands.
    #[must_use]
    pub fn member(self, key: &[u8]) -> Self {
        match self {
            Self::Root => root(key),
            Self::Message => message(key),
            Self::Response => response(key),
            Self::Block => block(key),
            Self::Delta => delta(key),
            Self::Choice => choice(key),
            Self::ToolCall => tool_call(key),
            Self::Function => function(key),
            Self::Candidate => candidate(key),
            Self::Part => part(key),
            Self::Usage => usage(key),
            Self::UsageAtStart => usage_at_start(key),
            Self::CacheCreation => cache_creation(key),
            Self::InputDetails => input_details(key),
            Self::OutputDetails => output_details(key),
            Self::Iteration | Self::StepBeside => iteration(key),
            Self::StepCacheCreation => step_cache_creation(key),
            Self::StepOutputDetails => step_output_details(key),
            Self::UsageMetadata => usage_metadata(key),
            Self::Listed => listed(key),
            Self::Error => Self::Error,
            _ => Self::Nothing,
        }
    }
}

fn root(key: &[u8]) -> Place {
    match key {
        b"type" => Place::Kind,
        b"delta" => Place::Delta,
        b"usage" | b"x_groq" => Place::Usage, // x_groq: Groq wraps its usage in one more object
        b"model" | b"modelVersion" => Place::Model,
        b"error" => Place::Error,
        b"message" => Place::Message,
        b"content" | b"content_block" | b"output" => Place::Block,
        b"stop_reason" => Place::StopReason,
        b"choices" => Place::Choice,
        b"response" | b"interaction" => Place::Response,
        b"status" => Place::Status,
        b"candidates" => Place::Candidate,
        b"usageMetadata" => Place::UsageMetadata,
        b"service_tier" => Place::Term(Term::ServiceTier),
        b"svg_usage" => Place::StepBeside,
        b"done" => Place::Done,
        b"thinking" => Place::Content,
        b"prompt_eval_count" => Place::Number(Count::PromptEvalCount),
        b"prompt_eval_cached_count" => Place::Number(Count::PromptEvalCachedCount),
        b"eval_count" => Place::Number(Count::EvalCount),
        b"embedding" | b"embeddings" | b"relevance_score" | b"score" => Place::Vector,
        b"data" | b"results" | b"predictions" => Place::Listed,
        _ => Place::Nothing,
    }
}

fn message(key: &[u8]) -> Place {
    match key {
        b"content" => Place::Block,
        b"tool_calls" => Place::ToolCall,
        b"function_call" => Place::Function,
        b"thinking" | b"reasoning" | b"reasoning_content" | b"refusal" => Place::Content,
        b"model" => Place::Model,
        b"usage" => Place::UsageAtStart,
        b"stop_reason" => Place::StopReason,
        _ => Place::Nothing,
    }
}

/// The output inside a Responses event repeats what the deltas brought, so it is not looked at here.
fn response(key: &[u8]) -> Place {
    match key {
        b"model" => Place::Model,
        b"usage" => Place::Usage,
        b"service_tier" => Place::Term(Term::ServiceTier),
        b"error" => Place::Error,
        _ => Place::Nothing,
    }
}

fn block(key: &[u8]) -> Place {
    match key {
        b"text" | b"thinking" | b"refusal" | b"arguments" | b"code" => Place::Content,
        b"input" => Place::ContentJson,
        b"content" | b"summary" => Place::Block,
        _ => Place::Nothing,
    }
}

fn delta(key: &[u8]) -> Place {
    match key {
        b"text" | b"thinking" | b"partial_json" | b"reasoning" | b"reasoning_content" | b"refusal" => {
            Place::Content
        }
        b"content" => Place::Block,
        b"tool_calls" => Place::ToolCall,
        b"function_call" => Place::Function,
        b"stop_reason" => Place::StopReason,
        _ => Place::Nothing,
    }
}

fn choice(key: &[u8]) -> Place {
    match key {
        b"delta" => Place::Delta,
        b"message" => Place::Message,
        b"text" => Place::Content,
        b"finish_reason" => Place::StopReason,
        b"usage" => Place::Usage, // Moonshot
        _ => Place::Nothing,
    }
}

fn tool_call(key: &[u8]) -> Place {
    match key {
        b"function" => Place::Function,
        b"custom" => Place::Block,
        _ => Place::Nothing,
    }
}

fn function(key: &[u8]) -> Place {
    match key {
        b"arguments" => Place::ContentJson,
        _ => Place::Nothing,
    }
}

fn candidate(key: &[u8]) -> Place {
    match key {
        b"content" => Place::Part,
        b"finishReason" => Place::StopReason,
        _ => Place::Nothing,
    }
}

fn part(key: &[u8]) -> Place {
    match key {
        b"parts" | b"executableCode" | b"functionCall" => Place::Part,
        b"text" | b"code" => Place::Content,
        b"args" => Place::ContentJson,
        _ => Place::Nothing,
    }
}

/// `total_…` but `total_tokens` is Gemini's Interactions.
fn usage(key: &[u8]) -> Place {
    let count = match key {
        b"input_tokens" => Count::InputTokens,
        b"inputTokens" => Count::InputTokensCamel,
        b"prompt_tokens" => Count::PromptTokens,
        b"total_input_tokens" => Count::TotalInputTokens,
        b"total_tool_use_tokens" => Count::ToolInput,
        b"output_tokens" => Count::OutputTokens,
        b"outputTokens" => Count::OutputTokensCamel,
        b"completion_tokens" => Count::CompletionTokens,
        b"total_output_tokens" => Count::TotalOutputTokens,
        b"total_tokens" => Count::TotalTokens,
        b"totalTokens" => Count::TotalTokenCount,
        b"cache_read_input_tokens" => Count::CacheReadInputTokens,
        b"cacheReadInputTokens" => Count::CacheReadCamel,
        b"cache_creation_input_tokens" => Count::CacheCreationInputTokens,
        b"cacheWriteInputTokens" => Count::CacheWriteCamel,
        b"claude_cache_creation_5_m_tokens" => Count::Claude5m,
        b"claude_cache_creation_1_h_tokens" => Count::Claude1h,
        b"cached_tokens" => Count::CachedTokensBare,
        b"prompt_cache_hit_tokens" => Count::PromptCacheHitTokens,
        b"total_cached_tokens" => Count::TotalCachedTokens,
        b"reasoning_tokens" => Count::ReasoningTokensBare,
        b"total_thought_tokens" => Count::TotalThoughtTokens,
        _ => return usage_part(key),
    };
    Place::Number(count)
}

fn usage_part(key: &[u8]) -> Place {
    match key {
        b"cache_creation" => Place::CacheCreation,
        b"iterations" => Place::Iteration,
        b"service_tier" => Place::Term(Term::ServiceTier),
        b"speed" => Place::Term(Term::Speed),
        b"inference_geo" => Place::Term(Term::InferenceGeo),
        b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details" => Place::InputDetails,
        b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => {
            Place::OutputDetails
        }
        b"usage" => Place::Usage, // inside x_groq
        _ => Place::Nothing,
    }
}

fn usage_at_start(key: &[u8]) -> Place {
    match key {
        b"output_tokens" => Place::Number(Count::OutputSoFar),
        _ => usage(key),
    }
}

fn cache_creation(key: &[u8]) -> Place {
    match key {
        b"ephemeral_5m_input_tokens" => Place::Number(Count::Ephemeral5m),
        b"ephemeral_1h_input_tokens" => Place::Number(Count::Ephemeral1h),
        _ => Place::Nothing,
    }
}

fn iteration(key: &[u8]) -> Place {
    match key {
        b"type" => Place::StepKind,
        b"model" => Place::StepModel,
        b"input_tokens" => Place::Number(Count::StepInput),
        b"output_tokens" => Place::Number(Count::StepOutput),
        b"cache_read_input_tokens" => Place::Number(Count::StepCacheRead),
        b"cache_creation_input_tokens" => Place::Number(Count::StepCacheWrite),
        b"reasoning_tokens" => Place::Number(Count::StepReasoning),
        b"cache_creation" => Place::StepCacheCreation,
        b"output_tokens_details" => Place::StepOutputDetails,
        _ => Place::Nothing,
    }
}

fn step_cache_creation(key: &[u8]) -> Place {
    match key {
        b"ephemeral_5m_input_tokens" => Place::Number(Count::Step5m),
        b"ephemeral_1h_input_tokens" => Place::Number(Count::Step1h),
        _ => Place::Nothing,
    }
}

fn step_output_details(key: &[u8]) -> Place {
    match key {
        b"thinking_tokens" => Place::Number(Count::StepReasoning),
        _ => Place::Nothing,
    }
}

fn input_details(key: &[u8]) -> Place {
    match key {
        b"cached_tokens" => Place::Number(Count::CachedTokens),
        b"cache_write_tokens" => Place::Number(Count::CacheWriteTokens),
        b"cache_creation_input_tokens" | b"cache_creation_tokens" | b"cached_creation_tokens" => {
            Place::Number(Count::CacheCreationInside)
        }
        b"cache_creation" | b"cache_creation_token_details" => Place::CacheCreation,
        _ => Place::Nothing,
    }
}

fn output_details(key: &[u8]) -> Place {
    match key {
        b"reasoning_tokens" | b"thinking_tokens" => Place::Number(Count::ReasoningTokens),
        _ => Place::Nothing,
    }
}

fn usage_metadata(key: &[u8]) -> Place {
    match key {
        b"promptTokenCount" => Place::Number(Count::PromptTokenCount),
        b"candidatesTokenCount" => Place::Number(Count::CandidatesTokenCount),
        b"thoughtsTokenCount" => Place::Number(Count::ThoughtsTokenCount),
        b"cachedContentTokenCount" => Place::Number(Count::CachedContentTokenCount),
        b"toolUsePromptTokenCount" => Place::Number(Count::ToolInput),
        b"totalTokenCount" => Place::Number(Count::TotalTokenCount),
        _ => Place::Nothing,
    }
}

fn listed(key: &[u8]) -> Place {
    match key {
        b"embedding" | b"embeddings" | b"relevance_score" | b"score" => Place::Vector,
        _ => Place::Nothing,
    }
}
