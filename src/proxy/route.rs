//! What a path means: which dialect it speaks, and what is left of it for the provider.

use http::{HeaderMap, Method};

use crate::domain::provider::Provider;
use crate::metering::Endpoint;

/// A call on the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'r> {
    /// The dialect.
    pub provider: Provider,
    /// The path for the provider: the request's, without a prefix such as `/openai`.
    pub path: &'r str,
    /// What kind of call it is.
    pub endpoint: Endpoint,
    /// Whether it asks for the list of models, which the gateway answers itself.
    pub lists_models: bool,
}

/// The meaning of a request on the data plane; none if it is not on it.
#[must_use]
pub fn find<'r>(method: &Method, path: &'r str, headers: &HeaderMap) -> Option<Route<'r>> {
    let (provider, path) = split(path, headers)?;
    let endpoint = Endpoint::of(provider, method, path);
    let lists_models =
        path == "/v1/models" && provider != Provider::Gemini && matches!(*method, Method::GET | Method::HEAD);
    Some(Route { provider, path, endpoint, lists_models })
}

fn split<'r>(path: &'r str, headers: &HeaderMap) -> Option<(Provider, &'r str)> {
    let first = path.get(1..)?.split('/').next()?;
    let rest = &path[1 + first.len()..];
    match first {
        "v1" if rest.len() > 1 => {
            let provider = match rest {
                _ if below(rest, "/messages") || headers.contains_key("anthropic-version") => {
                    Provider::Anthropic
                }
                // Google's newer SDKs call the stable version of their API: `/v1/models/MODEL:verb`.
                _ if below(rest, "/models")
                    && (rest.contains(':') || headers.contains_key("x-goog-api-key")) =>
                {
                    Provider::Gemini
                }
                _ => Provider::Openai,
            };
            Some((provider, path))
        }
        "v1beta" if rest.len() > 1 => Some((Provider::Gemini, path)),
        "api" if rest.len() > 1 => Some((Provider::Ollama, path)),
        name if rest.len() > 1 => name.parse().ok().map(|provider| (provider, rest)),
        _ => None,
    }
}

/// Whether `path` is `prefix` or lies below it.
fn below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_the_providers_mean_by_them() {
        use Endpoint::{Deferred, Free, Inference, Other};
        use Provider::{Anthropic, Gemini, Ollama, Openai};
        for (call, provider, path, endpoint) in [
            ("POST /v1/messages", Anthropic, "/v1/messages", Inference),
            ("POST /v1/messages/count_tokens", Anthropic, "/v1/messages/count_tokens", Free),
            ("POST /v1/messages/batches", Anthropic, "/v1/messages/batches", Deferred),
            ("POST /v1/chat/completions", Openai, "/v1/chat/completions", Inference),
            ("POST /openai/v1/responses", Openai, "/v1/responses", Inference),
            ("GET /v1/responses/resp_1", Openai, "/v1/responses/resp_1", Other),
            ("POST /openai/chat/completions", Openai, "/chat/completions", Inference),
            ("GET /v1/models", Openai, "/v1/models", Free),
            ("GET /v1/models/gpt-5", Openai, "/v1/models/gpt-5", Free),
            (
                "POST /v1beta/models/g:streamGenerateContent",
                Gemini,
                "/v1beta/models/g:streamGenerateContent",
                Inference,
            ),
            ("POST /v1beta/models/g:countTokens", Gemini, "/v1beta/models/g:countTokens", Free),
            ("POST /v1/models/g:generateContent", Gemini, "/v1/models/g:generateContent", Inference),
            ("POST /api/chat", Ollama, "/api/chat", Inference),
            ("GET /api/tags", Ollama, "/api/tags", Free),
            ("POST /ollama/api/generate", Ollama, "/api/generate", Inference),
        ] {
            let (method, asked) = call.split_once(' ').unwrap();
            let found = find(&method.parse().unwrap(), asked, &HeaderMap::new());
            let lists_models = path == "/v1/models";
            assert_eq!(found, Some(Route { provider, path, endpoint, lists_models }), "{call}");
        }
        for path in ["/", "/v1", "/v1/", "/metrics", "/admin/v1/users", "/auth/login", "/apiary/x", ""] {
            assert_eq!(find(&Method::GET, path, &HeaderMap::new()), None, "{path}");
        }
    }

    #[test]
    fn the_header_decides_where_the_path_does_not() {
        let mut headers = HeaderMap::new();
        headers.insert("anthropic-version", "2023-06-01".parse().unwrap());
        let route = find(&Method::GET, "/v1/models", &headers).unwrap();
        assert!(route.provider == Provider::Anthropic && route.lists_models);
    }
}
