//! A caller wants to leave HTTP: what is checked before that, and what goes on then.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use http::response::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;

use super::booking::Conversation;
use super::proof::Proof;
use super::realtime;
use super::session::Session;
use super::sockets::Sockets;
use crate::dialect;
use crate::dialect::request::conversation;
use crate::dialect::route::Route;
use crate::dialect::websocket::{KEY_PROTOCOL, REALTIME_PROTOCOL, WebsocketApi, model_of_query, with_model};
use crate::domain::clock::Clock;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::RequestId;
use crate::domain::principal::Principal;
use crate::proxy::buffered_request::Head;
use crate::proxy::error_response;
use crate::proxy::gateway::{Gateway, plan};
use crate::proxy::headers;
use crate::proxy::path;
use crate::proxy::response_body::Body;
use crate::transport::{ConnectionSlot, Opened, ResponseBody};
use crate::upstream::{AttemptFailure, Candidate, ModelQuery, Next, Plan, SendError, TargetQuery};
use crate::websocket::{Offer, drop_handshake};

impl Gateway {
    /// Answers a caller that wants a WebSocket. Where there is none it is told to use POST, which clients that can do
    /// both then do at once.
    pub(in crate::proxy) async fn open_websocket(
        self: &Arc<Self>,
        request_id: RequestId,
        route: &Route<'_>,
        head: &mut Head<'_>,
        (principal, proof): (Principal, Option<Proof>),
    ) -> Result<Response<Body>, Failure> {
        let has_none = || Ok(error_response::upgrade(route.provider, request_id));
        let Some(api) = dialect::websocket_at(route.provider, route.path) else { return has_none() };
        // Without it the connection is none that could be taken over, such as one of HTTP/2.
        let (Some(upgrade), Some(proof)) = (head.upgrade.take(), proof) else { return has_none() };
        path::check(route.path)?;
        let live = self.live.now();
        if !live.upstream.takes_websocket(route.provider) {
            return has_none();
        }
        let offer = Offer::read(&head.method, &head.headers)
            .map_err(|error| Failure::new(Kind::Invalid, error.to_string()))?;
        let mut to_provider = std::mem::take(&mut head.headers);
        headers::for_upstream(&mut to_provider);
        drop_handshake(&mut to_provider);
        let query = head.query.take().map(Cow::into_owned);
        match api {
            WebsocketApi::Responses => {
                let path = path_and_query(route.path, query.as_deref());
                let tasks = Arc::clone(&self.calls.drainer);
                let (sockets, unsolicited) = Sockets::new(route.provider, path, to_provider, tasks);
                let session =
                    Session::new(Arc::clone(self), route, (principal.user_id, proof), Arc::new(sockets));
                upgrade.spawn(|connection| session.run(connection, unsolicited));
                Ok(switching(offer, &HeaderMap::new()))
            }
            WebsocketApi::Realtime => {
                let protocols = Protocols::offered(&proof.headers);
                protocols.pass_on(&mut to_provider);
                let model: Arc<str> = query.as_deref().and_then(model_of_query).unwrap_or_default().into();
                let target = TargetQuery {
                    provider: route.provider,
                    api: None,
                    model: if model.is_empty() {
                        ModelQuery::Nameless { has_body: false }
                    } else {
                        ModelQuery::Named(Arc::clone(&model))
                    },
                    is_admin: false,
                    affinity: conversation::of_headers(&to_provider),
                    counts_for_health: true,
                };
                let plan = plan(&live.upstream, route, &target, &principal).await?;
                let asked = (route, query.as_deref(), &to_provider);
                let (io, slot, answered, candidate) = match open(plan, asked, &*self.context.clock).await {
                    Ok(Some(Conversing::Open { io, slot, head, candidate })) => (io, slot, head, candidate),
                    Ok(Some(Conversing::Refused { head, body })) => {
                        let mut head = *head;
                        headers::for_caller(&mut head.headers);
                        return Ok(Response::from_parts(head, Body::Unmetered(Box::new(body))));
                    }
                    Ok(None) => return has_none(),
                    Err(error) => {
                        tracing::warn!(%request_id, %error, "no conversation with a provider");
                        return Err(Failure::from(&error));
                    }
                };
                let mut answer_headers = answered.headers;
                drop_handshake(&mut answer_headers);
                headers::for_caller(&mut answer_headers);
                headers::say_target(&mut answer_headers, candidate.target());
                protocols.choose(&mut answer_headers);
                let conversation = Conversation {
                    gateway: Arc::clone(self),
                    provider: route.provider,
                    path: route.path.to_owned(),
                    proof,
                    headers: to_provider,
                    user: principal.user_id,
                    model,
                    candidate,
                    last_input: AtomicU64::new(0),
                };
                let provider = realtime::Provider { io, slot };
                upgrade.spawn(|connection| realtime::relay(conversation, connection, provider));
                Ok(switching(offer, &answer_headers))
            }
        }
    }
}

