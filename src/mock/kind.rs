//! The calls that the mock knows, told from method, path and query.

use std::borrow::Cow;

use http::Method;
use http::request::Parts;
use memchr::memmem;

use crate::dialect::path_model;
use crate::dialect::request::BodyPeek;
use crate::domain::provider::Provider as Dialect;
use crate::mock::answer_body::AnswerBody;
use crate::mock::answer_spec::AnswerSpec;
use crate::mock::api::Api;
use crate::mock::cloud_paths::{self, CloudVerb};
use crate::mock::errors::{self, ErrorSpec};
use crate::mock::ollama::Shape;
use crate::mock::{anthropic, bedrock, gemini, ollama, openai, responses};

const ANTHROPIC_MODELS: [&str; 3] = ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"];
const OPENAI_MODELS: [&str; 4] = ["gpt-5.1", "gpt-5.1-codex", "gpt-5-mini", "text-embedding-3-small"];
const GEMINI_MODELS: [&str; 3] = ["gemini-3-pro", "gemini-2.5-flash", "gemini-embedding-001"];
const OLLAMA_MODELS: [&str; 2] = ["llama3.2:latest", "qwen3:8b"];

/// A call: its kind, and the model if its path names one.
#[derive(Clone, Debug)]
pub struct Call {
    pub kind: Kind,
    pub model: Option<String>,
}

/// What a call asks for. Streams are told from whole answers by [`Call::with_body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Anthropic Messages.
    Messages {
        stream: bool,
    },
    /// Anthropic token counting.
    CountTokens,
    /// Bedrock's `InvokeModel`, and with `stream` `InvokeModelWithResponseStream`.
    Invoke {
        stream: bool,
    },
    /// Bedrock's `CountTokens`.
    InvokeCount,
    /// Anthropic Messages at Vertex AI.
    Predict {
        stream: bool,
    },
    /// Anthropic token counting at Vertex AI.
    PredictCount,
    /// OpenAI Chat Completions.
    Chat {
        stream: bool,
    },
    /// OpenAI Completions.
    Completion {
        stream: bool,
    },
    /// OpenAI Responses.
    Responses {
        stream: bool,
    },
    /// OpenAI Embeddings.
    Embeddings {
        as_base64: bool,
    },
    /// Gemini `generateContent`, or its stream as a JSON array.
    Generate {
        stream: bool,
    },
    /// Gemini's stream as events.
    GenerateEvents,
    GeminiCount,
    GeminiEmbed {
        batch: bool,
    },
    OllamaChat {
        stream: bool,
    },
    OllamaGenerate {
        stream: bool,
    },
    OllamaEmbed,
    /// Ollama embeddings, older form.
    OllamaEmbeddings,
    /// Other calls of Ollama that only read.
    OllamaShow,
    OllamaVersion,
    Models(Dialect),
    /// A WebSocket upgrade, which the mock does not serve: clients fall back to POST.
    Upgrade,
    /// `GET /`, `HEAD /`: alive.
    Root,
    /// Nothing the mock knows.
    Unknown(Dialect),
}

impl Call {
    /// What a request asks for.
    pub fn of(parts: &Parts) -> Self {
        let path = parts.uri.path();
        if let Some((verb, model)) = cloud_paths::call(path) {
            return Self { kind: Kind::of_cloud(verb), model };
        }
        let has = |name: &str| parts.headers.contains_key(name);
        // Newer clients of Gemini use /v1/ as everybody else does; the verb and the credential give them away.
        let is_gemini = !path.contains("/openai/")
            && (path.contains("/v1beta/")
                || path.contains("/publishers/google/")
                || has("x-goog-api-key")
                || (path.contains("/v1/models/") && path.contains(':')));
        let kind = match path {
            "/" => Kind::Root,
            _ if is_gemini => gemini_kind(path, parts.uri.query().unwrap_or_default()),
            _ if path.contains("/api/") => ollama_kind(path),
            _ if parts.method != Method::POST && has("upgrade") => Kind::Upgrade,
            _ => v1_kind(path, has("anthropic-version")),
        };
        let model = path_model(Dialect::Gemini, path).name().map(str::to_owned);
        Self { kind, model }
    }

    /// The call once its body has said whether it wants a stream, or its numbers in base64.
    #[must_use]
    pub fn with_body(self, body: &[u8]) -> Self {
        Self { kind: self.kind.with_body(body), ..self }
    }

    /// The model, where `asked` is what it is asked.
    pub fn model<'a>(&'a self, asked: &'a [u8]) -> Cow<'a, str> {
        let named = self.model.as_deref().map(Cow::Borrowed);
        named.or_else(|| BodyPeek::read(asked).model).unwrap_or(Cow::Borrowed("mock-model"))
    }

