//! `/v1/models`: every model that the caller may use, in the caller's dialect. Targets whose globs are plain names
//! are taken at their word; the others are asked, and their answer is kept for a minute.

use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::future::join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::converter::Converter;
use super::headers;
use super::response_body::Body;
use super::send::Answered;
use crate::dialect;
use crate::domain::failure::{Failure, Kind};
use crate::domain::principal::Principal;
use crate::domain::provider::Provider;
use crate::upstream::{Target, Upstream, UpstreamRequest};

const KEPT: Duration = Duration::from_mins(1);
/// Claude Code waits three seconds for the list.
const ASKED_AT_MOST: Duration = Duration::from_millis(2_500);
const LIST_MAX: usize = 4 * 1024 * 1024;

/// How long a target that did not say is not asked again; what it said last stands meanwhile.
const FAILURE_KEPT: Duration = Duration::from_secs(2);

/// What targets said when they were asked for their models.
#[derive(Default)]
pub struct ModelLists {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// What one target said.
#[derive(Default)]
struct Slot {
    known: Mutex<Known>,
    /// Held while the target is asked, so that callers at the same time ask once.
    single_flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    models: Arc<[ListedModel]>,
    until: Option<Instant>,
}

/// A model as its target names it, and what that says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListedModel {
    pub name: String,
    /// For people.
    pub display_name: Option<String>,
    /// The most tokens of input, or of input and output together.
    pub context_tokens: Option<u64>,
    /// The most tokens of one answer.
    pub max_output_tokens: Option<u64>,
}

impl Slot {
    fn fresh(&self) -> Option<Arc<[ListedModel]>> {
        let known = self.known.lock();
        known.until.filter(|until| Instant::now() < *until).map(|_| Arc::clone(&known.models))
    }
}

