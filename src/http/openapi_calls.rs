//! The data plane in the `OpenAPI` document: which paths are taken for which provider. What goes in and comes out is the
//! provider's, so bodies are described as what they certainly are: JSON, and events where a stream is asked for.

use utoipa::Modify;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, ObjectBuilder, OpenApi, Required, ResponseBuilder, ResponsesBuilder};

/// Method, path, provider and what is called. Everything else below `/v1/`, `/v1beta/`, `/api/` and the providers' own
/// prefixes passes as well.
const CALLS: [(HttpMethod, &str, &str, &str); 12] = [
    (HttpMethod::Post, "/v1/messages", "anthropic", "Anthropic's Messages"),
    (HttpMethod::Post, "/v1/messages/count_tokens", "anthropic", "Anthropic's token count; free"),
    (HttpMethod::Post, "/v1/chat/completions", "openai", "OpenAI's Chat Completions"),
    (HttpMethod::Post, "/v1/responses", "openai", "OpenAI's Responses"),
    (HttpMethod::Post, "/v1/completions", "openai", "OpenAI's Completions"),
    (HttpMethod::Post, "/v1/embeddings", "openai", "OpenAI's Embeddings"),
    (HttpMethod::Get, "/v1/models", "openai", "The models that the caller may use, in the caller's dialect"),
    (
        HttpMethod::Post,
        "/v1beta/models/{call}",
        "gemini",
        "Gemini's `MODEL:generateContent`, `MODEL:streamGenerateContent` and the like",
    ),
    (HttpMethod::Post, "/api/chat", "ollama", "Ollama's chat"),
    (HttpMethod::Post, "/api/generate", "ollama", "Ollama's generate"),
    (HttpMethod::Post, "/api/embed", "ollama", "Ollama's embed"),
    (HttpMethod::Get, "/api/tags", "ollama", "Ollama's list of models"),
];

/// In which part of a request a key is.
type Place = fn(ApiKeyValue) -> ApiKey;

/// Where a credential may be besides `authorization: Bearer`: scheme, place and name.
const KEYS: [(&str, Place, &str); 3] = [
    ("x-api-key", ApiKey::Header, "x-api-key"),
    ("x-goog-api-key", ApiKey::Header, "x-goog-api-key"),
    ("key", ApiKey::Query, "key"),
];

/// Adds the data plane to the document.
pub(super) struct Calls;

impl Modify for Calls {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        for (scheme, place, name) in KEYS {
            let description = "An API key of the gateway, on the data plane";
            let key = place(ApiKeyValue::with_description(name, description));
            components.add_security_scheme(scheme, SecurityScheme::ApiKey(key));
        }
        for (method, path, provider, summary) in CALLS {
            let words: Vec<_> = path.split(['/', '{', '}']).filter(|word| !word.is_empty()).collect();
            let verb = if method == HttpMethod::Post { "post" } else { "get" };
            let mut operation = OperationBuilder::new()
                .tag("data plane")
                .operation_id(Some(format!("{verb}_{}", words.join("_"))))
                .summary(Some(summary))
                .responses(answers(provider));
            for scheme in ["bearer"].into_iter().chain(KEYS.map(|(scheme, ..)| scheme)) {
                operation = operation.security(SecurityRequirement::new::<_, [&str; 0], &str>(scheme, []));
            }
            if method == HttpMethod::Post {
                let body = RequestBodyBuilder::new()
                    .description(Some("The provider's own request; it passes as it is"))
                    .content("application/json", object())
                    .required(Some(Required::True));
                operation = operation.request_body(Some(body.build()));
            }
            if path.contains("{call}") {
                operation = operation.parameter(call());
            }
            document.paths.paths.insert(path.to_owned(), PathItem::new(method, operation));
        }
    }
}

fn answers(provider: &str) -> ResponsesBuilder {
    let answer = ResponseBuilder::new()
        .description("The provider's own answer; a stream of events where one is asked for")
        .content("application/json", object());
    let refusal = || {
        ResponseBuilder::new()
            .description(format!(
                "A refusal of the gateway, or an error of the provider, in the dialect of {provider}"
            ))
            .content("application/json", object())
    };
    let all = ResponsesBuilder::new().response("200", answer);
    let refusals = ["400", "401", "403", "404", "413", "429", "502", "503", "504"];
    refusals.into_iter().fold(all, |all, status| all.response(status, refusal()))
}

fn object() -> Content {
    Content::new(Some(ObjectBuilder::new().build()))
}

fn call() -> utoipa::openapi::path::Parameter {
    utoipa::openapi::path::ParameterBuilder::new()
        .name("call")
        .parameter_in(utoipa::openapi::path::ParameterIn::Path)
        .required(Required::True)
        .description(Some("Model and method, such as `gemini-2.5-flash:generateContent`"))
        .schema(Some(ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::String).build()))
        .build()
}
