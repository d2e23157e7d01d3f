//! Which calls spend tokens. Only the kind of a call is told from its method and path; what its answer holds is told
//! from the answer.
//!
//! What is not known spends: only the places listed here do not, so that a new one cannot be a way around the books.

use http::Method;

use crate::domain::provider::Provider;

/// What a call is, as far as the books are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Spends tokens; its answer is metered.
    Inference,
    /// Costs nothing and stays out of the books: token counting, reading lists of models.
    Free,
    /// Passes and is logged, but spends nothing by itself: files, stored answers.
    Other,
    /// Passes and is logged; orders what is done later or elsewhere, and which no answer tells the usage of: batches,
    /// fine-tuning, credentials for realtime sessions.
    Deferred,
}

/// What stands at a path, whatever is done there.
enum Place {
    /// Counts tokens, or describes a model, when it is asked by POST.
    Counts,
    /// Models, to be read.
    Lists,
    /// Things that are kept for the caller.
    Keeps,
    /// Work for later.
    Orders,
    /// Anything else.
    Answers,
}

impl Endpoint {
    /// What `method path` is at `provider`; `path` as the provider knows it, without a query.
    #[must_use]
    pub fn of(provider: Provider, method: &Method, path: &str) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let may_spend = !reads && !matches!(*method, Method::DELETE | Method::OPTIONS);
        if may_spend && path.contains(['%', ';']) {
            // A provider may read it as another place than it looks like here.
            return Self::Inference;
        }
        match place(provider, path) {
            Place::Counts if method == Method::POST => Self::Free,
            Place::Lists if reads => Self::Free,
            Place::Keeps => Self::Other,
            Place::Orders if may_spend => Self::Deferred,
            _ if may_spend => Self::Inference,
            _ => Self::Other,
        }
    }
}

fn place(provider: Provider, path: &str) -> Place {
    match provider {
        Provider::Anthropic => anthropic(path),
        Provider::Openai => openai(path),
        Provider::Gemini => gemini(path),
        Provider::Ollama => ollama(path),
    }
}

fn anthropic(path: &str) -> Place {
    match path {
        "/v1/messages/count_tokens" => Place::Counts,
        _ if path.ends_with("/publishers/anthropic/models/count-tokens:rawPredict") => Place::Counts,
        _ if is_under(path, "/v1/models") => Place::Lists,
        _ if is_under(path, "/v1/messages/batches") => orders(path),
        _ if is_under_any(path, &["/v1/files", "/v1/skills", "/v1/organizations"]) => Place::Keeps,
        _ => Place::Answers,
    }
}

