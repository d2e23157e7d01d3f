//! `OpenAI` Chat Completions, Responses, Completions, Embeddings, and what the many servers compatible with them made of
//! it. <https://platform.openai.com/docs/api-reference>

mod unknown;
pub mod usage_chunk;
pub mod usage_option;

use std::collections::BTreeSet;

use http::header::AUTHORIZATION;
use http::{HeaderName, StatusCode};
use serde_json::{Value, json};

use super::answer_names::{AnswerNames, Count, Event, Field};
use super::contents::{
    Call, Claim, DefaultAddress, DefaultTarget, Dialect, KnownCall, Models, Operation, PathClass, PathModel,
    RequestNames, Unknown,
};
use super::path::{below, is_encoded, is_under, is_under_any, repeats_numbered_version};
use crate::cloud::bedrock::{self, NotConvertible};
use crate::cloud::hosting::{HostedAt, HostedCall, Hosting, OwnCall, Platform};
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::RequestId;
use crate::domain::quoted::Quoted;
use crate::domain::terms::Term;

pub(super) struct Openai;

impl Dialect for Openai {
    const CALLS: &'static [KnownCall] = &[
        KnownCall { reads: false, path: "/v1/chat/completions", what: "OpenAI's Chat Completions" },
        KnownCall { reads: false, path: "/v1/responses", what: "OpenAI's Responses" },
        KnownCall { reads: false, path: "/v1/completions", what: "OpenAI's Completions" },
        KnownCall { reads: false, path: "/v1/embeddings", what: "OpenAI's Embeddings" },
        KnownCall {
            reads: true,
            path: "/v1/models",
            what: "The models that the caller may use, in the caller's dialect",
        },
    ];

    fn without_version(path: &str) -> Option<&'static str> {
        const PATHS: [&str; 4] = ["/chat/completions", "/responses", "/completions", "/embeddings"];
        is_under_any(path, &PATHS).then_some("there is nothing here: add /v1 to the client's base URL")
    }

    /// Everybody's `/v1` is in this dialect, unless it is known to be somebody else's.
    fn claim(call: &Call<'_>) -> Claim {
        if below(call.path, "/v1").is_some() { Claim::Fallback } else { Claim::No }
    }

    fn path_class(path: &str) -> PathClass {
        path_class(path)
    }

    fn operation(path: &str) -> Operation {
        operation(path)
    }

    const TELEMETRY_NAME: &'static str = "openai";

    /// `/v1/models/NAME`, Azure's `/deployments/NAME/chat/completions`, and the `/v1/engines/NAME/completions` of old.
    fn path_model(path: &str) -> PathModel<'_> {
        if let Some(model) = path.strip_prefix("/v1").unwrap_or(path).strip_prefix("/models/") {
            let is_name = !model.is_empty() && !is_encoded(model);
            return if is_name { PathModel::Ambiguous(model) } else { PathModel::None };
        }
        let behind = ["/deployments/", "/engines/"].iter().find_map(|base| path.split_once(base));
        let Some((_, behind)) = behind else { return PathModel::None };
        let name = behind.split('/').next().unwrap_or_default();
        let again = behind.contains("/deployments/") || behind.contains("/engines/");
        let is_plain = !name.is_empty() && !again && !is_encoded(path);
        if is_plain { PathModel::ExactIfBodyAgrees(name) } else { PathModel::Ambiguous(name) }
    }

    const MODEL_COLLECTIONS: &'static [&'static str] = &[];

    fn path_of_model(_model: &Quoted<'_>, embeds: bool) -> Option<String> {
        let path = if embeds { "/v1/embeddings" } else { "/v1/chat/completions" };
        Some(path.to_owned())
    }

    /// But for its open models, which are everywhere.
    fn is_vendor_model(model: &str) -> bool {
        const NAMES: [&str; 6] = ["gpt-", "chatgpt", "o1", "o3", "o4", "text-embedding-"];
        !model.starts_with("gpt-oss") && NAMES.iter().any(|start| model.starts_with(start))
    }

    const SERVES_ANY_VENDOR: bool = true;

    const ANY_CONTENT_TYPE: bool = false;

    /// Beside OpenAI's own: vLLM's, TGI's, llama.cpp's, Bedrock's, `SGLang`'s.
    const REQUEST: RequestNames = RequestNames {
        max_tokens: &[
            "max_tokens",
            "max_completion_tokens",
            "max_output_tokens",
            "max_response_output_tokens",
            "max_new_tokens",
            "max_gen_len",
            "max_tokens_to_generate",
            "maxTokens",
            "maxCompletionTokens",
            "maxTokenCount",
            "n_predict",
        ],
        options: &[
            "parameters",
            "inferenceConfig",
            "inference_config",
            "textGenerationConfig",
            "sampling_params",
        ],
    };

    fn is_admin(_base: Option<&str>, _segment: &str) -> bool {
        false
    }

    const CREDENTIAL: (HeaderName, &'static str) = (AUTHORIZATION, "Bearer ");

    /// Open `WebUI` has its calls below `/api`.
    fn repeats_version(version: &str, path: &str) -> bool {
        (version == "/api" && is_under(path, "/api")) || repeats_numbered_version(version, path)
    }

    const DEFAULT_TARGET: DefaultTarget = DefaultTarget {
        variable: "OPENAI_API_KEY",
        address: DefaultAddress::Fixed("https://api.openai.com"),
    };

    fn hosted_at(platform: Platform, region: &str) -> Option<HostedAt> {
        match platform {
            Platform::Provider => Some(HostedAt { url: None, path: "" }),
            Platform::Azure => Some(HostedAt { url: None, path: "/openai/v1" }),
            Platform::Bedrock => {
                let runtime = bedrock::base_url(bedrock::Api::Invoke, region);
                Some(HostedAt { url: Some(format!("{runtime}/openai/v1")), path: "" })
            }
            Platform::Vertex => None,
        }
    }

    fn is_hosted(_platform: Platform, _base_path: &str) -> bool {
        false
    }

    fn hosted_call(_hosting: &Hosting, _call: &OwnCall<'_>) -> Result<HostedCall, NotConvertible> {
        Err(NotConvertible::Path)
    }

    fn unknown_in(refusal: &Value, call: &OwnCall<'_>) -> Vec<Unknown> {
        unknown::in_refusal(refusal, call)
    }

    /// <https://platform.openai.com/docs/guides/error-codes>
    fn error_body(failure: &Failure, status: StatusCode, _request_id: RequestId) -> Value {
        let (kind, code) = match failure.kind {
            Kind::Invalid if status == StatusCode::UPGRADE_REQUIRED => {
                ("invalid_request_error", "upgrade_required")
            }
            Kind::Invalid | Kind::Conflict => ("invalid_request_error", "invalid_request"),
            Kind::Unauthenticated => ("invalid_request_error", "invalid_api_key"),
            Kind::Forbidden => ("invalid_request_error", "permission_denied"),
            Kind::NotFound => ("invalid_request_error", "model_not_found"),
            Kind::TooLarge => ("invalid_request_error", "request_too_large"),
            Kind::QuotaSpent => ("insufficient_quota", "insufficient_quota"),
            Kind::RateLimited => ("rate_limit_error", "rate_limit_exceeded"),
            Kind::Unavailable => ("server_error", "service_unavailable"),
            Kind::Upstream => ("server_error", "bad_gateway"),
            Kind::UpstreamTimeout => ("server_error", "gateway_timeout"),
            Kind::Internal => ("server_error", "internal_error"),
        };
        json!({ "error": { "message": failure.message, "type": kind, "param": null, "code": code } })
    }

    const MODELS: Models = Models {
        listed_at: Some("/v1/models"),
        list: model_list,
        of_all_targets: true,
        asked_at: "/v1/models",
        asked_with: None,
    };

    /// Chat Completions, Responses, Completions, Embeddings; rankings of compatible servers. `x_groq`: Groq wraps its usage
    /// in one more object.
    const ANSWER: AnswerNames = AnswerNames {
        fields: &[
            (
                Field::Root,
                &[
                    ("type", Field::Kind),
                    ("model", Field::Model),
                    ("status", Field::Status),
                    ("choices", Field::Choice),
                    ("delta", Field::Delta),
                    ("response", Field::Response),
                    ("output", Field::Block),
                    ("usage", Field::Usage),
                    ("x_groq", Field::Usage),
                    ("svg_usage", Field::StepBeside),
                    ("service_tier", Field::Term(Term::ServiceTier)),
                    ("error", Field::Error),
                    ("data", Field::Listed),
                    ("results", Field::Listed),
                    ("relevance_score", Field::Vector),
                    ("score", Field::Vector),
                ],
            ),
            (
                Field::Choice,
                &[
                    ("delta", Field::Delta),
                    ("message", Field::Message),
                    ("text", Field::Content),
                    ("finish_reason", Field::StopReason),
                    ("usage", Field::Usage), // Moonshot
                ],
            ),
            (
                Field::Message,
                &[
                    ("content", Field::Block),
                    ("tool_calls", Field::ToolCall),
                    ("function_call", Field::Function),
                    ("reasoning", Field::Content),
                    ("reasoning_content", Field::Content),
                    ("refusal", Field::Content),
                ],
            ),
            (
                Field::Delta,
                &[
                    ("text", Field::Content),
                    ("content", Field::Block),
                    ("tool_calls", Field::ToolCall),
                    ("function_call", Field::Function),
                    ("reasoning", Field::Content),
                    ("reasoning_content", Field::Content),
                    ("refusal", Field::Content),
                ],
            ),
            (Field::ToolCall, &[("function", Field::Function), ("custom", Field::Block)]),
            (Field::Function, &[("arguments", Field::ContentJson)]),
            // The output inside a Responses event repeats what the deltas brought, so it is not looked at here.
            (
                Field::Response,
                &[
                    ("model", Field::Model),
                    ("usage", Field::Usage),
                    ("service_tier", Field::Term(Term::ServiceTier)),
                    ("error", Field::Error),
                ],
            ),
            (
                Field::Block,
                &[
                    ("text", Field::Content),
                    ("refusal", Field::Content),
                    ("arguments", Field::Content),
                    ("code", Field::Content),
                    ("input", Field::ContentJson),
                    ("content", Field::Block),
                    ("summary", Field::Block),
                ],
            ),
            (
                Field::Usage,
                &[
                    ("input_tokens", Field::Number(Count::InputTokens)),
                    ("prompt_tokens", Field::Number(Count::PromptTokens)),
                    ("output_tokens", Field::Number(Count::OutputTokens)),
                    ("completion_tokens", Field::Number(Count::CompletionTokens)),
                    ("total_tokens", Field::Number(Count::TotalTokens)),
                    ("prompt_tokens_details", Field::InputDetails),
                    ("input_tokens_details", Field::InputDetails),
                    ("input_token_details", Field::InputDetails),
                    ("completion_tokens_details", Field::OutputDetails),
                    ("output_tokens_details", Field::OutputDetails),
                    ("output_token_details", Field::OutputDetails),
                    ("cached_tokens", Field::Number(Count::CachedTokensBare)), // Moonshot, Together
                    ("prompt_cache_hit_tokens", Field::Number(Count::PromptCacheHitTokens)), // DeepSeek
                    ("reasoning_tokens", Field::Number(Count::ReasoningTokensBare)), // Perplexity
                    ("claude_cache_creation_5_m_tokens", Field::Number(Count::Claude5m)), // new-api
                    ("claude_cache_creation_1_h_tokens", Field::Number(Count::Claude1h)), // new-api
                    ("usage", Field::Usage),                                   // inside x_groq
                ],
            ),
            (
                Field::InputDetails,
                &[
                    ("cached_tokens", Field::Number(Count::CachedTokens)),
                    ("cache_write_tokens", Field::Number(Count::CacheWriteTokens)),
                    // Qwen, LiteLLM, new-api
                    ("cache_creation_input_tokens", Field::Number(Count::CacheCreationInside)),
                    ("cache_creation_tokens", Field::Number(Count::CacheCreationInside)),
                    ("cached_creation_tokens", Field::Number(Count::CacheCreationInside)),
                    ("cache_creation", Field::CacheCreation),
                    ("cache_creation_token_details", Field::CacheCreation),
                ],
            ),
            (Field::OutputDetails, &[("reasoning_tokens", Field::Number(Count::ReasoningTokens))]),
            (Field::Iteration, &[("reasoning_tokens", Field::Number(Count::StepReasoning))]),
            (
                Field::Listed,
                &[("embedding", Field::Vector), ("relevance_score", Field::Vector), ("score", Field::Vector)],
            ),
        ],
        events: &[
            ("response.created", Event::First),
            ("response.completed", Event::Last),
            ("response.incomplete", Event::Last),
            ("response.failed", Event::Failed),
            ("response.done", Event::Last),
            ("transcript.text.done", Event::Last),
            ("speech.audio.done", Event::Last),
            ("image_generation.completed", Event::Last),
            ("image_edit.completed", Event::Last),
            ("error", Event::Error),
        ],
        pending: &["queued", "in_progress"],
        steps: &[],
    };

    fn has_usage_option(path: &str) -> bool {
        is_completions(path)
    }

    fn websocket_at(path: &str) -> Option<super::websocket::WebsocketApi> {
        super::websocket::WebsocketApi::at(path.strip_prefix("/v1").unwrap_or(path))
    }
}

