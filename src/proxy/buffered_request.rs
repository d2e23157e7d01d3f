//! A request that is there as a whole, with what was read of it. It outlives the attempts, each of which is given a
//! request of its own.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::Body as HttpBody;

use super::asked::Asked;
use super::headers;
use super::readable_body::Readable;
use super::recorder::Hints;
use super::request_body::{BodyMemory, BodyPermit};
use crate::dialect::convert::Api;
use crate::dialect::request::{Peek, conversation};
use crate::dialect::route::Route;
use crate::dialect::{self, Billing};
use crate::domain::clock::Timestamp;
use crate::domain::failure::Failure;
use crate::domain::ids::UserId;
use crate::inbound::Upgrade;
use crate::quota::QuotaRequest;
use crate::upstream::{ModelQuery, Target, TargetQuery};

/// A request's head, as far as it matters here.
#[derive(Debug)]
pub struct Head<'q> {
    pub method: Method,
    /// What stands behind the `?`.
    pub query: Option<Cow<'q, str>>,
    pub headers: HeaderMap,
    /// The way out of HTTP, if it asks for one.
    pub upgrade: Option<Box<Upgrade>>,
}

/// A caller's request, without the caller's credentials.
pub(super) struct BufferedRequest {
    pub(super) method: Method,
    pub(super) path_and_query: String,
    /// End-to-end headers.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// As a provider reads it.
    pub(super) readable: Readable,
    pub(super) permit: BodyPermit,
    /// What the permit holds for a body that an attempt sends in another form.
    pub(super) changed_len: usize,
    pub(super) usage_injection: UsageInjection,
    pub(super) peek: Peek,
    pub(super) hints: Hints,
    /// Which targets may take it.
    pub(super) query: TargetQuery,
    /// How long its body was waited for.
    pub(super) waited: Duration,
    /// When it came.
    pub(super) began: Timestamp,
    /// It is a message of a WebSocket.
    pub(super) asked: Option<Box<dyn Asked>>,
}

/// The body with usage asked for in its stream, for targets that are to be asked.
pub(super) enum UsageInjection {
    None,
    /// Not asked for yet.
    Pending,
    Ready(Bytes),
}

/// What has to be done to an answer, so that it is the one that the caller asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rewrite {
    None,
    /// The event with the usage is taken out again.
    RemoveUsage,
}

impl BufferedRequest {
    /// Reads the body to its end, and in it what is asked for.
    ///
    /// # Errors
    /// As [`BodyMemory::read`] says.
    pub(super) async fn read<B>(
        memory: &Arc<BodyMemory>,
        route: &Route<'_>,
        head: &mut Head<'_>,
        body: B,
        (user, now): (UserId, Timestamp),
        is_admin: bool,
    ) -> Result<Box<Self>, Failure>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let began = Instant::now();
        let (body, permit) = memory.read(body, user).await?;
        let waited = began.elapsed();
        let readable = Readable::of(&body, &head.headers, memory.empty_permit(user)).await?;
        let peek = Peek::new(route, &head.headers, readable.peek(&body), readable.is_exact());
        let query = TargetQuery {
            provider: route.provider,
            api: Some(&head.method)
                .filter(|method| **method == Method::POST)
                .and_then(|_| Api::of_call(route.provider, route.path))
                .map(|(api, _)| api),
            model: model_query(route, &peek, !body.is_empty()),
            is_admin,
            affinity: conversation::of_headers(&head.headers),
            counts_for_health: route.billing != Billing::Untracked,
        };
        let hints = Hints::of(&head.headers);
        let path_and_query = match &head.query {
            Some(query) => format!("{}?{query}", route.path),
            None => route.path.to_owned(),
        };
        let mut headers = std::mem::take(&mut head.headers);
        headers::for_upstream(&mut headers);
        let has_option =
            route.billing == Billing::Inference && dialect::has_usage_option(route.provider, route.path);
        let usage_injection =
            if has_option && peek.lacks_usage() { UsageInjection::Pending } else { UsageInjection::None };
        Ok(Box::new(Self {
            method: head.method.clone(),
            path_and_query,
            headers,
            body,
            readable,
            permit,
            changed_len: 0,
            usage_injection,
            peek,
            hints,
            query,
            waited,
            began: now,
            asked: None,
        }))
    }

    /// Reads which conversation it continues, where no header says so.
    pub(super) fn read_conversation(&mut self) {
        if self.query.affinity.is_none() {
            self.query.affinity = conversation::of_body(self.readable.text(&self.body));
        }
    }

    /// Drops the decoded copy of a body, which nobody reads again.
    pub(super) fn drop_copy(&mut self) {
        if !matches!(self.usage_injection, UsageInjection::Pending) {
            self.readable = Readable::Unreadable;
        }
    }

    /// What is asked for, for limits.
    pub(super) fn quota_request(&self) -> QuotaRequest<'_> {
        let peek = &self.peek;
        QuotaRequest {
            model: &peek.model,
            max_tokens: peek.max_tokens,
            model_is_ambiguous: peek.ambiguous.model,
            max_tokens_is_ambiguous: peek.ambiguous.max_tokens,
            is_open_ended: peek.is_background && peek.max_tokens.is_none(),
        }
    }

    /// Makes the body that `target` gets, where it is another than the caller's.
    ///
    /// # Errors
    /// `Unavailable`: no memory for it.
    pub(super) fn prepare_for(&mut self, target: &Target) -> Result<(), Failure> {
        if target.include_usage() && matches!(self.usage_injection, UsageInjection::Pending) {
            let made = self.peek.with_usage(self.readable.text(&self.body));
            self.permit.grow(made.as_ref().map_or(0, Bytes::len))?;
            self.usage_injection = made.map_or(UsageInjection::None, UsageInjection::Ready);
        }
        Ok(())
    }
}

/// What a call says of its model. An unreadable one matters only where the call may be for a model.
fn model_query(route: &Route<'_>, peek: &Peek, has_body: bool) -> ModelQuery {
    let may_name = matches!(route.billing, Billing::Inference | Billing::Untracked);
    if !peek.model.is_empty() {
        ModelQuery::Named(Arc::clone(&peek.model))
    } else if has_body && may_name && peek.hides_model {
        ModelQuery::Unread
    } else {
        ModelQuery::Nameless { has_body }
    }
}
