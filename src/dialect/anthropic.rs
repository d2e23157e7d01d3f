//! Anthropic Messages, at Anthropic and in Google's cloud. <https://docs.anthropic.com/en/api>

mod unknown;

use std::collections::BTreeSet;

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::answer_names::{AnswerNames, Count, Event, Field, StepKind};
use super::contents::{
    Call, Claim, DefaultAddress, DefaultTarget, Dialect, KnownCall, Models, Operation, PathClass, PathModel,
    RequestNames, Unknown,
};
use super::path::{below, is_encoded, is_under, is_under_any, repeats_numbered_version};
use super::websocket::WebsocketApi;
use super::{gemini, openai};
use crate::cloud::bedrock::NotConvertible;
use crate::cloud::hosting::{HostedAt, HostedCall, Hosting, OwnCall, Platform};
use crate::cloud::{bedrock, hosting, vertex};
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::RequestId;
use crate::domain::quoted::Quoted;
use crate::domain::terms::Term;

pub(super) struct Anthropic;

/// In a path of Google's cloud, for Anthropic's models: they speak this dialect there.
const AT_GOOGLE: &str = "/publishers/anthropic/";

impl Dialect for Anthropic {
    const CALLS: &'static [KnownCall] = &[
        KnownCall { reads: false, path: "/v1/messages", what: "Anthropic's Messages" },
        KnownCall { reads: false, path: "/v1/messages/count_tokens", what: "Anthropic's token count; free" },
    ];

    fn without_version(path: &str) -> Option<&'static str> {
        is_under(path, "/messages").then_some("there is nothing here: did you mean /v1/messages?")
    }

    fn claim(call: &Call<'_>) -> Claim {
        let is_own = if gemini::is_cloud(call.path) {
            call.path.contains(AT_GOOGLE)
        } else {
            below(call.path, "/v1").is_some_and(|rest| {
                is_under(rest, "/messages") || call.headers.contains_key("anthropic-version")
            })
        };
        if is_own { Claim::Yes } else { Claim::No }
    }

    fn path_class(path: &str) -> PathClass {
        match path {
            "/v1/messages/count_tokens" => PathClass::TokenCount,
            _ if path.ends_with("/publishers/anthropic/models/count-tokens:rawPredict") => {
                PathClass::TokenCount
            }
            _ if is_under(path, "/v1/models") => PathClass::ModelList,
            _ if is_under(path, "/v1/messages/batches") && path.ends_with("/cancel") => PathClass::Storage,
            _ if is_under(path, "/v1/messages/batches") => PathClass::Batch,
            _ if is_under_any(path, &["/v1/files", "/v1/skills", "/v1/organizations"]) => PathClass::Storage,
            _ => PathClass::Inference,
        }
    }

    fn operation(path: &str) -> Operation {
        if path.ends_with("/complete") { Operation::TextCompletion } else { Operation::Chat }
    }

    const TELEMETRY_NAME: &'static str = "anthropic";

    /// `/v1/projects/P/locations/L/publishers/anthropic/models/NAME:rawPredict`, with no model in the body unless it is
    /// about counting its tokens.
    fn path_model(path: &str) -> PathModel<'_> {
        const PUBLISHED: &str = "/publishers/anthropic/models/";
        // Hardly a path is that long, and a search costs more than the look at its length.
        let published = (path.len() > PUBLISHED.len()).then(|| path.split_once(PUBLISHED)).flatten();
        let Some((_, behind)) = published else { return PathModel::None };
        match behind.split_once(':') {
            Some(("count-tokens", _)) => PathModel::None,
            Some((name, verb)) if !name.is_empty() && !name.contains('/') && !verb.contains([':', '/']) => {
                if is_encoded(path) {
                    PathModel::Ambiguous(name)
                } else {
                    PathModel::Exact(name)
                }
            }
            _ => PathModel::Ambiguous(behind),
        }
    }

    const MODEL_COLLECTIONS: &'static [&'static str] = &[];

    fn path_of_model(_model: &Quoted<'_>, embeds: bool) -> Option<String> {
        (!embeds).then(|| "/v1/messages".to_owned())
    }

    fn is_vendor_model(model: &str) -> bool {
        model.starts_with("claude")
    }

    const SERVES_ANY_VENDOR: bool = false;

    const ANY_CONTENT_TYPE: bool = false;

    const REQUEST: RequestNames =
        RequestNames { max_tokens: &["max_tokens", "max_tokens_to_sample"], options: &[] };

    fn is_admin(_base: Option<&str>, _segment: &str) -> bool {
        false
    }

    const CREDENTIAL: (HeaderName, &'static str) = (HeaderName::from_static("x-api-key"), "");

    fn repeats_version(version: &str, path: &str) -> bool {
        repeats_numbered_version(version, path)
    }

    const DEFAULT_TARGET: DefaultTarget = DefaultTarget {
        variable: "ANTHROPIC_API_KEY",
        address: DefaultAddress::Fixed("https://api.anthropic.com"),
    };

    fn hosted_at(platform: Platform, region: &str) -> Option<HostedAt> {
        Some(match platform {
            Platform::Provider => HostedAt { url: None, path: "" },
            Platform::Azure => HostedAt { url: None, path: "/anthropic" },
            Platform::Bedrock => {
                HostedAt { url: Some(bedrock::base_url(bedrock::Api::Invoke, region)), path: "" }
            }
            Platform::Vertex => HostedAt { url: Some(vertex::base_url(region)), path: "" },
        })
    }

    /// Bedrock has Anthropic's own API below `/anthropic`.
    fn is_hosted(platform: Platform, base_path: &str) -> bool {
        match platform {
            Platform::Provider | Platform::Azure => false,
            Platform::Bedrock => !base_path.ends_with("/anthropic"),
            Platform::Vertex => true,
        }
    }

    fn hosted_call(hosting: &Hosting, call: &OwnCall<'_>) -> Result<HostedCall, NotConvertible> {
        hosting::anthropic_call(hosting, call)
    }

    fn unknown_in(refusal: &Value, call: &OwnCall<'_>) -> Vec<Unknown> {
        unknown::in_refusal(refusal, call)
    }

    /// <https://docs.anthropic.com/en/api/errors>
    fn error_body(failure: &Failure, _status: StatusCode, request_id: RequestId) -> Value {
        let kind = match failure.kind {
            Kind::Invalid | Kind::Conflict => "invalid_request_error",
            Kind::Unauthenticated => "authentication_error",
            Kind::Forbidden => "permission_error",
            Kind::NotFound => "not_found_error",
            Kind::TooLarge => "request_too_large",
            Kind::QuotaSpent => "billing_error",
            Kind::RateLimited => "rate_limit_error",
            Kind::Unavailable => "overloaded_error",
            Kind::Upstream | Kind::Internal => "api_error",
            Kind::UpstreamTimeout => "timeout_error",
        };
        let error = json!({ "type": kind, "message": failure.message });
        json!({ "type": "error", "error": error, "request_id": request_id.to_string() })
    }

    const MODELS: Models = Models {
        listed_at: Some("/v1/models"),
        list,
        of_all_targets: false,
        asked_at: "/v1/models?limit=1000",
        asked_with: Some((
            HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static("2023-06-01"),
        )),
    };

    /// Messages, streaming, and what Bedrock makes of both (`inputTokens` and the like).
    const ANSWER: AnswerNames = AnswerNames {
        fields: &[
            (
                Field::Root,
                &[
                    ("type", Field::Kind),
                    ("model", Field::Model),
                    ("message", Field::Message),
                    ("content", Field::Block),
                    ("content_block", Field::Block),
                    ("delta", Field::Delta),
                    ("stop_reason", Field::StopReason),
                    ("usage", Field::Usage),
                    ("error", Field::Error),
                ],
            ),
            (
                Field::Message,
                &[
                    ("model", Field::Model),
                    ("content", Field::Block),
                    ("stop_reason", Field::StopReason),
                    ("usage", Field::UsageAtStart),
                ],
            ),
            (
                Field::Block,
                &[
                    ("text", Field::Content),
                    ("thinking", Field::Content),
                    ("input", Field::ContentJson),
                    ("content", Field::Block),
                ],
            ),
            (
                Field::Delta,
                &[
                    ("text", Field::Content),
                    ("thinking", Field::Content),
                    ("partial_json", Field::Content),
                    ("stop_reason", Field::StopReason),
                ],
            ),
            (
                Field::Usage,
                &[
                    ("input_tokens", Field::Number(Count::InputTokens)),
                    ("output_tokens", Field::Number(Count::OutputTokens)),
                    ("cache_read_input_tokens", Field::Number(Count::CacheReadInputTokens)),
                    ("cache_creation_input_tokens", Field::Number(Count::CacheCreationInputTokens)),
                    ("cache_creation", Field::CacheCreation),
                    ("output_tokens_details", Field::OutputDetails),
                    ("iterations", Field::Iteration),
                    ("service_tier", Field::Term(Term::ServiceTier)),
                    ("speed", Field::Term(Term::Speed)),
                    ("inference_geo", Field::Term(Term::InferenceGeo)),
                    ("inputTokens", Field::Number(Count::InputTokensCamel)),
                    ("outputTokens", Field::Number(Count::OutputTokensCamel)),
                    ("totalTokens", Field::Number(Count::TotalTokenCount)),
                    ("cacheReadInputTokens", Field::Number(Count::CacheReadCamel)),
                    ("cacheWriteInputTokens", Field::Number(Count::CacheWriteCamel)),
                ],
            ),
            (Field::UsageAtStart, &[("output_tokens", Field::Number(Count::OutputSoFar))]),
            (
                Field::CacheCreation,
                &[
                    ("ephemeral_5m_input_tokens", Field::Number(Count::Ephemeral5m)),
                    ("ephemeral_1h_input_tokens", Field::Number(Count::Ephemeral1h)),
                ],
            ),
            (Field::OutputDetails, &[("thinking_tokens", Field::Number(Count::ReasoningTokens))]),
            (
                Field::Iteration,
                &[
                    ("type", Field::StepKind),
                    ("model", Field::StepModel),
                    ("input_tokens", Field::Number(Count::StepInput)),
                    ("output_tokens", Field::Number(Count::StepOutput)),
                    ("cache_read_input_tokens", Field::Number(Count::StepCacheRead)),
                    ("cache_creation_input_tokens", Field::Number(Count::StepCacheWrite)),
                    ("cache_creation", Field::StepCacheCreation),
                    ("output_tokens_details", Field::StepOutputDetails),
                ],
            ),
            (
                Field::StepCacheCreation,
                &[
                    ("ephemeral_5m_input_tokens", Field::Number(Count::Step5m)),
                    ("ephemeral_1h_input_tokens", Field::Number(Count::Step1h)),
                ],
            ),
            (Field::StepOutputDetails, &[("thinking_tokens", Field::Number(Count::StepReasoning))]),
        ],
        events: &[("message_start", Event::First), ("message_stop", Event::Last), ("error", Event::Error)],
        pending: &[],
        steps: &[
            ("message", StepKind::Within),
            ("compaction", StepKind::Beside),
            ("advisor_message", StepKind::Beside),
        ],
    };

    /// Only in the OpenAI-compatible half of the API.
    fn has_usage_option(path: &str) -> bool {
        openai::is_completions(path)
    }

    fn websocket_at(_path: &str) -> Option<WebsocketApi> {
        None
    }
}