/// What came of asking providers for a conversation.
enum Conversing {
    Open {
        io: Upgraded,
        slot: ConnectionSlot,
        head: Box<Parts>,
        candidate: Candidate,
    },
    /// The last one's own words.
    Refused {
        head: Box<Parts>,
        body: ResponseBody,
    },
}

/// Asks one candidate after the other. `None`: none of them has WebSockets.
async fn open(
    mut plan: Plan,
    (route, query, headers): (&Route<'_>, Option<&str>, &HeaderMap),
    clock: &dyn Clock,
) -> Result<Option<Conversing>, SendError> {
    loop {
        let candidate = plan.current().clone();
        if !candidate.takes_websocket(route.provider) {
            match plan.skip(Instant::now()) {
                Next::Try => continue,
                Next::Stop => return Ok(None),
            }
        }
        let renamed = candidate.other_model().zip(query).map(|(model, query)| with_model(query, model));
        let path = path_and_query(route.path, renamed.as_deref().or(query));
        let opened = candidate.open_websocket(path, headers.clone(), route.provider).await;
        let failure = match &opened {
            Ok(Opened::Upgraded { .. }) => None,
            Ok(Opened::Refused { head, .. }) => {
                AttemptFailure::of_head(head.status, &head.headers, clock.now())
            }
            Err(error) => AttemptFailure::of_error(error),
        };
        match failure {
            Some(failure) if plan.failed(failure, Instant::now()) == Next::Try => continue,
            Some(_) => {}
            None => plan.answered(Instant::now()),
        }
        return opened.map(|opened| {
            Some(match opened {
                Opened::Upgraded { io, slot, head } => Conversing::Open { io, slot, head, candidate },
                Opened::Refused { head, body } => Conversing::Refused { head, body },
            })
        });
    }
}

fn switching(offer: Offer, headers: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::Own(None));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().clone_from(headers);
    offer.accept(response.headers_mut());
    response
}

fn path_and_query(path: &str, query: Option<&str>) -> String {
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// The subprotocols that a caller offers, without the key that may be among them.
struct Protocols(Vec<String>);

impl Protocols {
    fn offered(headers: &HeaderMap) -> Self {
        let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
        let names = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
        let is_name = |name: &&str| !name.is_empty() && !name.starts_with(KEY_PROTOCOL);
        Self(names.map(str::trim).filter(is_name).map(str::to_owned).collect())
    }

    fn pass_on(&self, headers: &mut HeaderMap) {
        headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
        if let Ok(value) = HeaderValue::from_str(&self.0.join(", "))
            && !value.is_empty()
        {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
    }

    /// Browsers want one of theirs to be chosen.
    fn choose(&self, headers: &mut HeaderMap) {
        let is_chosen = headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
        if !is_chosen && self.0.iter().any(|name| name == REALTIME_PROTOCOL) {
            let chosen = HeaderValue::from_static(REALTIME_PROTOCOL);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
        }
    }
}
