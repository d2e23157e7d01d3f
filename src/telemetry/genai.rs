//! OpenTelemetry's conventions for generative AI: what spans, their attributes and a second set of metrics are called.
//! The conventions are in development and names will change; all of them stand here, beside the version that they are
//! of. <https://github.com/open-telemetry/semantic-conventions/tree/main/docs/gen-ai>

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::registry::{Registry, Unit};

use super::buckets::NamedBuckets;
use crate::cloud::hosting::Platform;
use crate::dialect::{self, Operation};
use crate::domain::provider::Provider;
use crate::domain::tokens::Tokens;

/// The schema of the version of the conventions that the names here are of, as spans tell it.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Attributes of a call's span. Never the content of a call: those are opt-in there, and not offered here.
pub mod attribute {
    pub const OPERATION: &str = "gen_ai.operation.name";
    pub const PROVIDER: &str = "gen_ai.provider.name";
    pub const REQUEST_MODEL: &str = "gen_ai.request.model";
    pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
    pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
    pub const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
    pub const CONVERSATION: &str = "gen_ai.conversation.id";
    pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    pub const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
    pub const CACHE_WRITE_TOKENS: &str = "gen_ai.usage.cache_write.input_tokens";
    pub const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
    pub const SERVER_ADDRESS: &str = "server.address";
    pub const SERVER_PORT: &str = "server.port";
    pub const ERROR_TYPE: &str = "error.type";
    pub const STATUS_CODE: &str = "http.response.status_code";
}

/// `gen_ai.operation.name`
#[must_use]
pub fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Chat => "chat",
        Operation::TextCompletion => "text_completion",
        Operation::GenerateContent => "generate_content",
        Operation::Embeddings => "embeddings",
    }
}

/// `gen_ai.provider.name`: whoever serves the model.
#[must_use]
pub fn provider_name(provider: Provider, platform: Platform) -> &'static str {
    match platform {
        Platform::Provider => dialect::telemetry_name(provider),
        Platform::Azure => "azure.ai.openai",
        Platform::Bedrock => "aws.bedrock",
        Platform::Vertex => "gcp.vertex_ai",
    }
}

/// What a call was, as far as the metrics tell calls apart.
#[derive(Clone, Copy, Debug)]
pub struct Called<'c> {
    pub operation: Operation,
    /// `gen_ai.provider.name`
    pub provider: &'static str,
    /// The model that answered.
    pub model: &'c str,
    /// `error.type` of a call that failed; empty: it did not.
    pub error: &'static str,
}

/// Upper bounds of `gen_ai.client.token.usage`, tokens.
const TOKEN_BOUNDS: [u64; 14] =
    [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864];
/// Upper bounds of durations, milliseconds: 0.01 s to 81.92 s.
const MILLIS_BOUNDS: [u64; 14] =
    [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_240, 20_480, 40_960, 81_920];

/// Sets of labels that are told apart; what comes beyond is counted under the model `other`.
const SERIES_MAX: usize = 200;

/// The metrics by these names, beside the gateway's own.
#[derive(Clone, Debug)]
pub struct Metrics {
    tokens: NamedBuckets<Labels, 14>,
    duration: NamedBuckets<Labels, 14>,
    first_chunk: NamedBuckets<Labels, 14>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Labels {
    operation: &'static str,
    provider: &'static str,
    model: String,
    token_type: &'static str,
    error: &'static str,
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let mut labels = vec![
            ("gen_ai_operation_name", self.operation),
            ("gen_ai_provider_name", self.provider),
            ("gen_ai_response_model", &*self.model),
        ];
        labels.extend((!self.token_type.is_empty()).then_some(("gen_ai_token_type", self.token_type)));
        labels.extend((!self.error.is_empty()).then_some(("error_type", self.error)));
        EncodeLabelSet::encode(&labels.as_slice(), encoder)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            tokens: NamedBuckets::new(TOKEN_BOUNDS, 1.0, SERIES_MAX),
            duration: NamedBuckets::new(MILLIS_BOUNDS, 1e-3, SERIES_MAX),
            first_chunk: NamedBuckets::new(MILLIS_BOUNDS, 1e-3, SERIES_MAX),
        }
    }
}

impl Metrics {
    /// A call came to its end.
    pub fn observe(&self, called: Called<'_>, tokens: Tokens, took: Duration, first_chunk: Option<Duration>) {
        let labels = |token_type, error| Labels {
            operation: operation_name(called.operation),
            provider: called.provider,
            model: called.model.to_owned(),
            token_type,
            error,
        };
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let folded = |labels: Labels| Labels { model: super::OTHER.to_owned(), ..labels };
        self.duration.observe(labels("", called.error), folded, millis(took));
        for (token_type, count) in [("input", tokens.input), ("output", tokens.output)] {
            if count > 0 {
                self.tokens.observe(labels(token_type, ""), folded, count);
            }
        }
        if let Some(first_chunk) = first_chunk {
            self.first_chunk.observe(labels("", ""), folded, millis(first_chunk));
        }
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "gen_ai_client_token_usage",
            "Tokens of a call, by OpenTelemetry's conventions",
            self.tokens.clone(),
        );
        registry.register_with_unit(
            "gen_ai_client_operation_duration",
            "How long a call took, by OpenTelemetry's conventions",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            "gen_ai_client_operation_time_to_first_chunk",
            "From a call's beginning to the first chunk of its answer, by OpenTelemetry's conventions",
            Unit::Seconds,
            self.first_chunk.clone(),
        );
    }
}