    /// What the model is asked: the body, or what is in it.
    pub fn asked<'b>(&self, body: &'b [u8]) -> Cow<'b, [u8]> {
        match self.kind {
            Kind::InvokeCount => Cow::Owned(bedrock::counted_body(body).unwrap_or_default()),
            _ => Cow::Borrowed(body),
        }
    }
}

fn v1_kind(path: &str, anthropic: bool) -> Kind {
    // Gemini's and Vertex AI's compatible endpoints, and everybody else's.
    let bases = ["/v1beta/openai/", "/endpoints/openapi/", "/v1/"];
    let name = bases.iter().find_map(|base| path.rsplit_once(base)).map_or("", |(_, name)| name);
    match name {
        "messages" => Kind::Messages { stream: false },
        "messages/count_tokens" => Kind::CountTokens,
        "chat/completions" => Kind::Chat { stream: false },
        "completions" => Kind::Completion { stream: false },
        "responses" => Kind::Responses { stream: false },
        "embeddings" => Kind::Embeddings { as_base64: false },
        _ if name == "models" || name.starts_with("models/") => {
            Kind::Models(if anthropic { Dialect::Anthropic } else { Dialect::Openai })
        }
        _ => Kind::Unknown(if anthropic { Dialect::Anthropic } else { Dialect::Openai }),
    }
}

fn gemini_kind(path: &str, query: &str) -> Kind {
    let events = query.split('&').any(|pair| pair == "alt=sse");
    match path.rsplit_once(':').map(|(_, verb)| verb) {
        Some("generateContent") => Kind::Generate { stream: false },
        Some("streamGenerateContent") if events => Kind::GenerateEvents,
        Some("streamGenerateContent") => Kind::Generate { stream: true },
        Some("countTokens") => Kind::GeminiCount,
        Some("embedContent") => Kind::GeminiEmbed { batch: false },
        Some("batchEmbedContents") => Kind::GeminiEmbed { batch: true },
        None if path.contains("/models") => Kind::Models(Dialect::Gemini),
        _ => Kind::Unknown(Dialect::Gemini),
    }
}

fn ollama_kind(path: &str) -> Kind {
    match path.rsplit_once("/api/").map(|(_, name)| name) {
        Some("chat") => Kind::OllamaChat { stream: true },
        Some("generate") => Kind::OllamaGenerate { stream: true },
        Some("embed") => Kind::OllamaEmbed,
        Some("embeddings") => Kind::OllamaEmbeddings,
        Some("tags" | "ps") => Kind::Models(Dialect::Ollama),
        Some("show") => Kind::OllamaShow,
        Some("version") => Kind::OllamaVersion,
        _ => Kind::Unknown(Dialect::Ollama),
    }
}

impl Kind {
    fn of_cloud(verb: CloudVerb) -> Self {
        match verb {
            CloudVerb::Invoke => Self::Invoke { stream: false },
            CloudVerb::InvokeStream => Self::Invoke { stream: true },
            CloudVerb::InvokeCount => Self::InvokeCount,
            CloudVerb::Predict => Self::Predict { stream: false },
            CloudVerb::PredictCount => Self::PredictCount,
        }
    }

    fn with_body(self, body: &[u8]) -> Self {
        let asked = BodyPeek::read(body).stream;
        let stream = asked == Some(true);
        match self {
            Self::Embeddings { .. } => {
                Self::Embeddings { as_base64: memmem::find(body, b"\"base64\"").is_some() }
            }
            Self::Messages { .. } => Self::Messages { stream },
            Self::Predict { .. } => Self::Predict { stream },
            Self::Chat { .. } => Self::Chat { stream },
            Self::Completion { .. } => Self::Completion { stream },
            Self::Responses { .. } => Self::Responses { stream },
            Self::OllamaChat { .. } => Self::OllamaChat { stream: asked != Some(false) },
            Self::OllamaGenerate { .. } => Self::OllamaGenerate { stream: asked != Some(false) },
            other => other,
        }
    }

    /// The API that it belongs to.
    pub fn api(self) -> Api {
        Api::Own(match self {
            Self::Invoke { .. } | Self::InvokeCount => return Api::Bedrock,
            Self::Predict { .. } | Self::PredictCount => return Api::Vertex,
            Self::Messages { .. } | Self::CountTokens => Dialect::Anthropic,
            Self::Chat { .. }
            | Self::Completion { .. }
            | Self::Responses { .. }
            | Self::Embeddings { .. }
            | Self::Upgrade
            | Self::Root => Dialect::Openai,
            Self::Generate { .. } | Self::GenerateEvents | Self::GeminiCount | Self::GeminiEmbed { .. } => {
                Dialect::Gemini
            }
            Self::OllamaChat { .. }
            | Self::OllamaGenerate { .. }
            | Self::OllamaEmbed
            | Self::OllamaEmbeddings
            | Self::OllamaShow
            | Self::OllamaVersion => Dialect::Ollama,
            Self::Models(dialect) | Self::Unknown(dialect) => dialect,
        })
    }

