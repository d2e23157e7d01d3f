//! The data plane in the `OpenAPI` document: which paths are taken for which provider. What goes in and comes out is the
//! provider's, so bodies are described as what they certainly are: JSON, and events where a stream is asked for.
//! Everything else below `/v1/`, `/v1beta/`, `/api/` and the providers' own prefixes passes as well.

use utoipa::Modify;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, ObjectBuilder, OpenApi, Required, ResponseBuilder, ResponsesBuilder};

use crate::dialect::{KnownCall, credential_headers, known_calls};
use crate::domain::provider::Provider;

/// Where a credential may be besides `authorization: Bearer`: each is a scheme of its own.
fn keys() -> impl Iterator<Item = (&'static str, ApiKey)> {
    let key = |name| ApiKeyValue::with_description(name, "An API key of the gateway, on the data plane");
    let whole = credential_headers().iter().filter(|(_, scheme)| scheme.is_empty());
    let headers = whole.map(move |(name, _)| (name.as_str(), ApiKey::Header(key(name.as_str()))));
    headers.chain([("key", ApiKey::Query(key("key")))])
}

/// Adds the data plane to the document.
pub(super) struct Calls;

impl Modify for Calls {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        for (scheme, key) in keys() {
            components.add_security_scheme(scheme, SecurityScheme::ApiKey(key));
        }
        let calls = Provider::ALL
            .into_iter()
            .flat_map(|provider| known_calls(provider).iter().map(move |call| (provider, call)));
        for (provider, KnownCall { reads, path, what }) in calls {
            let method = if *reads { HttpMethod::Get } else { HttpMethod::Post };
            let words: Vec<_> = path.split(['/', '{', '}']).filter(|word| !word.is_empty()).collect();
            let verb = if method == HttpMethod::Post { "post" } else { "get" };
            let mut operation = OperationBuilder::new()
                .tag("data plane")
                .operation_id(Some(format!("{verb}_{}", words.join("_"))))
                .summary(Some(*what))
                .responses(answers(provider));
            for scheme in ["bearer"].into_iter().chain(keys().map(|(scheme, _)| scheme)) {
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
            document.paths.paths.insert((*path).to_owned(), PathItem::new(method, operation));
        }
    }
}

fn answers(provider: Provider) -> ResponsesBuilder {
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
