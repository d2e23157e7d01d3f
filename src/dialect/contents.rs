//! What every dialect's file holds, as a trait: the compiler refuses a dialect that lacks an item. The items stand in
//! the same order in each file.

use std::collections::BTreeSet;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::answer_names::AnswerNames;
use super::websocket::WebsocketApi;
use crate::cloud::bedrock::NotConvertible;
use crate::cloud::hosting::{HostedAt, HostedCall, Hosting, OwnCall, Platform};
use crate::domain::failure::Failure;
use crate::domain::ids::RequestId;
use crate::domain::quoted::Quoted;

/// A provider's API, as far as the gateway deals with it. Nothing here has a default: what a dialect does not have, it
/// says so.
pub(super) trait Dialect {
    /// Calls that are listed for people, written as the API's document writes them; many more pass.
    const CALLS: &'static [KnownCall];

    /// The version in front of a path that lacks it, as clients with a wrong base URL send it, and what to tell them.
    fn without_version(path: &str) -> Option<&'static str>;

    /// Whether a call on a path without a provider's name in front is in this dialect.
    fn claim(call: &Call<'_>) -> Claim;

    /// The class of a path, which decides whether calls of it are billed.
    fn path_class(path: &str) -> PathClass;

    /// What a call of a path that is billed does.
    fn operation(path: &str) -> Operation;

    /// What OpenTelemetry's conventions call the provider, where it serves its models itself.
    const TELEMETRY_NAME: &'static str;

    fn path_model(path: &str) -> PathModel<'_>;

    /// What stands in front of a model's name where it is written as a resource's name (`models/`); a name without is in
    /// the first of these.
    const MODEL_COLLECTIONS: &'static [&'static str];

    /// The path at which a model is asked to generate, or to embed; `None` where the dialect has no such call.
    fn path_of_model(model: &Quoted<'_>, embeds: bool) -> Option<String>;

    /// Whether a model is of the provider's own making, by its canonical name.
    fn is_vendor_model(model: &str) -> bool;

    /// Whether servers of everybody's models speak the dialect.
    const SERVES_ANY_VENDOR: bool;

    /// Whether a JSON body is taken for what it is although its `content-type` says something else.
    const ANY_CONTENT_TYPE: bool;

    /// Names in requests that matter to limits.
    const REQUEST: RequestNames;

    /// Whether a path's first segments (`base` is the version, if there is one) manage the machine or the account, in
    /// addition to what does so in every dialect.
    fn is_admin(base: Option<&str>, segment: &str) -> bool;

    /// The header for a target's key, and what stands before the key in it.
    const CREDENTIAL: (HeaderName, &'static str);

    /// Whether a request's path brings the version along that a base URL ends with (`/v1`): people write it into base
    /// URLs, too, and it must not stand twice.
    fn repeats_version(version: &str, path: &str) -> bool;

    /// The target that the provider's own environment variable implies where no target is configured.
    const DEFAULT_TARGET: DefaultTarget;

    /// Where a platform has the provider's models; `None` if it has none.
    fn hosted_at(platform: Platform, region: &str) -> Option<HostedAt>;

    /// Whether a platform's API below a base URL's path is another than the provider's own.
    fn is_hosted(platform: Platform, base_path: &str) -> bool;

    /// A call as an API takes it that is not the provider's own.
    ///
    /// # Errors
    /// It has no such call.
    fn hosted_call(hosting: &Hosting, call: &OwnCall<'_>) -> Result<HostedCall, NotConvertible>;

    /// What a refusal says that is not known of a call where the model is hosted, and that the call can do without; empty
    /// if it is about something else.
    fn unknown_in(refusal: &Value, call: &OwnCall<'_>) -> Vec<Unknown>;

    /// The gateway's refusal as the provider would word it, so that SDKs raise the exception that fits.
    fn error_body(failure: &Failure, status: StatusCode, request_id: RequestId) -> Value;

    /// Lists of models: at the gateway, and at a target.
    const MODELS: Models;

    /// What the meter looks for in an answer.
    const ANSWER: AnswerNames;

    /// Whether calls of a path send usage in a stream only when they are asked to, by `stream_options.include_usage`.
    fn has_usage_option(path: &str) -> bool;

    /// What is spoken over a WebSocket at the path; `None` where there is none.
    fn websocket_at(path: &str) -> Option<WebsocketApi>;
}

/// A call as it is listed for people: the path may have parameters in braces.
#[derive(Clone, Copy, Debug)]
pub struct KnownCall {
    pub reads: bool,
    pub path: &'static str,
    pub what: &'static str,
}

/// What a dialect is recognised by.
#[derive(Clone, Copy, Debug)]
pub struct Call<'r> {
    pub method: &'r Method,
    /// Canonical or not, as it came, without a query.
    pub path: &'r str,
    pub headers: &'r HeaderMap,
}

/// Whether a call is a dialect's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    No,
    /// Unless another dialect says [`Claim::Yes`].
    Fallback,
    Yes,
}

/// The class of a path, whatever the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathClass {
    /// Counts tokens, or describes a model, when it is asked by POST.
    TokenCount,
    /// Lists of models.
    ModelList,
    /// Objects stored for the caller.
    Storage,
    /// Work that is done later.
    Batch,
    /// Anything else: what is not known spends, so that a new path cannot be a way around the usage log.
    Inference,
}

/// What a call does, as far as measurements tell calls apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Goes on with a conversation.
    Chat,
    /// Goes on with a text.
    TextCompletion,
    /// Makes content of any kind: text, images, speech.
    GenerateContent,
    Embeddings,
}