    /// Whether its answer comes event by event.
    pub fn is_stream(self) -> bool {
        matches!(
            self,
            Self::GenerateEvents
                | Self::Messages { stream: true }
                | Self::Invoke { stream: true }
                | Self::Predict { stream: true }
                | Self::Chat { stream: true }
                | Self::Completion { stream: true }
                | Self::Responses { stream: true }
                | Self::Generate { stream: true }
                | Self::OllamaChat { stream: true }
                | Self::OllamaGenerate { stream: true }
        )
    }

    /// What an answer calls the model that was asked for as `model`.
    pub fn answering_model(self, model: &str) -> Cow<'_, str> {
        match self.api() {
            Api::Own(_) => Cow::Borrowed(model),
            Api::Bedrock | Api::Vertex => Cow::Owned(cloud_paths::own_name(model)),
        }
    }

    /// Whether its answer is a stream of frames with checksums, in which nothing can be changed.
    pub fn is_framed(self) -> bool {
        self == Self::Invoke { stream: true }
    }

    /// Whether it spends tokens.
    pub fn is_inference(self) -> bool {
        !matches!(
            self,
            Self::CountTokens
                | Self::InvokeCount
                | Self::PredictCount
                | Self::GeminiCount
                | Self::OllamaShow
                | Self::OllamaVersion
                | Self::Models(_)
                | Self::Upgrade
                | Self::Root
                | Self::Unknown(_)
        )
    }

    /// Whether its answer has output tokens; embeddings have none.
    pub fn has_output(self) -> bool {
        !matches!(
            self,
            Self::Embeddings { .. } | Self::GeminiEmbed { .. } | Self::OllamaEmbed | Self::OllamaEmbeddings
        )
    }

    /// The error, if it cannot be answered.
    pub fn error(self) -> Option<ErrorSpec> {
        match self {
            Self::Unknown(_) => Some(ErrorSpec::new(404, errors::UNKNOWN)),
            Self::Upgrade => Some(ErrorSpec::new(426, errors::NO_WEBSOCKET)),
            _ => None,
        }
    }

    /// The event with which a stream of status 200 fails behind `events` of its own.
    pub fn error_event(self, spec: &AnswerSpec, error: &ErrorSpec, events: usize) -> Vec<u8> {
        match self {
            Self::Responses { .. } if error.body.is_none() => responses::failed(spec, error, events),
            _ => errors::event(self.api(), error),
        }
    }

    /// A good answer.
    pub fn answer(self, spec: &AnswerSpec) -> AnswerBody {
        match self {
            Self::Messages { stream: false }
            | Self::Predict { stream: false }
            | Self::Invoke { stream: false } => anthropic::message(spec),
            Self::Messages { stream: true } | Self::Predict { stream: true } => anthropic::stream(spec),
            Self::Invoke { stream: true } => bedrock::stream(spec),
            Self::CountTokens | Self::PredictCount => anthropic::count(spec.input),
            Self::InvokeCount => bedrock::count(spec.input),
            Self::Chat { stream: false } => openai::chat(spec),
            Self::Chat { stream: true } => openai::chat_stream(spec),
            Self::Completion { stream: false } => openai::completion(spec),
            Self::Completion { stream: true } => openai::completion_stream(spec),
            Self::Responses { stream: false } => responses::response(spec),
            Self::Responses { stream: true } => responses::stream(spec),
            Self::Embeddings { as_base64 } => openai::embeddings(spec, as_base64),
            Self::Generate { stream: false } => gemini::content(spec),
            Self::Generate { stream: true } => gemini::array(spec),
            Self::GenerateEvents => gemini::stream(spec),
            Self::GeminiCount => gemini::count(spec.input),
            Self::GeminiEmbed { batch } => gemini::embedding(spec, batch),
            Self::OllamaChat { stream } => ollama::answer_or_stream(spec, Shape::Chat, stream),
            Self::OllamaGenerate { stream } => ollama::answer_or_stream(spec, Shape::Generate, stream),
            Self::OllamaEmbed => ollama::embed(spec),
            Self::OllamaEmbeddings => ollama::embeddings(),
            Self::OllamaShow => ollama::show(),
            Self::OllamaVersion => ollama::version(),
            Self::Models(Dialect::Anthropic) => anthropic::models(&ANTHROPIC_MODELS),
            Self::Models(Dialect::Openai) => openai::models(&OPENAI_MODELS),
            Self::Models(Dialect::Gemini) => gemini::models(&GEMINI_MODELS),
            Self::Models(Dialect::Ollama) => ollama::tags(&OLLAMA_MODELS),
            Self::Root => AnswerBody {
                content_type: "text/plain; charset=utf-8",
                ..AnswerBody::json("Ollama is running".to_owned())
            },
            Self::Upgrade | Self::Unknown(_) => AnswerBody::json(String::new()),
        }
    }
}