/// The same with and without `/v1`, which may be a part of the target's URL.
fn openai(path: &str) -> Place {
    const KEEPS: [&str; 8] = [
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
    let stored = |base, end| {
        let id = |rest: &str| rest.strip_suffix(end).is_some_and(is_id);
        path.strip_prefix(base).is_some_and(id)
    };
    match path {
        "/responses/input_tokens" | "/messages/count_tokens" => Place::Counts,
        _ if is_under(path, "/models") => Place::Lists,
        _ if is_under_any(path, &["/batches", "/fine_tuning", "/evals", "/realtime"]) => orders(path),
        _ if is_under_any(path, &KEEPS) => Place::Keeps,
        _ if is_under(path, "/threads") && (!path.contains("/runs") || path.ends_with("/cancel")) => {
            Place::Keeps
        }
        _ if stored("/chat/completions/", "") || stored("/responses/", "/cancel") => Place::Keeps,
        _ => Place::Answers,
    }
}

/// Below any version: `/v1beta`, `/v1`, `/v1alpha`, `/v1beta1`; of the stores also behind `/upload` and `/download`.
fn gemini(path: &str) -> Place {
    const STORES: [&str; 4] = ["/cachedContents", "/files", "/corpora", "/fileSearchStores"];
    let moved = ["/upload/", "/download/"].iter().find_map(|moved| path.strip_prefix(moved));
    if let Some((_, stored)) = moved.and_then(|moved| moved.split_once('/')) {
        let is_store = |store: &str| store.get(1..).is_some_and(|store| is_under(stored, store));
        return if STORES.iter().any(|store| is_store(store)) { Place::Keeps } else { Place::Answers };
    }
    let below = path.get(1..).and_then(|path| path.find('/')).and_then(|at| path.get(at + 1..));
    let path = vertex(below.unwrap_or_default());
    if let Some(path) = path.strip_prefix("/openai").or_else(|| path.strip_prefix("/endpoints/openapi")) {
        return openai(path);
    }
    match path.split_once(':') {
        Some((name, "countTokens" | "computeTokens")) if is_under_any(name, &["/models", "/tunedModels"]) => {
            Place::Counts
        }
        Some((_, "batchGenerateContent" | "asyncBatchEmbedContent")) => Place::Orders,
        Some((_, "cancel")) => Place::Keeps,
        None if matches!(path, "/tunedModels" | "/auth_tokens") => Place::Orders,
        None if is_under_any(path, &["/batchPredictionJobs", "/tuningJobs"]) => Place::Orders,
        None if is_under(path, "/models") => Place::Lists,
        None if is_under_any(path, &STORES) => Place::Keeps,
        _ => Place::Answers,
    }
}

/// What follows the project and the publisher in a path of Google's cloud:
/// `/projects/P/locations/L/publishers/google/models/…`.
fn vertex(path: &str) -> &str {
    let behind = |path, start: &str| {
        let rest: &str = str::strip_prefix(path, start)?;
        rest.find('/').and_then(|at| rest.get(at..))
    };
    let path = behind(path, "/projects/").and_then(|rest| behind(rest, "/locations/")).unwrap_or(path);
    behind(path, "/publishers/").unwrap_or(path)
}

fn ollama(path: &str) -> Place {
    const KEEPS: [&str; 6] =
        ["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs"];
    match path {
        "/api/show" => Place::Counts,
        "/api/tags" | "/api/ps" | "/api/version" => Place::Lists,
        _ if is_under_any(path, &KEEPS) => Place::Keeps,
        _ if path.starts_with("/v1/") => openai(path),
        _ => Place::Answers,
    }
}

fn orders(path: &str) -> Place {
    if path.ends_with("/cancel") { Place::Keeps } else { Place::Orders }
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Whether `path` is `base` or lies below it.
fn is_under(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_under_any(path: &str, bases: &[&str]) -> bool {
    bases.iter().any(|base| is_under(path, base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_spend_tokens_are_told_from_free_ones_and_from_housekeeping() {
        use Endpoint::{Deferred, Free, Inference, Other};
        use Provider::{Anthropic, Gemini, Ollama, Openai};
        for (provider, method, path, expected) in [
            (Anthropic, "POST", "/v1/messages", Inference),
            (Anthropic, "POST", "/v1/messages/", Inference),
            (Anthropic, "POST", "/v1/messages/count_tokens", Free),
            (Anthropic, "POST", "/v1/messages/batches", Deferred),
            (Anthropic, "GET", "/v1/messages/batches/b/results", Other),
            (Anthropic, "POST", "/v1/messages/batches/b/cancel", Other),
            (Anthropic, "GET", "/v1/models/claude-opus-4-5", Free),
            (Anthropic, "POST", "/v1/models/claude-opus-4-5", Inference),
            (Anthropic, "POST", "/v1/brand/new", Inference),
            (Openai, "POST", "/v1/chat/completions", Inference),
            (Openai, "POST", "/v1/chat/completions/chatcmpl-1", Other),
            (Openai, "POST", "/v1/chat/completions/;x", Inference),
            (Openai, "POST", "/v1/chat/completions/x/y", Inference),
            (Openai, "POST", "/v1/responses", Inference),
            (Openai, "GET", "/v1/responses/resp_1", Other),
            (Openai, "POST", "/v1/responses/resp_1/cancel", Other),
            (Openai, "POST", "/v1/deployments/cancel", Inference),
            (Openai, "POST", "/v1/responses/input_tokens", Free),
            (Openai, "POST", "/v1/responses/compact", Inference),
            (Openai, "POST", "/v1/rerank", Inference),
            (Openai, "POST", "/v1/files", Other),
            (Openai, "POST", "/files", Other),
            (Openai, "POST", "/v1/files%2f", Inference),
            (Openai, "POST", "/v1/batches", Deferred),
            (Openai, "GET", "/v1/batches", Other),
            (Openai, "POST", "/v1/realtime/client_secrets", Deferred),
            (Openai, "POST", "/v1/threads", Other),
            (Openai, "POST", "/v1/threads/t/messages", Other),
            (Openai, "POST", "/v1/threads/runs", Inference),
            (Openai, "POST", "/v1/threads/t/runs/r/submit_tool_outputs", Inference),
            (Openai, "POST", "/v1/threads/t/runs/r/cancel", Other),
            (Openai, "GET", "/v1/models", Free),
            (Openai, "GET", "/v1/models/org%2Fmodel", Free),
            (Openai, "POST", "/v1/models", Inference),
            (Openai, "DELETE", "/v1/models/ft-1", Other),
            (Gemini, "POST", "/v1beta/models/gemini-3-pro:streamGenerateContent", Inference),
            (Gemini, "POST", "/v1beta/models/gemini-3-pro%3AgenerateContent", Inference),
            (Gemini, "POST", "/v1beta/models/gemini-3-pro:countTokens", Free),
            (Gemini, "POST", "/v1beta/models/g:generateContent:countTokens", Inference),
            (Gemini, "POST", "/v1beta/models/gemini-3-pro:batchGenerateContent", Deferred),
            (Gemini, "POST", "/v1beta/openai/chat/completions", Inference),
            (Gemini, "POST", "/v1beta/openai/files", Other),
            (Gemini, "GET", "/v1beta/openai/models", Free),
            (Gemini, "GET", "/v1beta/models", Free),
            (Gemini, "GET", "/v1beta/models/gemini-3-pro", Free),
            (Gemini, "POST", "/v1beta/cachedContents", Other),
            (Gemini, "POST", "/v1beta/interactions", Inference),
            (Gemini, "POST", "/v1beta/batches/b:cancel", Other),
            (Gemini, "POST", "/upload/v1beta/files", Other),
            (Gemini, "PUT", "/upload/v1beta/files", Other),
            (Gemini, "POST", "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore", Other),
            (Gemini, "POST", "/upload/v1beta/models/g:generateContent", Inference),
            (
                Gemini,
                "POST",
                "/v1/projects/p/locations/l/publishers/google/models/g:generateContent",
                Inference,
            ),
            (Gemini, "POST", "/v1/projects/p/locations/l/publishers/google/models/g:countTokens", Free),
            (Gemini, "POST", "/v1/projects/p/locations/l/cachedContents", Other),
            (Gemini, "POST", "/v1/projects/p/locations/l/batchPredictionJobs", Deferred),
            (Gemini, "POST", "/v1/projects/p/locations/l/endpoints/openapi/chat/completions", Inference),
            (Anthropic, "POST", "/v1/p/publishers/anthropic/models/count-tokens:rawPredict", Free),
            (Anthropic, "POST", "/v1/p/publishers/anthropic/models/c:rawPredict", Inference),
            (Ollama, "POST", "/api/chat", Inference),
            (Ollama, "GET", "/api/tags", Free),
            (Ollama, "POST", "/api/tags", Inference),
            (Ollama, "POST", "/api/show", Free),
            (Ollama, "POST", "/api/pull", Other),
            (Ollama, "POST", "/v1/messages", Inference),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(Endpoint::of(provider, &method, path), expected, "{provider} {method} {path}");
        }
    }
}
