//! Who hosts a target's models, and how calls are made where the host's API is not the provider's own.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, StatusCode};

use super::bedrock::{self, InvokeAnswer, NotConvertible};
use super::bedrock_errors::{Exception, anthropic_error};
use super::bedrock_events::AnthropicEvents;
use super::event_stream::FRAME_MAX;
use super::vertex::{self, Place};

/// Who hosts a target's models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Platform {
    /// The provider itself, or a server of one's own.
    #[default]
    Provider,
    Azure,
    Bedrock,
    Vertex,
}

impl Platform {
    pub const ALL: [(&str, Self); 4] =
        [("", Self::Provider), ("azure", Self::Azure), ("bedrock", Self::Bedrock), ("vertex", Self::Vertex)];

    /// As it is configured.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, platform)| *platform == self).map_or("", |(name, _)| name)
    }

    /// Whether targets can be asked which models they have, as the provider can.
    #[must_use]
    pub fn lists_models(self) -> bool {
        matches!(self, Self::Provider | Self::Azure)
    }
}

/// Where a platform has the models of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedAt {
    /// The base URL in the region; `None` where customers have hosts of their own.
    pub url: Option<String>,
    /// The path of base URLs that have none.
    pub path: &'static str,
}

/// An API that is not the provider's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosting {
    /// Bedrock's `InvokeModel`.
    Invoke,
    Vertex {
        project: String,
        region: String,
    },
}

/// A call in the provider's own API.
#[derive(Clone, Copy, Debug)]
pub struct OwnCall<'a> {
    pub path_and_query: &'a str,
    /// Without credentials.
    pub headers: &'a HeaderMap,
    /// In the clear.
    pub body: &'a [u8],
    /// The host's name for the model; what path and body name does not count.
    pub model: &'a str,
}

impl<'a> OwnCall<'a> {
    fn split(&self) -> (&'a str, Option<&'a str>) {
        match self.path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path_and_query, None),
        }
    }
}

/// The same call as the host takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedCall {
    pub path_and_query: String,
    /// `None`: as it is.
    pub body: Option<Bytes>,
    /// Headers that do not go along.
    pub without: &'static [HeaderName],
    pub answer: HostedAnswer,
}

/// How the host's answer becomes the provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostedAnswer {
    /// It is the same.
    Own,
    Invoke(InvokeAnswer),
    VertexAnthropic,
}

/// A call of Anthropic's API at its host.
///
/// # Errors
/// [`NotConvertible`].
pub fn anthropic_call(hosting: &Hosting, call: &OwnCall<'_>) -> Result<HostedCall, NotConvertible> {
    let (path, _) = call.split();
    match hosting {
        Hosting::Invoke => {
            let invoked = bedrock::invoke_call(path, call.headers, call.body, call.model)?;
            Ok(HostedCall {
                path_and_query: invoked.path,
                body: Some(invoked.body),
                without: &bedrock::HEADERS_IN_BODY,
                answer: HostedAnswer::Invoke(invoked.answer),
            })
        }
        Hosting::Vertex { project, region } => {
            let predicted = vertex::anthropic_call(path, call.body, call.model, Place { project, region })?;
            Ok(HostedCall {
                path_and_query: predicted.path,
                body: Some(predicted.body),
                without: &[],
                answer: HostedAnswer::VertexAnthropic,
            })
        }
    }
}

/// A call of Gemini's API at its host.
///
/// # Errors
/// [`NotConvertible`].
pub fn gemini_call(hosting: &Hosting, call: &OwnCall<'_>) -> Result<HostedCall, NotConvertible> {
    let Hosting::Vertex { project, region } = hosting else { return Err(NotConvertible::Path) };
    let (path, query) = call.split();
    let mut path_and_query = vertex::gemini_path(path, call.model, Place { project, region })?;
    if let Some(query) = query {
        path_and_query.push('?');
        path_and_query.push_str(query);
    }
    let body = vertex::gemini_count(path, call.body);
    Ok(HostedCall { path_and_query, body, without: &[], answer: HostedAnswer::Own })
}

impl HostedAnswer {
    /// What makes the provider's stream of a good answer; `None` where it is one.
    #[must_use]
    pub fn events(self, status: StatusCode, headers: &HeaderMap) -> Option<AnthropicEvents> {
        let is_framed = headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/vnd.amazon.eventstream"));
        let has_frames = self == Self::Invoke(InvokeAnswer::Events) && status.is_success() && is_framed;
        has_frames.then(|| AnthropicEvents::new(FRAME_MAX))
    }

    /// Whether the body has to be read as a whole before it is passed on.
    #[must_use]
    pub fn is_read_whole(self, status: StatusCode) -> bool {
        match self {
            Self::Own => false,
            Self::Invoke(InvokeAnswer::TokenCount) => true,
            Self::Invoke(_) | Self::VertexAnthropic => !status.is_success(),
        }
    }

    /// A whole body as the provider would have written it; `None` where it would be the same.
    #[must_use]
    pub fn body(self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Bytes> {
        match self {
            Self::Invoke(InvokeAnswer::TokenCount) if status.is_success() => bedrock::count_answer(body),
            Self::Own => None,
            _ if status.is_success() => None,
            Self::Invoke(_) => {
                let name = headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok());
                let exception = Exception { name: name.unwrap_or_default(), status: Some(status), body };
                Some(anthropic_error(&exception))
            }
            Self::VertexAnthropic => vertex::anthropic_error(status, body),
        }
    }
}
