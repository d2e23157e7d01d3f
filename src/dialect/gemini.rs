//! Google Gemini, at AI Studio and in Google's cloud (Vertex AI). <https://ai.google.dev/api>

use http::{HeaderName, Method, StatusCode};
use serde_json::{Value, json};

use super::answer_names::{AnswerNames, Count, Event, Field};
use super::contents::{
    Call, Claim, DefaultAddress, DefaultTarget, Dialect, KnownCall, Models, Operation, PathClass, PathModel,
    RequestNames, Unknown,
};
use super::openai;
use super::path::{
    TRANSFER_PREFIXES, VERSIONS, below, is_encoded, is_under, is_under_any, repeats_numbered_version,
};
use super::websocket::WebsocketApi;
use crate::cloud::bedrock::NotConvertible;
use crate::cloud::hosting::{HostedAt, HostedCall, Hosting, OwnCall, Platform};
use crate::cloud::{hosting, vertex};
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::RequestId;
use crate::domain::quoted::Quoted;

pub(super) struct Gemini;

const STORES: [&str; 4] = ["/cachedContents", "/files", "/corpora", "/fileSearchStores"];

impl Dialect for Gemini {
    const CALLS: &'static [KnownCall] = &[KnownCall {
        reads: false,
        path: "/v1beta/models/{call}",
        what: "Gemini's `MODEL:generateContent`, `MODEL:streamGenerateContent` and the like",
    }];

    fn without_version(path: &str) -> Option<&'static str> {
        (is_under(path, "/models") && has_verb(path))
            .then_some("there is nothing here: add /v1beta to the client's base URL")
    }

    fn claim(call: &Call<'_>) -> Claim {
        let is_own = TRANSFER_PREFIXES.iter().filter_map(|base| below(call.path, base)).any(is_versioned)
            || if is_cloud(call.path) {
                // Google's cloud serves its own models and those of others, each in its maker's dialect.
                !call.path.contains("/publishers/anthropic/")
            } else {
                is_model_call(call)
            };
        if is_own { Claim::Yes } else { Claim::No }
    }

    /// Below any version; of the stores also behind `/upload` and `/download`.
    fn path_class(path: &str) -> PathClass {
        let moved = ["/upload/", "/download/"].iter().find_map(|moved| path.strip_prefix(moved));
        if let Some((_, stored)) = moved.and_then(|moved| moved.split_once('/')) {
            let is_store = |store: &str| store.get(1..).is_some_and(|store| is_under(stored, store));
            let is_stored = STORES.iter().any(|store| is_store(store));
            return if is_stored { PathClass::Storage } else { PathClass::Inference };
        }
        let below = path.get(1..).and_then(|path| path.find('/')).and_then(|at| path.get(at + 1..));
        let path = below_publisher(below.unwrap_or_default());
        if let Some(path) = path.strip_prefix("/openai").or_else(|| path.strip_prefix("/endpoints/openapi")) {
            return openai::path_class(path);
        }
        match path.split_once(':') {
            Some((name, "countTokens" | "computeTokens"))
                if is_under_any(name, &["/models", "/tunedModels"]) =>
            {
                PathClass::TokenCount
            }
            Some((_, "batchGenerateContent" | "asyncBatchEmbedContent")) => PathClass::Batch,
            Some((_, "cancel")) => PathClass::Storage,
            None if matches!(path, "/tunedModels" | "/auth_tokens") => PathClass::Batch,
            None if is_under_any(path, &["/batchPredictionJobs", "/tuningJobs"]) => PathClass::Batch,
            None if is_under(path, "/models") => PathClass::ModelList,
            None if is_under_any(path, &STORES) => PathClass::Storage,
            _ => PathClass::Inference,
        }
    }

    fn operation(path: &str) -> Operation {
        if path.contains("mbedContent") { Operation::Embeddings } else { Operation::GenerateContent }
    }

    const TELEMETRY_NAME: &'static str = "gcp.gemini";

    /// `/v1beta/models/gemini-3-pro:generateContent` → `gemini-3-pro`; a tuned model is `tunedModels/NAME`.
    fn path_model(path: &str) -> PathModel<'_> {
        if path.contains("/openai/") {
            return PathModel::None;
        }
        let Some((before, verb)) = path.split_once(':') else { return model_without_verb(path) };
        let Some(slash) = before.rfind('/') else { return PathModel::None };
        let name = before.get(slash + 1..).unwrap_or_default();
        let collection = before.get(..slash).and_then(|above| above.rfind('/'));
        let whole = collection.and_then(|at| before.get(at + 1..)).unwrap_or(name);
        if WITH_VERBS.iter().any(|stored| whole.starts_with(stored)) {
            return PathModel::None;
        }
        let in_models = whole.len() == name.len() + "models/".len() && whole.starts_with("models/");
        let model = if in_models { name } else { whole };
        let is_exact = (in_models || whole.starts_with("tunedModels/"))
            && !name.is_empty()
            && !verb.contains([':', '/'])
            && !is_encoded(path);
        if is_exact { PathModel::Exact(model) } else { PathModel::Ambiguous(model) }
    }

    const MODEL_COLLECTIONS: &'static [&'static str] = &["models/", "tunedModels/"];

    fn path_of_model(model: &Quoted<'_>, embeds: bool) -> Option<String> {
        let verb = if embeds { "embedContent" } else { "generateContent" };
        Some(format!("/v1beta/models/{model}:{verb}"))
    }

    fn is_vendor_model(model: &str) -> bool {
        model.starts_with("gemini")
    }

    const SERVES_ANY_VENDOR: bool = false;

    const ANY_CONTENT_TYPE: bool = false;

    /// `parameters`: Vertex AI's `predict`.
    const REQUEST: RequestNames = RequestNames {
        max_tokens: &["maxOutputTokens"],
        options: &["generationConfig", "generation_config", "parameters"],
    };

    fn is_admin(_base: Option<&str>, _segment: &str) -> bool {
        false
    }

    const CREDENTIAL: (HeaderName, &'static str) = (HeaderName::from_static("x-goog-api-key"), "");

    fn repeats_version(version: &str, path: &str) -> bool {
        repeats_numbered_version(version, path)
    }

    const DEFAULT_TARGET: DefaultTarget = DefaultTarget {
        variable: "GEMINI_API_KEY",
        address: DefaultAddress::Fixed("https://generativelanguage.googleapis.com"),
    };

    fn hosted_at(platform: Platform, region: &str) -> Option<HostedAt> {
        match platform {
            Platform::Provider => Some(HostedAt { url: None, path: "" }),
            Platform::Vertex => Some(HostedAt { url: Some(vertex::base_url(region)), path: "" }),
            Platform::Azure | Platform::Bedrock => None,
        }
    }

    fn is_hosted(platform: Platform, _base_path: &str) -> bool {
        platform == Platform::Vertex
    }

    fn hosted_call(hosting: &Hosting, call: &OwnCall<'_>) -> Result<HostedCall, NotConvertible> {
        hosting::gemini_call(hosting, call)
    }

    fn unknown_in(_refusal: &Value, _call: &OwnCall<'_>) -> Vec<Unknown> {
        Vec::new()
    }

    /// Google's canonical codes: <https://cloud.google.com/apis/design/errors>.
    fn error_body(failure: &Failure, status: StatusCode, _request_id: RequestId) -> Value {
        let name = match failure.kind {
            Kind::Invalid | Kind::TooLarge => "INVALID_ARGUMENT",
            Kind::Unauthenticated => "UNAUTHENTICATED",
            Kind::Forbidden => "PERMISSION_DENIED",
            Kind::NotFound => "NOT_FOUND",
            Kind::Conflict => "FAILED_PRECONDITION",
            Kind::QuotaSpent | Kind::RateLimited => "RESOURCE_EXHAUSTED",
            Kind::Unavailable | Kind::Upstream => "UNAVAILABLE",
            Kind::UpstreamTimeout => "DEADLINE_EXCEEDED",
            Kind::Internal => "INTERNAL",
        };
        json!({ "error": { "code": status.as_u16(), "message": failure.message, "status": name } })
    }

    /// Google's list says more of a model than the gateway knows, so it comes from upstream.
    const MODELS: Models = Models {
        listed_at: None,
        list: openai::model_list,
        of_all_targets: false,
        asked_at: "/v1beta/models?pageSize=1000",
        asked_with: None,
    };

    /// `GenerateContentResponse`, embeddings and predictions; `interaction` and the `total_…` but `total_tokens` are the
    /// Interactions API's.
    const ANSWER: AnswerNames = AnswerNames {
        fields: &[
            (
                Field::Root,
                &[
                    ("candidates", Field::Candidate),
                    ("modelVersion", Field::Model),
                    ("usageMetadata", Field::UsageMetadata),
                    ("error", Field::Error),
                    ("interaction", Field::Response),
                    ("embedding", Field::Vector),
                    ("embeddings", Field::Vector),
                    ("predictions", Field::Listed),
                ],
            ),
            (Field::Candidate, &[("content", Field::Part), ("finishReason", Field::StopReason)]),
            (
                Field::Part,
                &[
                    ("parts", Field::Part),
                    ("executableCode", Field::Part),
                    ("functionCall", Field::Part),
                    ("text", Field::Content),
                    ("code", Field::Content),
                    ("args", Field::ContentJson),
                ],
            ),
            (
                Field::UsageMetadata,
                &[
                    ("promptTokenCount", Field::Number(Count::PromptTokenCount)),
                    ("candidatesTokenCount", Field::Number(Count::CandidatesTokenCount)),
                    ("thoughtsTokenCount", Field::Number(Count::ThoughtsTokenCount)),
                    ("cachedContentTokenCount", Field::Number(Count::CachedContentTokenCount)),
                    ("toolUsePromptTokenCount", Field::Number(Count::ToolInput)),
                    ("totalTokenCount", Field::Number(Count::TotalTokenCount)),
                ],
            ),
            (Field::Response, &[("model", Field::Model), ("usage", Field::Usage), ("error", Field::Error)]),
            (
                Field::Usage,
                &[
                    ("total_input_tokens", Field::Number(Count::TotalInputTokens)),
                    ("total_tool_use_tokens", Field::Number(Count::ToolInput)),
                    ("total_output_tokens", Field::Number(Count::TotalOutputTokens)),
                    ("total_cached_tokens", Field::Number(Count::TotalCachedTokens)),
                    ("total_thought_tokens", Field::Number(Count::TotalThoughtTokens)),
                    ("total_tokens", Field::Number(Count::TotalTokens)),
                ],
            ),
            (Field::Listed, &[("embeddings", Field::Vector)]),
        ],
        events: &[("interaction.complete", Event::Last), ("interaction.completed", Event::Last)],
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

/// Collections that have verbs of their own and are no models.
const WITH_VERBS: [&str; 7] =
    ["files/", "cachedContents/", "corpora/", "documents/", "fileSearchStores/", "operations/", "batches/"];

/// Whether a path is one of Google's, whoever's models it is about: a version that nobody else has, or one of Google's
/// collections below `/v1`.
pub(super) fn is_cloud(path: &str) -> bool {
    const COLLECTIONS: [&str; 7] = [
        "/projects",
        "/publishers",
        "/tunedModels",
        "/cachedContents",
        "/corpora",
        "/fileSearchStores",
        "/operations",
    ];
    ["/v1beta", "/v1beta1", "/v1alpha"].iter().any(|version| below(path, version).is_some())
        || below(path, "/v1").is_some_and(|rest| is_under_any(rest, &COLLECTIONS))
}

/// Google's newer SDKs call the stable version of their API: `/v1/models/MODEL:verb`. Names of models that were tuned at
/// OpenAI have colons, too, but nothing is posted to a model there.
fn is_model_call(call: &Call<'_>) -> bool {
    below(call.path, "/v1").is_some_and(|rest| {
        is_under(rest, "/models")
            && (call.headers.contains_key("x-goog-api-key")
                || (*call.method == Method::POST && has_verb(rest)))
    })
}

fn is_versioned(path: &str) -> bool {
    VERSIONS.iter().any(|version| path.strip_prefix(version).is_some_and(|rest| rest.starts_with('/')))
}

fn has_verb(path: &str) -> bool {
    path.contains(':') || path.contains("%3A") || path.contains("%3a")
}

/// What follows the project and the publisher in a path of Google's cloud:
/// `/projects/P/locations/L/publishers/google/models/…`.
fn below_publisher(path: &str) -> &str {
    let behind = |path, start: &str| {
        let rest: &str = str::strip_prefix(path, start)?;
        rest.find('/').and_then(|at| rest.get(at..))
    };
    let path = behind(path, "/projects/").and_then(|rest| behind(rest, "/locations/")).unwrap_or(path);
    behind(path, "/publishers/").unwrap_or(path)
}

/// Without a verb nothing is generated, but it is still that model that is meant.
fn model_without_verb(path: &str) -> PathModel<'_> {
    let behind = path.split_once("/models/").and_then(|(_, behind)| behind.split('/').next());
    behind.filter(|model| !model.is_empty()).map_or(PathModel::None, PathModel::Ambiguous)
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
            ("POST", "/v1beta/models/gemini-3-pro:streamGenerateContent", Inference),
            ("POST", "/v1beta/models/gemini-3-pro%3AgenerateContent", Inference),
            ("POST", "/v1beta/models/gemini-3-pro:countTokens", Untracked),
            ("POST", "/v1beta/models/g:generateContent:countTokens", Inference),
            ("POST", "/v1beta/models/gemini-3-pro:batchGenerateContent", Deferred),
            ("POST", "/v1beta/openai/chat/completions", Inference),
            ("POST", "/v1beta/openai/files", Unbilled),
            ("GET", "/v1beta/openai/models", Untracked),
            ("GET", "/v1beta/models", Untracked),
            ("GET", "/v1beta/models/gemini-3-pro", Untracked),
            ("POST", "/v1beta/cachedContents", Unbilled),
            ("POST", "/v1beta/interactions", Inference),
            ("POST", "/v1beta/batches/b:cancel", Unbilled),
            ("POST", "/upload/v1beta/files", Unbilled),
            ("PUT", "/upload/v1beta/files", Unbilled),
            ("POST", "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore", Unbilled),
            ("POST", "/upload/v1beta/models/g:generateContent", Inference),
            ("POST", "/v1/projects/p/locations/l/publishers/google/models/g:generateContent", Inference),
            ("POST", "/v1/projects/p/locations/l/publishers/google/models/g:countTokens", Untracked),
            ("POST", "/v1/projects/p/locations/l/cachedContents", Unbilled),
            ("POST", "/v1/projects/p/locations/l/batchPredictionJobs", Deferred),
            ("POST", "/v1/projects/p/locations/l/endpoints/openapi/chat/completions", Inference),
        ] {
            let method: Method = method.parse().expect("a method");
            assert_eq!(billing(Provider::Gemini, &method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn the_model_is_where_the_provider_looks_for_it() {
        for (path, expected) in [
            ("/v1beta/models/gemini-3-pro:generateContent", PathModel::Exact("gemini-3-pro")),
            ("/v1/p/l/publishers/google/models/g:predict", PathModel::Exact("g")),
            ("/v1beta/tunedModels/mine:generateContent", PathModel::Exact("tunedModels/mine")),
            ("/v1beta/models/allowed/other:generateContent", PathModel::Ambiguous("allowed/other")),
            ("/v1beta/models/allowed%2Fother:generateContent", PathModel::Ambiguous("allowed%2Fother")),
            ("/v1beta/models/allowed:x/models/other:generateContent", PathModel::Ambiguous("allowed")),
            ("/v1beta/models/gemini-3-pro", PathModel::Ambiguous("gemini-3-pro")),
            ("/v1beta/models", PathModel::None),
            ("/v1beta/interactions", PathModel::None),
            ("/v1beta/openai/chat/completions", PathModel::None),
            ("/v1beta/files/x:download", PathModel::None),
            ("/upload/v1beta/files", PathModel::None),
        ] {
            assert_eq!(path_model(Provider::Gemini, path), expected, "{path}");
        }
    }

    #[test]
    fn its_own_calls_are_claimed_and_no_others() {
        for (method, path, header, expected) in [
            ("POST", "/v1beta/models/g:generateContent", "", Claim::Yes),
            ("POST", "/v1/models/g:generateContent", "", Claim::Yes),
            ("GET", "/v1/models/g", "x-goog-api-key", Claim::Yes),
            ("DELETE", "/v1/models/ft:gpt-5:x", "", Claim::No),
            ("POST", "/upload/v1beta/files", "", Claim::Yes),
            ("POST", "/upload/x", "", Claim::No),
            ("POST", "/v1beta1/projects/p/publishers/anthropic/models/c:rawPredict", "", Claim::No),
        ] {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(header, HeaderValue::from_static("x"));
            }
            let method: Method = method.parse().expect("a method");
            let call = Call { method: &method, path, headers: &headers };
            assert_eq!(Gemini::claim(&call), expected, "{method} {path} {header}");
        }
    }

    #[test]
    fn a_version_in_the_base_url_is_told_from_other_paths() {
        for (version, path, expected) in [
            ("/v1beta", "/v1beta/models", true),
            ("/v1beta", "/v1/models", true),
            ("/v1beta", "/upload/v1beta/files", true),
            ("/api", "/api/x", false),
        ] {
            assert_eq!(Gemini::repeats_version(version, path), expected, "{version} {path}");
        }
    }

    #[test]
    fn keys_refusals_and_lists_are_in_the_words_of_the_provider() {
        let (name, value) = credential(Provider::Gemini, "k").expect("a header");
        assert_eq!((name.as_str(), value.to_str().ok()), ("x-goog-api-key", Some("k")));
        let failure = Failure::new(Kind::RateLimited, "slow down");
        let refusal = Gemini::error_body(&failure, failure.kind.http_status(), RequestId(uuid::Uuid::nil()));
        let expected: Value = serde_json::from_str(
            r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}"#,
        )
        .expect("JSON");
        assert_eq!(refusal, expected);
        let list = (Gemini::MODELS.list)(&BTreeSet::from(["m"]));
        let expected: Value = serde_json::from_str(
            r#"{"object":"list","data":[{"id":"m","object":"model","created":0,"owned_by":"sproxy"}]}"#,
        )
        .expect("JSON");
        assert_eq!(list, expected);
    }
}
