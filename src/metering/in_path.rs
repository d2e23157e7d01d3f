//! The model that a path names: Gemini's `/v1beta/models/MODEL:verb`, and the deployments of OpenAI's dialect.

use crate::domain::provider::Provider;

/// What a path says of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InPath<'p> {
    /// Nothing: the body names it.
    Nothing,
    /// This one, whatever the body says.
    Certainly(&'p str),
    /// Probably this one; a provider may read the path otherwise.
    Perhaps(&'p str),
}

impl<'p> InPath<'p> {
    /// Looks at the path of a call, as the provider knows it, without a query.
    #[must_use]
    pub fn of(provider: Provider, path: &'p str) -> Self {
        match provider {
            Provider::Gemini if !path.contains("/openai/") => gemini(path),
            Provider::Openai => openai(path),
            Provider::Anthropic => anthropic(path),
            _ => Self::Nothing,
        }
    }
}

/// `/v1beta/models/gemini-3-pro:generateContent` → `gemini-3-pro`; a tuned model is `tunedModels/NAME`.
fn gemini(path: &str) -> InPath<'_> {
    let Some((before, verb)) = path.split_once(':') else { return listed(path) };
    let Some(slash) = before.rfind('/') else { return InPath::Nothing };
    let name = before.get(slash + 1..).unwrap_or_default();
    let collection = before.get(..slash).and_then(|above| above.rfind('/'));
    let whole = collection.and_then(|at| before.get(at + 1..)).unwrap_or(name);
    if STORED.iter().any(|stored| whole.starts_with(stored)) {
        return InPath::Nothing;
    }
    let in_models = whole.len() == name.len() + "models/".len() && whole.starts_with("models/");
    let model = if in_models { name } else { whole };
    let is_certain = (in_models || whole.starts_with("tunedModels/"))
        && !name.is_empty()
        && !verb.contains([':', '/'])
        && !path.contains(['%', ';']);
    if is_certain { InPath::Certainly(model) } else { InPath::Perhaps(model) }
}

/// Collections of Google's that have verbs of their own and are no models.
const STORED: [&str; 7] =
    ["files/", "cachedContents/", "corpora/", "documents/", "fileSearchStores/", "operations/", "batches/"];

/// Claude at Google: `/v1/projects/P/locations/L/publishers/anthropic/models/NAME:rawPredict`, with no model in the body
/// unless it is about counting its tokens.
fn anthropic(path: &str) -> InPath<'_> {
    let Some((_, behind)) = path.split_once("/publishers/anthropic/models/") else { return InPath::Nothing };
    match behind.split_once(':') {
        Some(("count-tokens", _)) => InPath::Nothing,
        Some((name, verb)) if !name.is_empty() && !name.contains('/') && !verb.contains([':', '/']) => {
            if path.contains(['%', ';']) { InPath::Perhaps(name) } else { InPath::Certainly(name) }
        }
        _ => InPath::Perhaps(behind),
    }
}

/// Without a verb nothing is generated, but it is still that model that is meant.
fn listed(path: &str) -> InPath<'_> {
    let behind = path.split_once("/models/").and_then(|(_, behind)| behind.split('/').next());
    behind.filter(|model| !model.is_empty()).map_or(InPath::Nothing, InPath::Perhaps)
}

/// `/v1/models/NAME`, Azure's `/deployments/NAME/chat/completions`, and the `/v1/engines/NAME/completions` of old.
fn openai(path: &str) -> InPath<'_> {
    if let Some(model) = path.strip_prefix("/v1").unwrap_or(path).strip_prefix("/models/") {
        let is_name = !model.is_empty() && !model.contains(['%', ';']);
        return if is_name { InPath::Perhaps(model) } else { InPath::Nothing };
    }
    let behind = ["/deployments/", "/engines/"].iter().find_map(|base| path.split_once(base));
    let Some((_, behind)) = behind else { return InPath::Nothing };
    let name = behind.split('/').next().unwrap_or_default();
    let again = behind.contains("/deployments/") || behind.contains("/engines/");
    let is_certain = !name.is_empty() && !again && !path.contains(['%', ';']);
    if is_certain { InPath::Certainly(name) } else { InPath::Perhaps(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_where_the_provider_looks_for_it() {
        use InPath::{Certainly, Nothing, Perhaps};
        use Provider::{Anthropic, Gemini, Openai};
        for (provider, path, expected) in [
            (Gemini, "/v1beta/models/gemini-3-pro:generateContent", Certainly("gemini-3-pro")),
            (Gemini, "/v1/p/l/publishers/google/models/g:predict", Certainly("g")),
            (Gemini, "/v1beta/tunedModels/mine:generateContent", Certainly("tunedModels/mine")),
            (Gemini, "/v1beta/models/allowed/other:generateContent", Perhaps("allowed/other")),
            (Gemini, "/v1beta/models/allowed%2Fother:generateContent", Perhaps("allowed%2Fother")),
            (Gemini, "/v1beta/models/allowed:x/models/other:generateContent", Perhaps("allowed")),
            (Gemini, "/v1beta/models/gemini-3-pro", Perhaps("gemini-3-pro")),
            (Gemini, "/v1beta/models", Nothing),
            (Gemini, "/v1beta/interactions", Nothing),
            (Gemini, "/v1beta/openai/chat/completions", Nothing),
            (Openai, "/deployments/gpt-5/chat/completions", Certainly("gpt-5")),
            (Openai, "/v1/engines/davinci/completions", Certainly("davinci")),
            (Openai, "/deployments/a/deployments/b/x", Perhaps("a")),
            (Openai, "/v1/chat/completions", Nothing),
            (Openai, "/v1/models/ft:gpt-5:acme::x", Perhaps("ft:gpt-5:acme::x")),
            (Openai, "/v1/models/org%2Fx", Nothing),
            (Anthropic, "/v1/messages", Nothing),
            (
                Anthropic,
                "/v1/projects/p/locations/l/publishers/anthropic/models/c@1:rawPredict",
                Certainly("c@1"),
            ),
            (Anthropic, "/v1/p/publishers/anthropic/models/count-tokens:rawPredict", Nothing),
            (Gemini, "/v1beta/files/x:download", Nothing),
            (Gemini, "/upload/v1beta/files", Nothing),
        ] {
            assert_eq!(InPath::of(provider, path), expected, "{path}");
        }
    }
}
