//! What the gateway knows of a request before it is sent, and whether a provider would read the same in it. Limits on
//! what may be asked for hold only where they do: what is read by guessing is ambiguous.

mod body;
pub mod conversation;
mod multipart;
pub mod other_model;

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};

use super::billing::Billing;
use super::contents::PathModel;
use super::openai::usage_option::UsageOption;
use super::route::Route;
use crate::domain::provider::Provider;
use crate::domain::terms::Terms;
use crate::domain::tokens::Estimate;

pub use body::{Ambiguous, BodyKind, BodyPeek};

/// What a request asks for, as far as it matters to choosing a target, to limits and to the usage log. Everything else
/// in it passes unread.
#[derive(Clone, Debug)]
pub struct Peek {
    /// The path's or the body's; empty where none is named.
    pub model: Arc<str>,
    /// The body may name a model that the gateway does not see.
    pub hides_model: bool,
    /// `None` if the request does not say, which Ollama takes for true and everyone else for false.
    pub stream: Option<bool>,
    /// The most output tokens that the caller wants.
    pub max_tokens: Option<u64>,
    /// What a provider could read otherwise.
    pub ambiguous: Ambiguous,
    /// Service tier, speed and region that the caller asks for.
    pub terms: Terms,
    /// The answer will only say that the work has been taken on.
    pub is_background: bool,
    /// Used where the answer reports no usage.
    pub estimate: Estimate,
    /// Whether usage is asked for in a stream, or could be.
    usage_option: UsageOption,
}

impl Peek {
    /// `text_is_exact`: what was read is what a provider decodes.
    #[must_use]
    pub fn new(route: &Route<'_>, headers: &HeaderMap, body: BodyPeek<'_>, text_is_exact: bool) -> Self {
        let in_path = super::path_model(route.provider, route.path);
        let in_body = body.model.as_deref().unwrap_or("");
        let model = in_path.name().unwrap_or(in_body);
        let body_is_plain = text_is_exact && is_plain(route.provider, headers, &body);
        let model_is_exact = match in_path {
            PathModel::Exact(_) => true,
            PathModel::ExactIfBodyAgrees(model) => body_is_plain && !body.ambiguous.model && model == in_body,
            PathModel::Ambiguous(_) => false,
            PathModel::None => body_is_plain && !body.ambiguous.model,
        };
        let ambiguous = match route.billing {
            Billing::Inference => {
                Ambiguous { model: !model_is_exact, max_tokens: !body_is_plain || body.ambiguous.max_tokens }
            }
            // What is ordered names its models elsewhere, in a file for instance.
            Billing::Deferred => Ambiguous { model: true, max_tokens: true },
            Billing::Untracked | Billing::Unbilled => Ambiguous { model: false, max_tokens: false },
        };
        Self {
            model: model.into(),
            hides_model: body.hides_model(),
            stream: body.stream,
            max_tokens: body.max_tokens,
            ambiguous,
            estimate: body.estimate(),
            is_background: body.is_background,
            terms: body.terms,
            usage_option: body.usage_option,
        }
    }

    /// Whether it wants a stream that could be asked for usage, and does not ask for it.
    #[must_use]
    pub fn lacks_usage(&self) -> bool {
        self.stream == Some(true) && self.usage_option.can_be_set()
    }

    /// `body` with usage asked for in its stream; `None` where there is nothing to change: no stream, or asked for
    /// already.
    #[must_use]
    pub fn with_usage(&self, body: &[u8]) -> Option<Bytes> {
        if self.stream == Some(true) { self.usage_option.set_in(body) } else { None }
    }
}

/// Whether the headers say of a body that it is what the gateway has read: UTF-8, JSON or this form.
fn is_plain(provider: Provider, headers: &HeaderMap, body: &BodyPeek<'_>) -> bool {
    let Some(content_type) = single_header(headers, &CONTENT_TYPE) else { return false };
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let kind = kind.trim();
    match body.kind {
        BodyKind::Json => {
            let is_json = kind.is_empty() || kind == "application/json" || kind.ends_with("+json");
            let is_form = kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"));
            (is_json || (super::takes_any_content_type(provider) && !is_form)) && is_utf8(parameters)
        }
        BodyKind::Multipart(boundary) => {
            kind.eq_ignore_ascii_case("multipart/form-data") && has_boundary(parameters, boundary)
        }
        BodyKind::Unknown => false,
    }
}

/// The text of a header, empty if it is absent; `None` if it occurs twice or is no text.
#[must_use]
pub fn single_header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map_or(Some(""), |value| value.to_str().ok());
    first.filter(|_| values.next().is_none())
}

fn is_utf8(parameters: &str) -> bool {
    let is_other = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.trim().to_ascii_lowercase().starts_with("charset")
            && !unquoted(value).eq_ignore_ascii_case("utf-8")
    };
    !parameters.split(';').any(is_other)
}

fn has_boundary(parameters: &str, boundary: &[u8]) -> bool {
    let mut boundaries = parameters.split(';').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().to_ascii_lowercase().starts_with("boundary").then(|| unquoted(value))
    });
    boundaries.next().is_some_and(|named| named.as_bytes() == boundary) && boundaries.next().is_none()
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}
