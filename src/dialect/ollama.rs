//! Ollama: `/api`, and the half of OpenAI's API that it serves below `/v1`.
//! <https://github.com/ollama/ollama/blob/main/docs/api.md>

mod host;

use http::header::AUTHORIZATION;
use http::{HeaderName, StatusCode};
use serde_json::{Value, json};

use super::answer_names::{AnswerNames, Count, Field};
use super::contents::{
    Call, Claim, DefaultAddress, DefaultTarget, Dialect, KnownCall, Models, Operation, PathClass, PathModel,
    RequestNames, Unknown,
};
use super::openai;
use super::path::{below, is_under, is_under_any, repeats_numbered_version};
use super::websocket::WebsocketApi;
use crate::cloud::bedrock::NotConvertible;
use crate::cloud::hosting::{HostedAt, HostedCall, Hosting, OwnCall, Platform};
use crate::domain::failure::Failure;
use crate::domain::ids::RequestId;
use crate::domain::quoted::Quoted;

pub(super) struct Ollama;

impl Dialect for Ollama {
    const CALLS: &'static [KnownCall] = &[
        KnownCall { reads: false, path: "/api/chat", what: "Ollama's chat" },
        KnownCall { reads: false, path: "/api/generate", what: "Ollama's generate" },
        KnownCall { reads: false, path: "/api/embed", what: "Ollama's embed" },
        KnownCall { reads: true, path: "/api/tags", what: "Ollama's list of models" },
    ];

    /// No client is known that calls Ollama's `/chat` without `/api`.
    fn without_version(_path: &str) -> Option<&'static str> {
        None
    }

    fn claim(call: &Call<'_>) -> Claim {
        if below(call.path, "/api").is_some() { Claim::Yes } else { Claim::No }
    }

    fn path_class(path: &str) -> PathClass {
        const STORED: [&str; 6] =
            ["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs"];
        match path {
            "/api/show" => PathClass::TokenCount,
            "/api/tags" | "/api/ps" | "/api/version" => PathClass::ModelList,
            _ if is_under_any(path, &STORED) => PathClass::Storage,
            _ if path.starts_with("/v1/") => openai::path_class(path),
            _ => PathClass::Inference,
        }
    }

    fn operation(path: &str) -> Operation {
        match path {
            _ if path.starts_with("/v1/") => openai::operation(path),
            _ if path.starts_with("/api/embed") => Operation::Embeddings,
            "/api/generate" => Operation::TextCompletion,
            _ => Operation::Chat,
        }
    }

    const TELEMETRY_NAME: &'static str = "ollama";

    fn path_model(_path: &str) -> PathModel<'_> {
        PathModel::None
    }

    const MODEL_COLLECTIONS: &'static [&'static str] = &[];

    fn path_of_model(_model: &Quoted<'_>, embeds: bool) -> Option<String> {
        let path = if embeds { "/api/embed" } else { "/api/chat" };
        Some(path.to_owned())
    }

    fn is_vendor_model(_model: &str) -> bool {
        false
    }

    const SERVES_ANY_VENDOR: bool = false;

    /// Ollama takes everything for JSON, and is called by hand without saying so.
    const ANY_CONTENT_TYPE: bool = true;

    const REQUEST: RequestNames = RequestNames { max_tokens: &["num_predict"], options: &["options"] };

    fn is_admin(base: Option<&str>, segment: &str) -> bool {
        const NAMES: [&str; 10] =
            ["delete", "create", "pull", "push", "copy", "blobs", "signin", "signout", "me", "connections"];
        base == Some("api") && NAMES.iter().any(|name| segment.eq_ignore_ascii_case(name))
    }

    /// Ollama itself wants none; proxies in front of it, and ollama.com, do.
    const CREDENTIAL: (HeaderName, &'static str) = (AUTHORIZATION, "Bearer ");

    fn repeats_version(version: &str, path: &str) -> bool {
        (version == "/api" && is_under(path, "/api")) || repeats_numbered_version(version, path)
    }

    const DEFAULT_TARGET: DefaultTarget =
        DefaultTarget { variable: "OLLAMA_HOST", address: DefaultAddress::InVariable(host::url) };

    fn hosted_at(platform: Platform, _region: &str) -> Option<HostedAt> {
        (platform == Platform::Provider).then_some(HostedAt { url: None, path: "" })
    }

    fn is_hosted(_platform: Platform, _base_path: &str) -> bool {
        false
    }

    fn hosted_call(_hosting: &Hosting, _call: &OwnCall<'_>) -> Result<HostedCall, NotConvertible> {
        Err(NotConvertible::Path)
    }

    fn unknown_in(_refusal: &Value, _call: &OwnCall<'_>) -> Vec<Unknown> {
        Vec::new()
    }

    fn error_body(failure: &Failure, _status: StatusCode, _request_id: RequestId) -> Value {
        json!({ "error": failure.message })
    }

    const MODELS: Models = Models {
        listed_at: Some("/v1/models"),
        list: openai::model_list,
        of_all_targets: false,
        asked_at: "/api/tags",
        asked_with: None,
    };

    const ANSWER: AnswerNames = AnswerNames {
        fields: &[
            (
                Field::Root,
                &[
                    ("model", Field::Model),
                    ("message", Field::Message),
                    ("response", Field::Response),
                    ("thinking", Field::Content),
                    ("done", Field::Done),
                    ("prompt_eval_count", Field::Number(Count::PromptEvalCount)),
                    ("prompt_eval_cached_count", Field::Number(Count::PromptEvalCachedCount)),
                    ("eval_count", Field::Number(Count::EvalCount)),
                    ("embedding", Field::Vector),
                    ("embeddings", Field::Vector),
                    ("error", Field::Error),
                ],
            ),
            (
                Field::Message,
                &[("content", Field::Block), ("thinking", Field::Content), ("tool_calls", Field::ToolCall)],
            ),
            (Field::ToolCall, &[("function", Field::Function)]),
            (Field::Function, &[("arguments", Field::ContentJson)]),
        ],
        events: &[],
        pending: &[],
        steps: &[],
    };

    /// Only in the OpenAI-compatible half of the API.
    fn has_usage_option(path: &str) -> bool {
        openai::is_completions(path)
    }

    fn websocket_at(_path: &str) -> Option<WebsocketApi> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::{HeaderMap, HeaderValue, Method};

    use super::super::{Billing, billing, credential};
    use super::*;
    use crate::domain::failure::Kind;
    use crate::domain::provider::Provider;

    #[test]
    fn calls_that_spend_tokens_are_told_from_free_ones_and_from_storage() {
        use Billing::{Inference, Unbilled, Untracked};
        for (method, path, expected) in [
            ("POST", "/api/chat", Inference),
            ("GET", "/api/tags", Untracked),
            ("POST", "/api/tags", Inference),
            ("POST", "/api/show", Untracked),
            ("POST", "/api/pull", Unbilled),
            ("POST", "/v1/messages", Inference),
        ] {
            let method: Method = method.parse().expect("a method");
            assert_eq!(billing(Provider::Ollama, &method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn its_own_calls_are_claimed_and_no_others() {
        for (method, path, header, expected) in [
            ("POST", "/api/chat", "", Claim::Yes),
            ("POST", "/api", "", Claim::No),
            ("POST", "/apiary/x", "", Claim::No),
            ("POST", "/v1/chat/completions", "", Claim::No),
        ] {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(header, HeaderValue::from_static("x"));
            }
            let method: Method = method.parse().expect("a method");
            let call = Call { method: &method, path, headers: &headers };
            assert_eq!(Ollama::claim(&call), expected, "{method} {path} {header}");
        }
    }

    #[test]
    fn a_version_in_the_base_url_is_told_from_other_paths() {
        for (version, path, expected) in [
            ("/api", "/api/chat", true),
            ("/v1", "/v1/chat/completions", true),
            ("/v1", "/api/chat", false),
            ("/api", "/v1/chat/completions", false),
        ] {
            assert_eq!(Ollama::repeats_version(version, path), expected, "{version} {path}");
        }
    }

    #[test]
    fn keys_refusals_and_lists_are_in_the_words_of_the_provider() {
        let (name, value) = credential(Provider::Ollama, "k").expect("a header");
        assert_eq!((name.as_str(), value.to_str().ok()), ("authorization", Some("Bearer k")));
        let failure = Failure::new(Kind::RateLimited, "slow down");
        let refusal = Ollama::error_body(&failure, failure.kind.http_status(), RequestId(uuid::Uuid::nil()));
        let expected: Value = serde_json::from_str(r#"{"error":"slow down"}"#).expect("JSON");
        assert_eq!(refusal, expected);
        let list = (Ollama::MODELS.list)(&BTreeSet::from(["m"]));
        let expected: Value = serde_json::from_str(
            r#"{"object":"list","data":[{"id":"m","object":"model","created":0,"owned_by":"sproxy"}]}"#,
        )
        .expect("JSON");
        assert_eq!(list, expected);
    }
}