impl ModelLists {
    pub(super) async fn list(
        &self,
        upstream: &Upstream,
        principal: &Principal,
        provider: Provider,
    ) -> Response<Body> {
        let shape = dialect::models(provider);
        let asked =
            upstream.targets().iter().filter(|target| shape.of_all_targets || target.is_reached_by(provider));
        let lists = join_all(asked.map(|target| self.models_of(target))).await;
        let spoken = Provider::ALL.into_iter().filter(|dialect| shape.of_all_targets || *dialect == provider);
        let own: BTreeSet<&str> =
            spoken.flat_map(|dialect| upstream.own_models(dialect).map(|(name, _)| name)).collect();
        let models: BTreeSet<&str> = lists
            .iter()
            .flat_map(|list| list.iter())
            .map(|model| model.name.as_str())
            .chain(own)
            .filter(|model| principal.permits_model(model))
            .collect();
        let mut response = Response::new(Body::from((shape.list)(&models).to_string()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// The models that a target has, by the names that it takes.
    pub(super) async fn models_of(&self, target: &Arc<Target>) -> Arc<[ListedModel]> {
        let globs = target.model_globs();
        let names = globs.iter().filter(|glob| !is_pattern(glob)).map(|name| ListedModel::of_name(name));
        if names.clone().count() == globs.len() || !target.platform().lists_models() {
            return with_renamed(target, names.collect());
        }
        let slot = Arc::clone(self.slots.lock().entry(target.name().to_owned()).or_default());
        if let Some(models) = slot.fresh() {
            return models;
        }
        let _flight = slot.single_flight.lock().await;
        if let Some(models) = slot.fresh() {
            return models;
        }
        let asked = timeout(ASKED_AT_MOST, ask(target)).await.unwrap_or_else(|_| Err("no answer".to_owned()));
        let mut known = slot.known.lock();
        let kept = match asked {
            Ok(models) => {
                known.models = with_renamed(
                    target,
                    models.into_iter().filter(|model| target.serves(&model.name)).collect(),
                );
                KEPT
            }
            Err(reason) => {
                tracing::info!(target = target.name(), %reason, "target does not say which models it has");
                FAILURE_KEPT
            }
        };
        known.until = Some(Instant::now() + kept);
        Arc::clone(&known.models)
    }
}

fn is_pattern(glob: &str) -> bool {
    glob.contains(['*', '?', '[', '{'])
}

/// The models that a target has, and the names that it takes for others.
fn with_renamed(target: &Target, mut models: Vec<ListedModel>) -> Arc<[ListedModel]> {
    models.extend(target.renamed_models().map(ListedModel::of_name));
    models.into()
}

/// Any dialect's list: `data[]` or, of Gemini and Ollama, `models[]`. Some servers have a `models` of another kind beside.
#[derive(Deserialize)]
struct List {
    data: Option<Vec<Value>>,
    models: Option<Value>,
}

impl ListedModel {
    fn of_name(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// An entry of a list: its name is `id`, or `name` where there is none; a `name` beside an `id` is for people. What
    /// else is said of a model has other names everywhere. None: it has no name.
    fn of_entry(entry: &Value) -> Option<Self> {
        let text = |key: &str| entry.get(key)?.as_str().filter(|text| !text.is_empty());
        let number = |keys: &[&str]| {
            keys.iter().find_map(|key| entry.get(*key)?.as_u64().filter(|number| *number > 0))
        };
        let (name, beside) = match text("id") {
            Some(id) => (id, text("name")),
            None => (text("name")?, None),
        };
        Some(Self {
            name: name.trim_start_matches("models/").to_owned(),
            display_name: text("display_name").or(text("displayName")).or(beside).map(str::to_owned),
            // vLLM, OpenRouter, Groq, Anthropic, Gemini.
            context_tokens: number(&[
                "max_model_len",
                "context_length",
                "context_window",
                "max_input_tokens",
                "inputTokenLimit",
            ]),
            // Groq, Anthropic, Gemini.
            max_output_tokens: number(&["max_completion_tokens", "max_tokens", "outputTokenLimit"]),
        })
    }
}

async fn ask(target: &Arc<Target>) -> Result<Vec<ListedModel>, String> {
    let shape = dialect::models(target.provider());
    let request = UpstreamRequest {
        method: Method::GET,
        path_and_query: shape.asked_at.to_owned(),
        headers: shape.asked_with.into_iter().collect(),
        body: bytes::Bytes::new(),
        dialect: target.provider(),
    };
    let mut answer = target.ask(request).await.map_err(|e| e.to_string())?;
    if !answer.head.status.is_success() {
        return Err(format!("it answered {}", answer.head.status));
    }
    let mut text = Vec::new();
    while let Some(piece) = poll_fn(|cx| answer.body.poll_piece(cx)).await {
        text.extend_from_slice(&piece.map_err(|e| e.to_string())?);
        if text.len() > LIST_MAX {
            return Err("the list is too long".to_owned());
        }
    }
    let list: List = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    let entries = list.data.or_else(|| serde_json::from_value(list.models?).ok()).unwrap_or_default();
    Ok(entries.iter().filter_map(ListedModel::of_entry).collect())
}

/// An answer that is read to its end and made one in the caller's API: a count of tokens.
///
/// # Errors
/// It broke off, or cannot be read.
async fn whole(answered: &mut Answered, converter: Converter) -> Result<Body, Failure> {
    let broken = |reason: String| Failure::new(Kind::Upstream, reason);
    let Answered { head, body, is_streaming, .. } = answered;
    let mut own = converter.begin(head, *is_streaming);
    let mut made = BytesMut::new();
    while let Some(piece) = poll_fn(|cx| body.poll_piece(cx)).await {
        let piece = piece.map_err(|error| broken(error.to_string()))?;
        made.extend_from_slice(&own.push(&piece).map_err(|error| broken(error.to_string()))?);
    }
    made.extend_from_slice(&own.finish().map_err(|error| broken(error.to_string()))?);
    Ok(Body::Own(Some(made.freeze())))
}

/// An answer that is passed on and not accounted for.
///
/// # Errors
/// It had to be read as a whole, and cannot be.
pub(super) async fn passed_through(mut answered: Answered) -> Result<Response<Body>, Failure> {
    let own = match answered.converter.take() {
        Some(converter) => Some(whole(&mut answered, converter).await?),
        None => None,
    };
    let Answered { mut head, body, candidate, dropped, .. } = answered;
    headers::for_caller(&mut head.headers);
    headers::say_target(&mut head.headers, candidate.target());
    headers::say_dropped(&mut head.headers, &dropped);
    Ok(Response::from_parts(head, own.unwrap_or_else(|| Body::Unmetered(Box::new(body)))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_of_any_list_is_read_whatever_else_is_in_it() {
        let read = |entry: Value| {
            let ListedModel { name, display_name, context_tokens, max_output_tokens } =
                ListedModel::of_entry(&entry).expect("a model");
            (name, display_name.unwrap_or_default(), context_tokens, max_output_tokens)
        };
        let is =
            |name: &str, shown: &str, context, output| (name.to_owned(), shown.to_owned(), context, output);
        let openrouter = json!({ "id": "qwen/qwen3", "name": "Qwen: Qwen3", "context_length": 40_960 });
        assert_eq!(read(openrouter), is("qwen/qwen3", "Qwen: Qwen3", Some(40_960), None));
        let anthropic = json!({ "type": "model", "id": "claude-x", "display_name": "Claude X", "max_input_tokens": 9, "max_tokens": 3 });
        assert_eq!(read(anthropic), is("claude-x", "Claude X", Some(9), Some(3)));
        let gemini = json!({ "name": "models/gemini-x", "displayName": "Gemini X", "inputTokenLimit": 8, "outputTokenLimit": 2 });
        assert_eq!(read(gemini), is("gemini-x", "Gemini X", Some(8), Some(2)));
        let vllm = json!({ "id": "llama", "max_model_len": 32_768, "max_tokens": null });
        assert_eq!(read(vllm), is("llama", "", Some(32_768), None));
        assert_eq!(
            read(json!({ "name": "llama3:latest", "model": "llama3:latest" })),
            is("llama3:latest", "", None, None)
        );
        assert_eq!(ListedModel::of_entry(&json!({ "object": "model" })), None);
    }
}
