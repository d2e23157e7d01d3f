//! Administration of the provider's account: calls that hand out credentials, or change the account, its models or its
//! machines. A gateway's users act with the company's key, so these are refused unless a target is set up for them.

use http::Method;

use super::credential::percent_decoded;
use crate::dialect;
use crate::domain::failure::{Failure, Kind};
use crate::domain::provider::Provider;

/// Wherever these stand in a path, it is about keys, people or money: administration at `OpenAI` and Anthropic, secrets
/// for browsers and realtime sessions, Google's ephemeral tokens, the keys of routers such as `OpenRouter` and `LiteLLM`.
const ADMINISTRATION: [&str; 20] = [
    "organization",
    "organizations",
    "admin_api_keys",
    "api_keys",
    "apikeys",
    "keys",
    "key",
    "client_secrets",
    "auth_tokens",
    "service_accounts",
    "credentials",
    "vaults",
    "oauth",
    "permissions",
    "webhook_endpoints",
    "billing",
    "credits",
    "certificates",
    "invites",
    "chatkit",
];
/// The same right behind the version, and the switches of machines that people run themselves.
const AT_THE_ROOT: [&str; 19] = [
    "user",
    "users",
    "team",
    "customer",
    "budget",
    "config",
    "spend",
    "dashboard",
    "usage",
    "me",
    "sleep",
    "wake_up",
    "load_lora_adapter",
    "unload_lora_adapter",
    "lora-adapters",
    "collective_rpc",
    "reset_prefix_cache",
    "update_weights",
    "shutdown",
];
/// What changes the account's models; reading it is harmless.
const MODELS_OF_ITS_OWN: [&str; 6] =
    ["fine_tuning", "fine-tunes", "tuningjobs", "customjobs", "trainingpipelines", "tunedmodels"];
/// Google's verbs of this kind.
const VERBS: [&str; 5] =
    ["transferownership", "setiampolicy", "deploymodel", "undeploymodel", "generateaccesstoken"];

/// Whether a call administers the provider's account; `path` as the provider knows it.
pub(super) fn is_admin(provider: Provider, method: &Method, path: &str) -> bool {
    let decoded;
    let path = if path.contains('%') {
        decoded = String::from_utf8_lossy(&percent_decoded(path.as_bytes())).into_owned();
        &decoded
    } else {
        path
    };
    let is = |segment: &str, names: &[&str]| names.iter().any(|name| segment.eq_ignore_ascii_case(name));
    let mut segments = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or_default())
        .filter(|segment| !segment.is_empty())
        .peekable();
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let first = segments.next_if(|segment| is(segment, &["api", "v1", "v1beta", "v1beta1", "v1alpha"]));
    let root = segments.peek().copied().unwrap_or_default();
    if is(root, &AT_THE_ROOT)
        || dialect::is_admin(provider, first, root)
        || (is(root, &["models"]) && matches!(*method, Method::DELETE | Method::PATCH | Method::PUT))
    {
        return true;
    }
    let mut before = "";
    segments.any(|segment| {
        let (name, verb) = segment.split_once(':').unwrap_or((segment, ""));
        let gives_a_secret = is(before, &["realtime"]) && is(name, &["sessions", "transcription_sessions"]);
        let is_in_tuned = is(before, &["tunedModels"]);
        before = name;
        is(segment, &ADMINISTRATION)
            || is(verb, &VERBS)
            || gives_a_secret
            || (!reads && is(segment, &MODELS_OF_ITS_OWN) && !path.contains(':'))
            || (is_in_tuned && matches!(*method, Method::DELETE | Method::PATCH))
    })
}

/// What a caller of such a path is told.
pub(super) fn refused() -> Failure {
    Failure::new(
        Kind::Forbidden,
        "this path manages the provider's recorder and is not for callers: a target with `allow_admin_paths = true` \
         would take it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_out_credentials_or_changes_the_account_is_told_from_what_people_call() {
        use Provider::{Anthropic, Gemini, Ollama, Openai};
        for (provider, call) in [
            (Openai, "POST /v1/realtime/client_secrets"),
            (Openai, "POST /v1/realtime/sessions"),
            (Openai, "GET /v1/organization/admin_api_keys"),
            (Openai, "GET /v1/Organi%7Aation/users"),
            (Openai, "POST /v1/organization;x/invites"),
            (Openai, "POST /v1/chatkit/sessions"),
            (Openai, "POST /v1/projects/p/service_accounts"),
            (Openai, "POST /v1/fine_tuning/jobs"),
            (Openai, "GET /v1/fine_tuning/checkpoints/c/permissions"),
            (Openai, "DELETE /v1/models/ft:gpt-5:x"),
            (Openai, "POST /key/generate"),
            (Openai, "POST /sleep"),
            (Anthropic, "GET /v1/organizations/api_keys"),
            (Anthropic, "POST /api/oauth/claude_cli/create_api_key"),
            (Anthropic, "POST /v1/vaults/v/credentials"),
            (Gemini, "POST /v1alpha/auth_tokens"),
            (Gemini, "POST /v1beta/tunedModels"),
            (Gemini, "DELETE /v1beta/tunedModels/mine"),
            (Gemini, "POST /v1beta/tunedModels/mine:transferOwnership"),
            (Gemini, "POST /v1/projects/p/locations/l/tuningJobs"),
            (Ollama, "DELETE /api/delete"),
            (Ollama, "POST /api/pull"),
            (Ollama, "HEAD /api/blobs/sha256:x"),
        ] {
            let (method, path) = call.split_once(' ').unwrap();
            assert!(is_admin(provider, &method.parse().unwrap(), path), "{call}");
        }
        for (provider, call) in [
            (Openai, "POST /v1/chat/completions"),
            (Openai, "GET /v1/fine_tuning/jobs"),
            (Openai, "GET /v1/models/ft:gpt-5:x"),
            (Openai, "POST /v1/files"),
            (Openai, "POST /v1/realtime/calls"),
            (Anthropic, "POST /v1/messages/count_tokens"),
            (Anthropic, "POST /v1/messages/batches"),
            (Gemini, "POST /v1beta/tunedModels/mine:generateContent"),
            (Gemini, "POST /v1/projects/p/locations/l/publishers/google/models/g:generateContent"),
            (Gemini, "POST /v1beta/models/keys:generateContent"),
            (Ollama, "POST /api/chat"),
            (Ollama, "POST /api/show"),
        ] {
            let (method, path) = call.split_once(' ').unwrap();
            assert!(!is_admin(provider, &method.parse().unwrap(), path), "{call}");
        }
    }
}
