//! What one attempt sends: the caller's request in the form that its target takes, byte for byte the same but for what
//! has to differ.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue, Method};

use super::buffered_request::{BufferedRequest, Rewrite, UsageInjection};
use super::converter::Converter;
use crate::cloud::bedrock::{self, NotConvertible};
use crate::cloud::hosting::{HostedAnswer, HostedCall, Hosting, OwnCall};
use crate::dialect::request::other_model;
use crate::dialect::{self, Unknown};
use crate::domain::failure::{Failure, Kind};
use crate::domain::provider::Provider;
use crate::domain::quoted::Quoted;
use crate::json::edit::without_path;
use crate::upstream::{Candidate, Target, UpstreamRequest};

/// A request for one attempt, and what has to become of its answer.
pub(super) struct Outgoing {
    pub(super) request: UpstreamRequest,
    pub(super) rewrite: Rewrite,
    pub(super) answer: HostedAnswer,
    /// What was left out, because the target's host does not know it.
    pub(super) dropped: Vec<Unknown>,
    /// Makes the caller's answer of the target's, where they are in different APIs.
    pub(super) converter: Option<Converter>,
}

impl BufferedRequest {
    /// The request of one attempt.
    ///
    /// # Errors
    /// `Unavailable`: no memory for it. `Invalid`, `NotFound`: it cannot be made for this target.
    pub(super) fn for_candidate(&mut self, candidate: &Candidate) -> Result<Outgoing, Failure> {
        self.prepare_for(candidate.target())?;
        let (outgoing, changed) = self.compose(candidate)?;
        // Of one attempt at a time.
        self.permit.grow(changed.saturating_sub(self.changed_len))?;
        self.changed_len = self.changed_len.max(changed);
        Ok(outgoing)
    }

    /// The request, and how many bytes of it are not the caller's.
    fn compose(&self, candidate: &Candidate) -> Result<(Outgoing, usize), Failure> {
        if let Some(conversion) = candidate.conversion() {
            return self.compose_converted(candidate, conversion);
        }
        let target = candidate.target();
        let mut headers = self.headers.clone();
        let with_usage = match &self.usage_injection {
            UsageInjection::Ready(body) if target.include_usage() => Some(body),
            _ => None,
        };
        let rewrite = if with_usage.is_some() { Rewrite::RemoveUsage } else { Rewrite::None };
        let text = with_usage.map_or_else(|| self.readable.text(&self.body), |body| &body[..]);
        let (dropped, mut changed) = if target.may_rewrite() {
            let unknown = target.unknown_fields(candidate.model(), &bedrock::betas(&headers));
            without_unknown(unknown, &mut headers, text)
        } else {
            (Vec::new(), None)
        };
        let mut path_and_query = self.path_and_query.clone();
        let mut answer = HostedAnswer::Own;
        if let Some(hosting) = target.hosting(self.query.provider) {
            let body = changed.as_deref().unwrap_or(text);
            let own = OwnCall {
                path_and_query: &self.path_and_query,
                headers: &headers,
                body,
                model: candidate.model(),
            };
            let hosted = self.hosted(target, hosting, self.query.provider, &own)?;
            path_and_query = hosted.path_and_query;
            changed = hosted.body.or(changed);
            hosted.without.iter().for_each(|name| {
                headers.remove(name);
            });
            answer = hosted.answer;
        } else if let Some(model) = candidate.other_model() {
            let in_path = other_model::in_path(self.query.provider, &path_and_query, model);
            let in_body =
                other_model::in_body(self.query.provider, changed.as_deref().unwrap_or(text), model);
            if in_path.is_none() && in_body.is_none() {
                return Err(cannot_rename(&self.peek.model, model));
            }
            path_and_query = in_path.unwrap_or(path_and_query);
            changed = in_body.or(changed);
        }
        if with_usage.is_some() || matches!(answer, HostedAnswer::Invoke(_)) {
            // What is taken out of the answer again, or translated, has to be found in the clear.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if with_usage.is_some() || changed.is_some() {
            // Whatever the caller's body is coded in, this one is not.
            headers.remove(CONTENT_ENCODING);
        }
        let changed_len = changed.as_ref().map_or(0, Bytes::len);
        let body = changed.or_else(|| with_usage.cloned()).unwrap_or_else(|| self.body.clone());
        let method = self.method.clone();
        let request = UpstreamRequest { method, path_and_query, headers, body, dialect: self.query.provider };
        Ok((Outgoing { request, rewrite, answer, dropped, converter: None }, changed_len))
    }

