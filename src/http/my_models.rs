//! `/me/models`: the models that somebody may use, and what a client has to know of each before it calls.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::model_traits::{Effort, Reasoning};
use crate::http::input::Caller;
use crate::http::paging::List;
use crate::http::problem::ReadErrors;
use crate::http::state::ControlState;
use crate::proxy::{AvailableModel, ReachedIn};

/// A model that you may use. What nobody knows of it is `null`, and `true` of what it can do.
#[derive(Debug, Serialize, ToSchema)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct MyModelView {
    /// What a call names.
    id: String,
    /// Its name for people, where its target has told one.
    #[schema(required)]
    display_name: Option<String>,
    /// The most tokens of input and output together.
    #[schema(required)]
    context_tokens: Option<u64>,
    /// The most tokens of one answer, reasoning included.
    #[schema(required)]
    max_output_tokens: Option<u64>,
    /// Whether it can call tools.
    tools: bool,
    /// Whether it can look at images.
    images: bool,
    /// Whether it can read PDF files.
    documents: bool,
    /// How it is told how much to think: by a word (`effort`), by a number of tokens (`budget`), not at all as it does not
    /// (`none`), or `unknown`.
    reasoning: &'static str,
    /// Of these words, where it is told by one; in ascending order.
    efforts: Vec<&'static str>,
    /// The APIs in which it is reached.
    apis: Vec<ModelApiView>,
}

/// An API in which a model is reached.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelApiView {
    /// `anthropic-messages`, `openai-responses`, `openai-chat`, `gemini` or `ollama`.
    api: &'static str,
    /// Whether calls are converted for it, as no target takes them as they are.
    converted: bool,
}

impl From<AvailableModel> for MyModelView {
    fn from(model: AvailableModel) -> Self {
        let AvailableModel { name, display_name, traits, apis } = model;
        let (reasoning, efforts) = match &traits.reasoning {
            Reasoning::Unknown => ("unknown", &[][..]),
            Reasoning::None => ("none", &[][..]),
            Reasoning::Budget => ("budget", &[][..]),
            Reasoning::Effort(efforts) => ("effort", &efforts[..]),
        };
        let api = |ReachedIn { api, is_converted }| ModelApiView { api, converted: is_converted };
        Self {
            id: name,
            display_name,
            context_tokens: traits.context_tokens,
            max_output_tokens: traits.max_output_tokens,
            tools: traits.tools,
            images: traits.images,
            documents: traits.documents,
            reasoning,
            efforts: efforts.iter().copied().map(Effort::as_str).collect(),
            apis: apis.into_iter().map(api).collect(),
        }
    }
}

/// Which models may I use? Those of this node's targets, by name.
#[utoipa::path(get, path = "/me/models", tag = "me",
    responses((status = 200, description = "Every model that you may use", body = List<MyModelView>), ReadErrors))]
pub async fn list(State(state): State<ControlState>, me: Caller) -> Json<List<MyModelView>> {
    let upstream = &state.live.now().upstream;
    let models = state.models.available(upstream, &me).await;
    Json(List::whole(models.into_iter().map(MyModelView::from).collect()))
}
