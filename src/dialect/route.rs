//! What a path means: whose dialect it is, and what is left of it for the provider.

use http::{HeaderMap, Method};

use super::billing::Billing;
use super::contents::{Call, Claim};
use crate::domain::provider::Provider;

/// A call on the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'r> {
    pub provider: Provider,
    /// The path for the provider: the request's, without a prefix such as `/openai`.
    pub path: &'r str,
    pub billing: Billing,
    /// Whether it asks for the list of models, which the gateway answers itself.
    pub lists_models: bool,
}

/// Where Claude Code sends its own OTLP once it has signed in at a gateway.
const CLIENT_TELEMETRY: [&str; 3] = ["/v1/metrics", "/v1/logs", "/v1/traces"];

/// The meaning of a request on the data plane; none if it is not on it.
#[must_use]
pub fn find<'r>(method: &Method, path: &'r str, headers: &HeaderMap) -> Option<Route<'r>> {
    if path.strip_prefix("/v1").is_some_and(is_versioned) {
        return None;
    }
    // What a client reports of its users is for no provider, although everybody's `/v1` is.
    if CLIENT_TELEMETRY.contains(&path) {
        return None;
    }
    let call = Call { method, path, headers };
    let (provider, path) = claimed(&call).map(|provider| (provider, path)).or_else(|| named(path))?;
    let billing = super::billing(provider, method, path);
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let lists_models = reads && super::models(provider).listed_at == Some(path);
    Some(Route { provider, path, billing, lists_models })
}

/// The dialect that a call is in by its path and headers. Of several that are sure the first in their order.
fn claimed(call: &Call<'_>) -> Option<Provider> {
    let mut otherwise = None;
    for provider in Provider::ALL {
        match super::claim(provider, call) {
            Claim::Yes => return Some(provider),
            Claim::Fallback => otherwise = otherwise.or(Some(provider)),
            Claim::No => {}
        }
    }
    otherwise
}

/// `/openai/v1/…`: the provider by its name, and the rest of the path.
fn named(path: &str) -> Option<(Provider, &str)> {
    let at = path.get(1..)?.find('/')? + 1;
    let (name, rest) = path.split_at_checked(at)?;
    let provider = name.strip_prefix('/')?.parse().ok()?;
    (rest.len() > 1).then_some((provider, rest))
}

/// What a path was probably meant to be that is on neither plane: the usual mistakes with a base URL, which has the
/// version twice or not at all. The dialect, and what to do.
#[must_use]
pub fn meant(path: &str) -> Option<(Provider, &'static str)> {
    if let Some(rest) = path.strip_prefix("/v1").filter(|rest| is_versioned(rest)) {
        let (method, headers) = (&Method::GET, &HeaderMap::new());
        let provider = claimed(&Call { method, path: rest, headers })?;
        return Some((provider, "the path has a version twice: leave /v1 out of the client's base URL"));
    }
    let mut hints =
        Provider::ALL.into_iter().map(|provider| (provider, super::without_version(provider, path)));
    hints.find_map(|(provider, hint)| Some((provider, hint?)))
}

/// The dialect that a request is to be refused in: of a call on the data plane, or of what was probably meant to be one.
#[must_use]
pub fn dialect_of(method: &Method, path: &str, headers: &HeaderMap) -> Option<Provider> {
    let route = find(method, path, headers).map(|route| route.provider);
    route.or_else(|| meant(path).map(|(provider, _)| provider))
}

