//! Dialects: what each provider's API is, and what a request in it asks for. Everything that differs between providers
//! stands here; the rest of the gateway asks by [`Provider`].
//!
//! Each provider has one file with the same table of contents in the same order, which is the trait in `contents.rs`:
//! what its paths are and what is billed on them, where the model and the limits stand in a request, the credential,
//! the versions in base URLs, the target that its environment variable stands for, its errors, its lists of models, and
//! by which names its answers report usage. [`route`] finds whose a call is, [`request`] reads what it asks for; the
//! meter ([`metering`](crate::metering)) composes the names of all dialects and reads an answer by what it is.
//!
//! # To add a dialect
//!
//! 1. Give it a line in [`domain::provider`](crate::domain::provider): variant and name.
//! 2. Give it a line in `of!` below, the one place that tells dialects apart.
//! 3. Write its file. Nothing in the trait has a default, so the compiler lists what it lacks.
//! 4. Follow the compiler to the two that imitate providers and their clients: the mock (`mock`), which has to be able
//!    to answer in it, and the demo's traffic (`cli::demo`).
//!
//! There is no other place: a list of providers is `Provider::ALL`, and `tests/it/architecture.rs` sees to it that
//! nobody else names one. Where the new dialect has a name for a count that none of them has, tests of the meter say
//! that its rule (`metering/counts.rs`) has to learn what it means. What only people read is `config/defaults.toml`,
//! whose test asks for the name, and the README.
//!
//! # Conversion
//!
//! Passing a call through needs none of it. What turns one API's requests and answers into another's is in [`convert`]:
//! typed events (serde, only the fields that are acted on, the rest verbatim), not the meter's scanner, which keeps
//! nothing of what it reads.

mod answer_names;
mod anthropic;
mod billing;
mod contents;
pub mod convert;
pub mod error_answer;
mod gemini;
mod ollama;
mod openai;
mod path;
pub mod request;
pub mod route;
pub mod websocket;

use std::sync::LazyLock;

use http::header::InvalidHeaderValue;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;

use crate::cloud::bedrock::NotConvertible;
use crate::cloud::hosting::{HostedAt, HostedCall, Hosting, OwnCall, Platform};
use crate::domain::failure::Failure;
use crate::domain::ids::RequestId;
use crate::domain::provider::Provider;
use crate::domain::quoted::Quoted;
use contents::{Claim, Dialect, RequestNames};
use websocket::WebsocketApi;

pub use answer_names::{AnswerNames, Count, Event, Field, StepKind};
pub use billing::Billing;
pub use contents::{Call, DefaultAddress, DefaultTarget, KnownCall, Models, Operation, PathModel, Unknown};
pub use openai::usage_chunk;

/// Dispatches to a dialect: `$item` with `$Dialect` being the provider's.
macro_rules! of {
    ($provider:expr, $Dialect:ident => $item:expr) => {
        match $provider {
            Provider::Anthropic => {
                type $Dialect = anthropic::Anthropic;
                $item
            }
            Provider::Openai => {
                type $Dialect = openai::Openai;
                $item
            }
            Provider::Gemini => {
                type $Dialect = gemini::Gemini;
                $item
            }
            Provider::Ollama => {
                type $Dialect = ollama::Ollama;
                $item
            }
        }
    };
}

/// Calls that are listed for people; many more pass.
#[must_use]
pub fn known_calls(provider: Provider) -> &'static [KnownCall] {
    of!(provider, D => D::CALLS)
}

fn without_version(provider: Provider, path: &str) -> Option<&'static str> {
    of!(provider, D => D::without_version(path))
}

fn claim(provider: Provider, call: &Call<'_>) -> Claim {
    of!(provider, D => D::claim(call))
}

/// Classifies `method path` at a provider; `path` as the provider knows it, without a query.
#[must_use]
pub fn billing(provider: Provider, method: &Method, path: &str) -> Billing {
    of!(provider, D => Billing::of(method, path, D::path_class))
}

/// What a call of a path does, as the provider knows the path, without a query.
#[must_use]
pub fn operation(provider: Provider, path: &str) -> Operation {
    of!(provider, D => D::operation(path))
}

/// What OpenTelemetry's conventions call the provider, where it serves its models itself.
#[must_use]
pub fn telemetry_name(provider: Provider) -> &'static str {
    of!(provider, D => D::TELEMETRY_NAME)
}

/// The model that a path names, as the provider knows the path, without a query.
#[must_use]
pub fn path_model(provider: Provider, path: &str) -> PathModel<'_> {
    of!(provider, D => D::path_model(path))
}

/// What stands in front of a model's name where it is written as a resource's name (`models/`); a name without is in
/// the first of these. Empty where names are written as they are.
#[must_use]
pub fn model_collections(provider: Provider) -> &'static [&'static str] {
    of!(provider, D => D::MODEL_COLLECTIONS)
}

/// The path at which a model is asked to generate, or to embed; `None` where the dialect has no such call.
#[must_use]
pub fn path_of_model(provider: Provider, model: &str, embeds: bool) -> Option<String> {
    of!(provider, D => D::path_of_model(&Quoted(model), embeds))
}

