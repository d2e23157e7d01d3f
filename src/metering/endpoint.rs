//! Which calls spend tokens. Only the kind of a call is told from its path; what its answer holds is told from
//! the answer.

use http::Method;

use crate::domain::provider::Provider;

/// What a call is, as far as the books are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Spends tokens; its answer is metered.
    Inference,
    /// Costs nothing and stays out of the books: token counting, model lists.
    Free,
    /// Passes and is logged, but spends nothing by itself: files, batches, stored answers.
    Other,
}

impl Endpoint {
    /// What `method path` is at `provider`; `path` as the provider knows it, without a query.
    #[must_use]
    pub fn of(provider: Provider, method: &Method, path: &str) -> Self {
        let path = path.trim_end_matches('/');
        match provider {
            Provider::Anthropic => anthropic(method, path),
            Provider::Openai => openai(method, path),
            Provider::Gemini => gemini(method, path),
            Provider::Ollama => ollama(method, path),
        }
    }
}

fn anthropic(method: &Method, path: &str) -> Endpoint {
    match path {
        "/v1/messages" | "/v1/complete" if method == Method::POST => Endpoint::Inference,
        "/v1/messages/count_tokens" => Endpoint::Free,
        _ if is_under(path, "/v1/models") => Endpoint::Free,
        _ => Endpoint::Other,
    }
}

/// Whatever is posted spends tokens, unless it is known to manage stored things: compatible servers have
/// endpoints of their own (`/v1/rerank`, `/openai/deployments/…/chat/completions`).
fn openai(method: &Method, path: &str) -> Endpoint {
    const NOT_INFERENCE: [&str; 13] = [
        "/v1/files",
        "/v1/uploads",
        "/v1/batches",
        "/v1/fine_tuning",
        "/v1/vector_stores",
        "/v1/conversations",
        "/v1/containers",
        "/v1/assistants",
        "/v1/threads",
        "/v1/evals",
        "/v1/organization",
        "/v1/moderations",
        "/v1/chat/completions/",
    ];
    if is_under(path, "/v1/models") || path == "/v1/responses/input_tokens" {
        return Endpoint::Free;
    }
    let manages = NOT_INFERENCE.iter().any(|base| is_under(path, base)) || path.ends_with("/cancel");
    if method == Method::POST && !manages { Endpoint::Inference } else { Endpoint::Other }
}

fn gemini(method: &Method, path: &str) -> Endpoint {
    let verb = path.rsplit_once(':').map_or("", |(_, verb)| verb);
    match verb {
        "countTokens" => Endpoint::Free,
        "generateContent"
        | "streamGenerateContent"
        | "embedContent"
        | "batchEmbedContents"
        | "predict"
        | "generateAnswer"
        | "generateText"
        | "embedText"
            if method == Method::POST =>
        {
            Endpoint::Inference
        }
        "" if path.contains("/openai/") && !path.contains("/openai/models") => {
            if method == Method::POST {
                Endpoint::Inference
            } else {
                Endpoint::Other
            }
        }
        "" if method == Method::GET && path.contains("/models") => Endpoint::Free,
        _ => Endpoint::Other,
    }
}

fn ollama(method: &Method, path: &str) -> Endpoint {
    match path {
        "/api/chat" | "/api/generate" | "/api/embed" | "/api/embeddings" if method == Method::POST => {
            Endpoint::Inference
        }
        "/api/tags" | "/api/show" | "/api/ps" | "/api/version" => Endpoint::Free,
        _ if path.starts_with("/v1/") => openai(method, path),
        _ => Endpoint::Other,
    }
}

/// Whether `path` is `base` or lies below it; a `base` with a final slash means only what lies below.
fn is_under(path: &str, base: &str) -> bool {
    path.strip_prefix(base)
        .is_some_and(|rest| rest.is_empty() || base.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_spend_tokens_are_told_from_free_ones_and_from_housekeeping() {
        use Endpoint::{Free, Inference, Other};
        use Provider::{Anthropic, Gemini, Ollama, Openai};
        for (provider, method, path, expected) in [
            (Anthropic, "POST", "/v1/messages", Inference),
            (Anthropic, "POST", "/v1/messages/count_tokens", Free),
            (Anthropic, "POST", "/v1/messages/batches", Other),
            (Anthropic, "GET", "/v1/models/claude-opus-4-5", Free),
            (Openai, "POST", "/v1/chat/completions", Inference),
            (Openai, "POST", "/v1/chat/completions/chatcmpl-1", Other),
            (Openai, "POST", "/v1/responses", Inference),
            (Openai, "GET", "/v1/responses/resp_1", Other),
            (Openai, "POST", "/v1/responses/resp_1/cancel", Other),
            (Openai, "POST", "/v1/responses/input_tokens", Free),
            (Openai, "POST", "/v1/rerank", Inference),
            (Openai, "POST", "/v1/files", Other),
            (Openai, "GET", "/v1/models", Free),
            (Gemini, "POST", "/v1beta/models/gemini-3-pro:streamGenerateContent", Inference),
            (Gemini, "POST", "/v1beta/models/gemini-3-pro:countTokens", Free),
            (Gemini, "POST", "/v1beta/openai/chat/completions", Inference),
            (Gemini, "GET", "/v1beta/models", Free),
            (Gemini, "POST", "/v1beta/cachedContents", Other),
            (Ollama, "POST", "/api/chat", Inference),
            (Ollama, "GET", "/api/tags", Free),
            (Ollama, "POST", "/api/pull", Other),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(Endpoint::of(provider, &method, path), expected, "{provider} {method} {path}");
        }
    }
}