fn is_versioned(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/v1beta/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_the_providers_mean_by_them() {
        use Billing::{Deferred, Inference, Unbilled, Untracked};
        use Provider::{Anthropic, Gemini, Ollama, Openai};
        for (call, provider, path, billing) in [
            ("POST /v1/messages", Anthropic, "/v1/messages", Inference),
            ("POST /v1/messages/count_tokens", Anthropic, "/v1/messages/count_tokens", Untracked),
            ("POST /v1/messages/batches", Anthropic, "/v1/messages/batches", Deferred),
            ("POST /v1/chat/completions", Openai, "/v1/chat/completions", Inference),
            ("POST /openai/v1/responses", Openai, "/v1/responses", Inference),
            ("GET /v1/responses/resp_1", Openai, "/v1/responses/resp_1", Unbilled),
            ("POST /openai/chat/completions", Openai, "/chat/completions", Inference),
            ("GET /v1/models", Openai, "/v1/models", Untracked),
            ("GET /v1/models/gpt-5", Openai, "/v1/models/gpt-5", Untracked),
            (
                "POST /v1beta/models/g:streamGenerateContent",
                Gemini,
                "/v1beta/models/g:streamGenerateContent",
                Inference,
            ),
            ("POST /v1beta/models/g:countTokens", Gemini, "/v1beta/models/g:countTokens", Untracked),
            ("POST /v1/models/g:generateContent", Gemini, "/v1/models/g:generateContent", Inference),
            ("POST /upload/v1beta/files", Gemini, "/upload/v1beta/files", Unbilled),
            ("POST /gemini/upload/v1beta/files", Gemini, "/upload/v1beta/files", Unbilled),
            ("GET /download/v1beta/files/f:download", Gemini, "/download/v1beta/files/f:download", Unbilled),
            ("POST /v1alpha/models/g:countTokens", Gemini, "/v1alpha/models/g:countTokens", Untracked),
            ("POST /v1/models/g%3AgenerateContent", Gemini, "/v1/models/g%3AgenerateContent", Inference),
            ("DELETE /v1/models/ft:gpt-5:x", Openai, "/v1/models/ft:gpt-5:x", Unbilled),
            ("POST /v1/projects/p/x", Gemini, "/v1/projects/p/x", Inference),
            (
                "POST /v1beta1/projects/p/publishers/anthropic/models/c:rawPredict",
                Anthropic,
                "/v1beta1/projects/p/publishers/anthropic/models/c:rawPredict",
                Inference,
            ),
            ("POST /api/chat", Ollama, "/api/chat", Inference),
            ("GET /api/tags", Ollama, "/api/tags", Untracked),
            ("POST /ollama/api/generate", Ollama, "/api/generate", Inference),
        ] {
            let (method, asked) = call.split_once(' ').unwrap();
            let found = find(&method.parse().unwrap(), asked, &HeaderMap::new());
            let lists_models = path == "/v1/models";
            assert_eq!(found, Some(Route { provider, path, billing, lists_models }), "{call}");
        }
        for path in
            ["/", "/v1", "/v1/", "/metrics", "/admin/v1/users", "/auth/login", "/apiary/x", "/upload/x", ""]
        {
            assert_eq!(find(&Method::GET, path, &HeaderMap::new()), None, "{path}");
        }
    }

    #[test]
    fn the_usual_mistakes_with_a_base_url_are_told_in_the_dialect_that_was_meant() {
        use Provider::{Anthropic, Gemini, Openai};
        for (path, provider) in [
            ("/messages", Some(Anthropic)),
            ("/messages/count_tokens", Some(Anthropic)),
            ("/v1/v1/messages", Some(Anthropic)),
            ("/chat/completions", Some(Openai)),
            ("/v1/v1/chat/completions", Some(Openai)),
            ("/responses", Some(Openai)),
            ("/models/gemini-2.5-flash:generateContent", Some(Gemini)),
            ("/v1/v1beta/models/g:generateContent", Some(Gemini)),
            ("/models", None),
            ("/chat", None),
            ("/v1", None),
            ("/v1/", None),
            ("/messagesx", None),
        ] {
            assert_eq!(meant(path).map(|(provider, _)| provider), provider, "{path}");
            assert!(provider.is_none() || find(&Method::POST, path, &HeaderMap::new()).is_none(), "{path}");
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
