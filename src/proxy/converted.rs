//! The request of a call that its target takes in another API than the caller's.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::buffered_request::{BufferedRequest, Rewrite};
use super::converter::Converter;
use super::outgoing::Outgoing;
use crate::cloud::hosting::{HostedAnswer, OwnCall};
use crate::dialect::Unknown;
use crate::dialect::convert::{self, Api, Conversion, NotConverted, RequestContext};
use crate::dialect::request::conversation;
use crate::domain::failure::{Failure, Kind};
use crate::upstream::{Candidate, CandidateConversion, Target, UpstreamRequest};

/// Headers of the caller's that say nothing in a dialect.
const OF_ANY_DIALECT: [HeaderName; 4] = [
    USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];
/// Without it Anthropic takes no call.
const ANTHROPIC_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));

impl BufferedRequest {
    /// The request of an attempt at a target of another API, and how many bytes of it are not the caller's.
    pub(super) fn compose_converted(
        &self,
        candidate: &Candidate,
        conversion: &CandidateConversion,
    ) -> Result<(Outgoing, usize), Failure> {
        let CandidateConversion { apis, traits, .. } = conversion;
        let target = candidate.target();
        let text = self.readable.text(&self.body);
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        let purpose = Api::of_call(self.query.provider, path).map(|(_, purpose)| purpose);
        let conversation = self.query.affinity.or_else(|| conversation::of_body(text));
        let conversation = conversation.map(|hash| format!("{hash:016x}"));
        let context = RequestContext {
            model: candidate.model(),
            traits,
            conversation: conversation.as_deref(),
            input_tokens_estimate: self.peek.estimate.input,
            now: u64::try_from(self.began.as_secs()).unwrap_or(0),
        };
        let made = purpose
            .ok_or(NotConverted::NoSuchCall)
            .and_then(|purpose| convert::request(*apis, purpose, text, &context))
            .map_err(|error| not_converted(target, *apis, &error))?;
        if conversion.refuses_loss && !made.dropped.is_empty() {
            return Err(would_lose(target, &made.dropped.iter().collect::<Vec<_>>()));
        }
        let mut headers = headers_for(&self.headers, apis.to);
        let (mut path_and_query, mut body) = (made.path_and_query, Bytes::from(made.body));
        let mut answer = HostedAnswer::Own;
        let dialect = apis.to.dialect();
        if let Some(hosting) = target.hosting(dialect) {
            let own = OwnCall {
                path_and_query: &path_and_query,
                headers: &headers,
                body: &body,
                model: candidate.model(),
            };
            let hosted = self.hosted(target, hosting, dialect, &own)?;
            path_and_query = hosted.path_and_query;
            body = hosted.body.unwrap_or(body);
            for name in hosted.without {
                headers.remove(name);
            }
            answer = hosted.answer;
        }
        let changed = body.len();
        let request = UpstreamRequest { method: self.method.clone(), path_and_query, headers, body, dialect };
        let converter = Some(Converter::new(*apis, made.answer));
        let dropped = made.dropped.iter().map(|field| Unknown::Field(field.to_owned())).collect();
        Ok((Outgoing { request, rewrite: Rewrite::None, answer, dropped, converter }, changed))
    }
}

fn headers_for(caller: &HeaderMap, api: Api) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in &OF_ANY_DIALECT {
        for value in caller.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    // What is read has to come in the clear.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if api == Api::Messages {
        let (name, value) = ANTHROPIC_VERSION;
        headers.insert(name, value);
    }
    headers
}

fn not_converted(target: &Target, apis: Conversion, error: &NotConverted) -> Failure {
    let kind = match error {
        NotConverted::NoSuchCall => Kind::NotFound,
        NotConverted::Unreadable(_) | NotConverted::Unsupported { .. } => Kind::Invalid,
    };
    Failure::new(kind, format!("target {} takes this call as {} only: {error}", target.name(), apis.to))
}

fn would_lose(target: &Target, fields: &[&str]) -> Failure {
    Failure::new(
        Kind::Invalid,
        format!(
            "target {} has no {}: leave it out, or ask the operator for upstream.on_loss = \"warn\"",
            target.name(),
            fields.join(", ")
        ),
    )
}