/// The model that a path names, and how certain that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathModel<'p> {
    /// Nothing: the body names it.
    None,
    /// This one, whatever the body says.
    Exact(&'p str),
    /// This one, if the body names the same: not every server reads the model from such a path.
    ExactIfBodyAgrees(&'p str),
    /// Probably this one; a provider may read the path otherwise.
    Ambiguous(&'p str),
}

impl<'p> PathModel<'p> {
    #[must_use]
    pub fn name(self) -> Option<&'p str> {
        match self {
            Self::None => None,
            Self::Exact(name) | Self::ExactIfBodyAgrees(name) | Self::Ambiguous(name) => Some(name),
        }
    }
}

/// Names in requests that matter to limits.
pub(super) struct RequestNames {
    /// Keys that say how many tokens of output a caller wants, in the dialect and in what other servers made of it.
    pub(super) max_tokens: &'static [&'static str],
    /// Keys whose object may hold such a key.
    pub(super) options: &'static [&'static str],
}

/// The target that an environment variable implies where no target is configured.
#[derive(Clone, Copy, Debug)]
pub struct DefaultTarget {
    pub variable: &'static str,
    pub address: DefaultAddress,
}

#[derive(Clone, Copy, Debug)]
pub enum DefaultAddress {
    /// This URL; the variable holds a key for it.
    Fixed(&'static str),
    /// The URL that this function makes of the variable; there is no key.
    InVariable(fn(&str) -> String),
}

/// Something in a call that the one who hosts the model does not know. The provider's own API does: without it the call
/// can be made all the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Unknown {
    /// A name in the `anthropic-beta` header.
    Beta(String),
    /// Some name in that header; which one is not said.
    SomeBeta,
    /// Members of the body, by their path: `context_management`, `tools.*.strict`.
    Field(String),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beta(name) => write!(f, "anthropic-beta={name}"),
            Self::SomeBeta => f.write_str("anthropic-beta"),
            Self::Field(path) => f.write_str(path),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Models {
    /// The path at which callers of this dialect get the gateway's own list; `None` if such calls go upstream.
    pub listed_at: Option<&'static str>,
    /// The list in the dialect's shape.
    pub list: fn(&BTreeSet<&str>) -> Value,
    /// Whether the list names the models of every dialect's targets: it is read by clients that speak any.
    pub of_all_targets: bool,
    /// Where a target is asked for its models: path and query.
    pub asked_at: &'static str,
    pub asked_with: Option<(HeaderName, HeaderValue)>,
}
