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
    if path.strip_prefix("/v1").is_some_and(versioned) {
        return None;
    }
    let (provider, path) = split(method, path, headers)?;
    let endpoint = Endpoint::of(provider, method, path);
    let lists_models =
        path == "/v1/models" && provider != Provider::Gemini && matches!(*method, Method::GET | Method::HEAD);
    Some(Route { provider, path, endpoint, lists_models })
}

/// What a path was probably meant to be that is on neither plane: the usual mistakes with a base URL, which has the
/// version twice or not at all. The dialect, and what to do.
#[must_use]
pub fn meant(path: &str) -> Option<(Provider, &'static str)> {
    const OPENAIS: [&str; 4] = ["/chat/completions", "/responses", "/completions", "/embeddings"];
    if let Some(rest) = path.strip_prefix("/v1").filter(|rest| versioned(rest)) {
        let provider = match rest {
            _ if rest.starts_with("/v1beta/") => Provider::Gemini,
            _ if below(rest, "/v1/messages") => Provider::Anthropic,
            _ => Provider::Openai,
        };
        return Some((provider, "the path has a version twice: leave /v1 out of the client's base URL"));
    }
    if below(path, "/messages") {
        return Some((Provider::Anthropic, "there is nothing here: did you mean /v1/messages?"));
    }
    if OPENAIS.iter().any(|base| below(path, base)) {
        return Some((Provider::Openai, "there is nothing here: add /v1 to the client's base URL"));
    }
    (below(path, "/models") && has_verb(path))
        .then_some((Provider::Gemini, "there is nothing here: add /v1beta to the client's base URL"))
}

fn versioned(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/v1beta/")
}

fn split<'r>(method: &Method, path: &'r str, headers: &HeaderMap) -> Option<(Provider, &'r str)> {
    let first = path.get(1..)?.split('/').next()?;
    let rest = &path[1 + first.len()..];
    match first {
        "v1" if rest.len() > 1 => Some((first_version(method, rest, headers), path)),
        "v1beta" | "v1beta1" | "v1alpha" if rest.len() > 1 => Some((google(rest), path)),
        // Google moves files elsewhere than it keeps them: `/upload/v1beta/files`.
        "upload" | "download" => {
            let versions = ["/v1/", "/v1beta/", "/v1beta1/", "/v1alpha/"];
            versions.iter().any(|version| rest.starts_with(version)).then_some((Provider::Gemini, path))
        }
        "api" if rest.len() > 1 => Some((Provider::Ollama, path)),
        name if rest.len() > 1 => name.parse().ok().map(|provider| (provider, rest)),
        _ => None,
    }
}

/// Whose `/v1/…` it is: everybody has one.
fn first_version(method: &Method, rest: &str, headers: &HeaderMap) -> Provider {
    const GOOGLES: [&str; 7] = [
        "/projects",
        "/publishers",
        "/tunedModels",
        "/cachedContents",
        "/corpora",
        "/fileSearchStores",
        "/operations",
    ];
    match rest {
        _ if GOOGLES.iter().any(|base| below(rest, base)) => google(rest),
        _ if below(rest, "/messages") || headers.contains_key("anthropic-version") => Provider::Anthropic,
        // Google's newer SDKs call the stable version of their API: `/v1/models/MODEL:verb`. Names of models that were
        // tuned at OpenAI have colons, too, but nothing is posted to a model there.
        _ if below(rest, "/models")
            && (headers.contains_key("x-goog-api-key") || (*method == Method::POST && has_verb(rest))) =>
        {
            Provider::Gemini
        }
        _ => Provider::Openai,
    }
}

/// Google's cloud serves its own models and those of others, each in its maker's dialect.
fn google(rest: &str) -> Provider {
    if rest.contains("/publishers/anthropic/") { Provider::Anthropic } else { Provider::Gemini }
}

fn has_verb(path: &str) -> bool {
    path.contains(':') || path.contains("%3A") || path.contains("%3a")
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
            ("POST /upload/v1beta/files", Gemini, "/upload/v1beta/files", Other),
            ("POST /gemini/upload/v1beta/files", Gemini, "/upload/v1beta/files", Other),
            ("GET /download/v1beta/files/f:download", Gemini, "/download/v1beta/files/f:download", Other),
            ("POST /v1alpha/models/g:countTokens", Gemini, "/v1alpha/models/g:countTokens", Free),
            ("POST /v1/models/g%3AgenerateContent", Gemini, "/v1/models/g%3AgenerateContent", Inference),
            ("DELETE /v1/models/ft:gpt-5:x", Openai, "/v1/models/ft:gpt-5:x", Other),
            ("POST /v1/projects/p/x", Gemini, "/v1/projects/p/x", Inference),
            (
                "POST /v1beta1/projects/p/publishers/anthropic/models/c:rawPredict",
                Anthropic,
                "/v1beta1/projects/p/publishers/anthropic/models/c:rawPredict",
                Inference,
            ),
            ("POST /api/chat", Ollama, "/api/chat", Inference),
            ("GET /api/tags", Ollama, "/api/tags", Free),
            ("POST /ollama/api/generate", Ollama, "/api/generate", Inference),
        ] {
            let (method, asked) = call.split_once(' ').unwrap();
            let found = find(&method.parse().unwrap(), asked, &HeaderMap::new());
            let lists_models = path == "/v1/models";
            assert_eq!(found, Some(Route { provider, path, endpoint, lists_models }), "{call}");
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
