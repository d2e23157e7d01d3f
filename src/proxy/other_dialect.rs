//! Where a model is served that no target of the asked dialect serves: the usual mistake of a client that speaks one
//! dialect to every model.

use std::fmt::Write;

use crate::dialect::Billing;
use crate::dialect::route::Route;
use crate::domain::failure::Failure;
use crate::domain::model_name::canonical;
use crate::domain::principal::Principal;
use crate::domain::provider::Provider;
use crate::domain::quoted::Quoted;
use crate::upstream::{SendError, Target, Upstream, Wanted, WantedModel};

/// What a caller is told for whose call there is no target; with the path, where the model has one that it may use.
pub(super) fn refused(
    none: &SendError,
    upstream: &Upstream,
    principal: &Principal,
    (route, wanted): (&Route<'_>, &Wanted),
) -> Failure {
    let mut failure = Failure::from(none);
    let (SendError::NoTarget { .. }, WantedModel::Named(model)) = (none, &wanted.model) else {
        return failure;
    };
    if route.billing != Billing::Inference || wanted.is_housekeeping || !principal.permits_model(model) {
        return failure;
    }
    let embeds = ["embed", "Embed"].iter().any(|word| route.path.contains(word));
    let serving = |dialect: &Provider| {
        let mut targets = upstream.targets().iter().filter(|target| target.provider() == *dialect);
        *dialect != route.provider && targets.any(|target| is_likely_to_serve(target, model))
    };
    let paths: Vec<String> = Provider::ALL
        .into_iter()
        .filter(serving)
        .filter_map(|dialect| path(dialect, model, embeds))
        .collect();
    if !paths.is_empty() {
        let _ = write!(failure.message, "; it is served here at {}", paths.join(" or "));
    }
    failure
}

/// Whether a target serves a model. That it serves everything is believed where it is not the dialect of another maker
/// than the model's; OpenAI's is spoken by servers of everybody's models.
fn is_likely_to_serve(target: &Target, model: &str) -> bool {
    if !target.serves_everything() {
        return target.serves(model);
    }
    target.provider() == Provider::Openai || maker(model).is_none_or(|maker| maker == target.provider())
}

/// Whose model it is by its name, of those that serve their models in a dialect of their own.
fn maker(model: &str) -> Option<Provider> {
    let name = canonical(model);
    let is = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    match () {
        () if is(&["claude"]) => Some(Provider::Anthropic),
        () if is(&["gemini"]) => Some(Provider::Gemini),
        // Its open models are everywhere.
        () if is(&["gpt-oss"]) => None,
        () if is(&["gpt-", "chatgpt", "o1", "o3", "o4", "text-embedding-"]) => Some(Provider::Openai),
        () => None,
    }
}

/// Where a model is asked in a dialect.
fn path(dialect: Provider, model: &str, embeds: bool) -> Option<String> {
    let path = match (dialect, embeds) {
        (Provider::Anthropic, false) => "/v1/messages",
        (Provider::Anthropic, true) => return None,
        (Provider::Openai, false) => "/v1/chat/completions",
        (Provider::Openai, true) => "/v1/embeddings",
        (Provider::Gemini, false) => {
            return Some(format!("/v1beta/models/{}:generateContent", Quoted(model)));
        }
        (Provider::Gemini, true) => return Some(format!("/v1beta/models/{}:embedContent", Quoted(model))),
        (Provider::Ollama, false) => "/api/chat",
        (Provider::Ollama, true) => "/api/embed",
    };
    Some(path.to_owned())
}