pub(super) fn operation(path: &str) -> Operation {
    match path {
        _ if path.ends_with("/embeddings") => Operation::Embeddings,
        _ if path.ends_with("/chat/completions") || path.ends_with("/responses") => Operation::Chat,
        _ if path.ends_with("/completions") => Operation::TextCompletion,
        _ => Operation::GenerateContent,
    }
}

/// The same with and without `/v1`, which may be a part of the target's URL. The other providers serve this API, too.
pub(super) fn path_class(path: &str) -> PathClass {
    const STORED: [&str; 8] = [
        "/files",
        "/uploads",
        "/vector_stores",
        "/conversations",
        "/containers",
        "/assistants",
        "/organization",
        "/moderations",
    ];
    let path = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let is_stored = |base, end| {
        let is_id = |rest: &str| rest.strip_suffix(end).is_some_and(is_id);
        path.strip_prefix(base).is_some_and(is_id)
    };
    match path {
        "/responses/input_tokens" | "/messages/count_tokens" => PathClass::TokenCount,
        _ if is_under(path, "/models") => PathClass::ModelList,
        _ if is_under_any(path, &["/batches", "/fine_tuning", "/evals", "/realtime"]) => {
            if path.ends_with("/cancel") { PathClass::Storage } else { PathClass::Batch }
        }
        _ if is_under_any(path, &STORED) => PathClass::Storage,
        _ if is_under(path, "/threads") && (!path.contains("/runs") || path.ends_with("/cancel")) => {
            PathClass::Storage
        }
        _ if is_stored("/chat/completions/", "") || is_stored("/responses/", "/cancel") => PathClass::Storage,
        _ => PathClass::Inference,
    }
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Chat Completions and Completions; the Responses API reports usage by itself.
pub(super) fn is_completions(path: &str) -> bool {
    path.trim_end_matches('/').ends_with("/completions")
}

/// <https://platform.openai.com/docs/api-reference/models/list>
pub(super) fn model_list(models: &BTreeSet<&str>) -> Value {
    let data: Vec<Value> = models
        .iter()
        .map(|id| json!({ "id": id, "object": "model", "created": 0, "owned_by": "sproxy" }))
        .collect();
    json!({ "object": "list", "data": data })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::{HeaderMap, HeaderValue, Method};

    use super::super::{Billing, PathModel, billing, credential, path_model};
    use super::*;
    use crate::domain::failure::Kind;
    use crate::domain::provider::Provider;

    #[test]
    fn calls_that_spend_tokens_are_told_from_free_ones_and_from_storage() {
        use Billing::{Deferred, Inference, Unbilled, Untracked};
        for (method, path, expected) in [
            ("POST", "/v1/chat/completions", Inference),
            ("POST", "/v1/chat/completions/chatcmpl-1", Unbilled),
            ("POST", "/v1/chat/completions/;x", Inference),
            ("POST", "/v1/chat/completions/x/y", Inference),
            ("POST", "/v1/responses", Inference),
            ("GET", "/v1/responses/resp_1", Unbilled),
            ("POST", "/v1/responses/resp_1/cancel", Unbilled),
            ("POST", "/v1/deployments/cancel", Inference),
            ("POST", "/v1/responses/input_tokens", Untracked),
            ("POST", "/v1/responses/compact", Inference),
            ("POST", "/v1/rerank", Inference),
            ("POST", "/v1/files", Unbilled),
            ("POST", "/files", Unbilled),
            ("POST", "/v1/files%2f", Inference),
            ("POST", "/v1/batches", Deferred),
            ("GET", "/v1/batches", Unbilled),
            ("POST", "/v1/realtime/client_secrets", Deferred),
            ("POST", "/v1/threads", Unbilled),
            ("POST", "/v1/threads/t/messages", Unbilled),
            ("POST", "/v1/threads/runs", Inference),
            ("POST", "/v1/threads/t/runs/r/submit_tool_outputs", Inference),
            ("POST", "/v1/threads/t/runs/r/cancel", Unbilled),
            ("GET", "/v1/models", Untracked),
            ("GET", "/v1/models/org%2Fmodel", Untracked),
            ("POST", "/v1/models", Inference),
            ("DELETE", "/v1/models/ft-1", Unbilled),
        ] {
            let method: Method = method.parse().expect("a method");
            assert_eq!(billing(Provider::Openai, &method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn the_model_is_where_the_provider_looks_for_it() {
        for (path, expected) in [
            ("/deployments/gpt-5/chat/completions", PathModel::ExactIfBodyAgrees("gpt-5")),
            ("/v1/engines/davinci/completions", PathModel::ExactIfBodyAgrees("davinci")),
            ("/deployments/a/deployments/b/x", PathModel::Ambiguous("a")),
            ("/v1/chat/completions", PathModel::None),
            ("/v1/models/ft:gpt-5:acme::x", PathModel::Ambiguous("ft:gpt-5:acme::x")),
            ("/v1/models/org%2Fx", PathModel::None),
        ] {
            assert_eq!(path_model(Provider::Openai, path), expected, "{path}");
        }
    }

    #[test]
    fn its_own_calls_are_claimed_and_no_others() {
        for (method, path, header, expected) in [
            ("POST", "/v1/chat/completions", "", Claim::Fallback),
            ("POST", "/v1/messages", "", Claim::Fallback),
            ("POST", "/v1", "", Claim::No),
            ("POST", "/api/chat", "", Claim::No),
        ] {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(header, HeaderValue::from_static("x"));
            }
            let method: Method = method.parse().expect("a method");
            let call = Call { method: &method, path, headers: &headers };
            assert_eq!(Openai::claim(&call), expected, "{method} {path} {header}");
        }
    }

    #[test]
    fn a_version_in_the_base_url_is_told_from_other_paths() {
        for (version, path, expected) in [
            ("/v1", "/v1/responses", true),
            ("/api", "/api/chat/completions", true),
            ("/api", "/v1/responses", false),
            ("/openai", "/v1/responses", false),
        ] {
            assert_eq!(Openai::repeats_version(version, path), expected, "{version} {path}");
        }
    }

    #[test]
    fn keys_refusals_and_lists_are_in_the_words_of_the_provider() {
        let (name, value) = credential(Provider::Openai, "k").expect("a header");
        assert_eq!((name.as_str(), value.to_str().ok()), ("authorization", Some("Bearer k")));
        let failure = Failure::new(Kind::RateLimited, "slow down");
        let refusal = Openai::error_body(&failure, failure.kind.http_status(), RequestId(uuid::Uuid::nil()));
        let expected: Value = serde_json::from_str(r#"{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}"#).expect("JSON");
        assert_eq!(refusal, expected);
        let list = (Openai::MODELS.list)(&BTreeSet::from(["m"]));
        let expected: Value = serde_json::from_str(
            r#"{"object":"list","data":[{"id":"m","object":"model","created":0,"owned_by":"sproxy"}]}"#,
        )
        .expect("JSON");
        assert_eq!(list, expected);
    }
}