/// <https://docs.anthropic.com/en/api/models-list>
fn list(models: &BTreeSet<&str>) -> Value {
    let data: Vec<Value> = models
        .iter()
        .map(|id| json!({ "type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z" }))
        .collect();
    json!({ "data": data, "first_id": models.first(), "last_id": models.last(), "has_more": false })
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
            ("POST", "/v1/messages", Inference),
            ("POST", "/v1/messages/", Inference),
            ("POST", "/v1/messages/count_tokens", Untracked),
            ("POST", "/v1/messages/batches", Deferred),
            ("GET", "/v1/messages/batches/b/results", Unbilled),
            ("POST", "/v1/messages/batches/b/cancel", Unbilled),
            ("GET", "/v1/models/claude-opus-4-5", Untracked),
            ("POST", "/v1/models/claude-opus-4-5", Inference),
            ("POST", "/v1/brand/new", Inference),
            ("POST", "/v1/p/publishers/anthropic/models/count-tokens:rawPredict", Untracked),
            ("POST", "/v1/p/publishers/anthropic/models/c:rawPredict", Inference),
        ] {
            let method: Method = method.parse().expect("a method");
            assert_eq!(billing(Provider::Anthropic, &method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn the_model_is_where_the_provider_looks_for_it() {
        for (path, expected) in [
            ("/v1/messages", PathModel::None),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/c@1:rawPredict",
                PathModel::Exact("c@1"),
            ),
            ("/v1/p/publishers/anthropic/models/count-tokens:rawPredict", PathModel::None),
        ] {
            assert_eq!(path_model(Provider::Anthropic, path), expected, "{path}");
        }
    }

    #[test]
    fn its_own_calls_are_claimed_and_no_others() {
        for (method, path, header, expected) in [
            ("POST", "/v1/messages", "", Claim::Yes),
            ("GET", "/v1/models", "anthropic-version", Claim::Yes),
            ("POST", "/v1beta1/projects/p/publishers/anthropic/models/c:rawPredict", "", Claim::Yes),
            ("POST", "/v1/projects/p/x", "anthropic-version", Claim::No),
            ("GET", "/v1/models", "", Claim::No),
        ] {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(header, HeaderValue::from_static("x"));
            }
            let method: Method = method.parse().expect("a method");
            let call = Call { method: &method, path, headers: &headers };
            assert_eq!(Anthropic::claim(&call), expected, "{method} {path} {header}");
        }
    }

    #[test]
    fn a_version_in_the_base_url_is_told_from_other_paths() {
        for (version, path, expected) in [
            ("/v1", "/v1/messages", true),
            ("/v1", "/v1beta1/projects/p", true),
            ("/proxy", "/v1/messages", false),
            ("/v1", "/v2/messages", false),
        ] {
            assert_eq!(Anthropic::repeats_version(version, path), expected, "{version} {path}");
        }
    }

    #[test]
    fn keys_refusals_and_lists_are_in_the_words_of_the_provider() {
        let (name, value) = credential(Provider::Anthropic, "k").expect("a header");
        assert_eq!((name.as_str(), value.to_str().ok()), ("x-api-key", Some("k")));
        let failure = Failure::new(Kind::RateLimited, "slow down");
        let refusal =
            Anthropic::error_body(&failure, failure.kind.http_status(), RequestId(uuid::Uuid::nil()));
        let expected: Value = serde_json::from_str(r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"},"request_id":"00000000-0000-0000-0000-000000000000"}"#).expect("JSON");
        assert_eq!(refusal, expected);
        let list = (Anthropic::MODELS.list)(&BTreeSet::from(["m"]));
        let expected: Value = serde_json::from_str(r#"{"data":[{"type":"model","id":"m","display_name":"m","created_at":"1970-01-01T00:00:00Z"}],"first_id":"m","last_id":"m","has_more":false}"#).expect("JSON");
        assert_eq!(list, expected);
    }
}