    /// The call as an API takes it that is not the provider's own.
    pub(super) fn hosted(
        &self,
        target: &Target,
        hosting: &Hosting,
        dialect: Provider,
        call: &OwnCall<'_>,
    ) -> Result<HostedCall, Failure> {
        let hosted = if self.method == Method::POST {
            dialect::hosted_call(dialect, hosting, call)
        } else {
            Err(NotConvertible::Path)
        };
        hosted.map_err(|error| not_hosted(target, error))
    }

    /// Remembers what a refusal of `candidate` says that its host does not know of this call. Empty if the call could not
    /// be sent otherwise for that.
    pub(super) fn learn_unknown(&self, candidate: &Candidate, refusal: &[u8]) -> Vec<Unknown> {
        let body = self.readable.text(&self.body);
        let (headers, model) = (&self.headers, candidate.model());
        let call = OwnCall { path_and_query: &self.path_and_query, headers, body, model };
        let unknown = dialect::unknown_in(self.query.provider, refusal, &call);
        let betas = bedrock::betas(headers);
        let is_news = !unknown.is_empty() && candidate.target().does_not_know(model, unknown.clone(), &betas);
        if is_news { unknown } else { Vec::new() }
    }

    /// Notes that the host of `candidate` has taken the call without `dropped`.
    pub(super) fn learn_known(&self, candidate: &Candidate, dropped: &[Unknown]) {
        let was_sent =
            |beta: &&str| !dropped.iter().any(|left| matches!(left, Unknown::Beta(name) if name == beta));
        let betas: Vec<&str> = bedrock::betas(&self.headers).into_iter().filter(was_sent).collect();
        if !betas.is_empty() {
            candidate.target().knows(candidate.model(), betas.into_iter());
        }
    }
}

/// Takes what is unknown out of headers and body. Returns what was there, and the body if it is another now.
fn without_unknown(
    unknown: Vec<Unknown>,
    headers: &mut HeaderMap,
    text: &[u8],
) -> (Vec<Unknown>, Option<Bytes>) {
    let mut changed: Option<Bytes> = None;
    let mut dropped = Vec::new();
    for unknown in unknown {
        let was_there = match &unknown {
            Unknown::Beta(name) => without_beta(headers, name),
            // It has been made names of.
            Unknown::SomeBeta => false,
            Unknown::Field(path) => {
                let without = without_path(changed.as_deref().unwrap_or(text), path);
                let was_there = without.is_some();
                changed = without.or(changed);
                was_there
            }
        };
        if was_there {
            dropped.push(unknown);
        }
    }
    (dropped, changed)
}

/// False if it is not there.
fn without_beta(headers: &mut HeaderMap, name: &str) -> bool {
    let betas = bedrock::betas(headers);
    if !betas.contains(&name) {
        return false;
    }
    let left = betas.into_iter().filter(|beta| *beta != name).collect::<Vec<_>>().join(",");
    headers.remove(bedrock::BETA);
    if let Ok(left) = HeaderValue::from_str(&left)
        && !left.is_empty()
    {
        headers.insert(bedrock::BETA, left);
    }
    true
}

fn cannot_rename(asked: &str, model: &str) -> Failure {
    Failure::new(
        Kind::Invalid,
        format!(
            "`{}` stands for `{model}` here, which cannot be put into this call: send the body as JSON, or name \
             `{model}`",
            Quoted(asked)
        ),
    )
}

fn not_hosted(target: &Target, error: NotConvertible) -> Failure {
    let platform = target.platform().as_str();
    let kind = match error {
        NotConvertible::Path => Kind::NotFound,
        NotConvertible::Body | NotConvertible::Model => Kind::Invalid,
    };
    Failure::new(kind, format!("target {} is at {platform}: {error}", target.name()))
}