/// Whether a provider's own models are all that may be expected of a target of its dialect that serves everything, and
/// `model` (by its canonical name) is another's.
#[must_use]
pub fn is_of_another_vendor(provider: Provider, model: &str) -> bool {
    !serves_any_vendor(provider) && vendor_of(model).is_some_and(|maker| maker != provider)
}

/// The provider that makes a model, by the model's canonical name; none if none of these is known to.
#[must_use]
pub fn vendor_of(model: &str) -> Option<Provider> {
    let is_vendor = |maker: &Provider| of!(*maker, D => D::is_vendor_model(model));
    Provider::ALL.into_iter().find(is_vendor)
}

/// Whether servers of everybody's models speak the dialect.
#[must_use]
pub fn serves_any_vendor(provider: Provider) -> bool {
    of!(provider, D => D::SERVES_ANY_VENDOR)
}

fn takes_any_content_type(provider: Provider) -> bool {
    of!(provider, D => D::ANY_CONTENT_TYPE)
}

const fn request_names(provider: Provider) -> RequestNames {
    of!(provider, D => D::REQUEST)
}

/// Whether a path's first segments (`base` is the version, if there is one) manage the machine or the account, in
/// addition to what does so in every dialect.
#[must_use]
pub fn is_admin(provider: Provider, base: Option<&str>, segment: &str) -> bool {
    of!(provider, D => D::is_admin(base, segment))
}

/// The header that a target's key goes in.
///
/// # Errors
/// A key with characters that no header can carry.
pub fn credential(provider: Provider, key: &str) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
    let (name, scheme) = of!(provider, D => D::CREDENTIAL);
    let mut value = HeaderValue::from_str(&[scheme, key].concat())?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// The headers that keys travel in, each once, and what stands before a key in it.
#[must_use]
pub fn credential_headers() -> &'static [(HeaderName, &'static str)] {
    static HEADERS: LazyLock<Vec<(HeaderName, &'static str)>> = LazyLock::new(|| {
        let mut headers = Vec::new();
        for header in Provider::ALL.map(|provider| of!(provider, D => D::CREDENTIAL)) {
            if !headers.contains(&header) {
                headers.push(header);
            }
        }
        headers
    });
    &HEADERS
}

/// Whether a request's path brings the version along that a base URL ends with.
#[must_use]
pub fn repeats_version(provider: Provider, version: &str, path: &str) -> bool {
    of!(provider, D => D::repeats_version(version, path))
}

/// The target that the provider's own environment variable implies.
#[must_use]
pub fn default_target(provider: Provider) -> DefaultTarget {
    of!(provider, D => D::DEFAULT_TARGET)
}

/// Whether a base URL is the provider's own.
#[must_use]
pub fn is_own_address(provider: Provider, url: &str) -> bool {
    match default_target(provider).address {
        DefaultAddress::Fixed(own) => url.starts_with(own),
        DefaultAddress::InVariable(_) => false,
    }
}

/// Where a platform has the provider's models; `None` if it has none.
#[must_use]
pub fn hosted_at(provider: Provider, platform: Platform, region: &str) -> Option<HostedAt> {
    of!(provider, D => D::hosted_at(platform, region))
}

/// Whether a platform's API below a base URL's path is another than the provider's own.
#[must_use]
pub fn is_hosted(provider: Provider, platform: Platform, base_path: &str) -> bool {
    of!(provider, D => D::is_hosted(platform, base_path))
}

/// A call as an API takes it that is not the provider's own.
///
/// # Errors
/// It has no such call.
pub fn hosted_call(
    provider: Provider,
    hosting: &Hosting,
    call: &OwnCall<'_>,
) -> Result<HostedCall, NotConvertible> {
    of!(provider, D => D::hosted_call(hosting, call))
}

/// What a refusal says that is not known of a call where the model is hosted, and that the call can do without; empty if
/// it is about something else.
#[must_use]
pub fn unknown_in(provider: Provider, refusal: &[u8], call: &OwnCall<'_>) -> Vec<Unknown> {
    let Ok(refusal) = serde_json::from_slice::<Value>(refusal) else { return Vec::new() };
    of!(provider, D => D::unknown_in(&refusal, call))
}

/// The body of the gateway's own refusal. `status` is [`Kind::http_status`](crate::domain::failure::Kind::http_status),
/// or 426 for a caller that wants to leave HTTP.
#[must_use]
pub fn error_body(provider: Provider, failure: &Failure, status: StatusCode, request_id: RequestId) -> Value {
    of!(provider, D => D::error_body(failure, status, request_id))
}

/// What is spoken over a WebSocket at a path; `None` where there is none.
#[must_use]
pub fn websocket_at(provider: Provider, path: &str) -> Option<WebsocketApi> {
    of!(provider, D => D::websocket_at(path))
}

#[must_use]
pub fn models(provider: Provider) -> Models {
    of!(provider, D => D::MODELS)
}

/// The names by which the dialect's answers report usage.
#[must_use]
pub const fn answer_names(provider: Provider) -> AnswerNames {
    of!(provider, D => D::ANSWER)
}

/// Whether calls of a path send usage in a stream only when they are asked to.
#[must_use]
pub fn has_usage_option(provider: Provider, path: &str) -> bool {
    of!(provider, D => D::has_usage_option(path))
}
