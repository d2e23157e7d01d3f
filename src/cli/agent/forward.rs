//! A call of a client of this machine, passed on with a token in the place of the agent's key.
//!
//! It goes to another node only when the one before has certainly not begun: no connection, nothing processed, or the
//! node's own 503. A node's own 401 is answered with another token, once. Everything else passes as it comes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::guard;
use super::nodes::{Node, Nodes};
use crate::cli::logins::Login;
use crate::dialect::request::conversation;
use crate::dialect::{credential_headers, route};
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::RequestId;
use crate::domain::provider::Provider;
use crate::domain::secret::Secret;
use crate::inbound::{Handler, RequestBody};
use crate::proxy::{Body, drop_hop_by_hop, error_response};
use crate::transport::{self, ResponseBody};

/// The largest body of a request: a node's own default.
const BODY_MAX: usize = 32 << 20;
/// What the bodies of all calls may take, counted in these.
const MEMORY_UNIT: usize = 64 << 10;
const MEMORY_UNITS: usize = 8_192;

/// What is about the agent's own connection, or about a page, and not for a node.
const NOT_FOR_NODE: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::ORIGIN,
    header::COOKIE,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
];
/// Who names a target has asked one: what it answers is not the node's own word.
const X_SPROXY_TARGET: HeaderName = HeaderName::from_static("x-sproxy-target");

/// Answers the clients of this machine.
pub struct Forwarder {
    login: Login,
    nodes: Arc<Nodes>,
    key: Secret,
    memory: Semaphore,
}

/// A call, as it may be sent to any node.
struct Call<'c> {
    method: &'c Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

type Answer = (http::response::Parts, ResponseBody);

impl Forwarder {
    pub fn new(login: Login, nodes: Arc<Nodes>, key: Secret) -> Self {
        Self { login, nodes, key, memory: Semaphore::new(MEMORY_UNITS) }
    }

    async fn answer(&self, head: Parts, body: RequestBody) -> Result<Response<Body>, Refusal> {
        let dialect = route::dialect_of(&head.method, head.uri.path(), &head.headers);
        let refused = |failure| Refusal { dialect, failure };
        guard::check_source(&head).map_err(refused)?;
        if head.uri.path() == "/" && matches!(head.method, Method::GET | Method::HEAD) {
            // Claude Code looks whether anybody is there.
            return Ok(Response::new(Body::from("sproxy agent\n".to_owned())));
        }
        guard::check_key(&head.headers, head.uri.query(), &self.key).map_err(refused)?;
        let Some(route) = route::find(&head.method, head.uri.path(), &head.headers) else {
            // Neither logins nor administration, which the token would be good for as well.
            let text = "the agent passes calls of providers' APIs on, and nothing else";
            return Err(refused(Failure::new(Kind::NotFound, text)));
        };
        if head.headers.contains_key(header::UPGRADE) {
            return Ok(error_response::upgrade(route.provider, RequestId::new()));
        }
        let (body, _memory) = self.read(body).await.map_err(refused)?;
        let conversation = conversation::of_headers(&head.headers).or_else(|| conversation::of_body(&body));
        let call = Call {
            method: &head.method,
            uri: uri_for_node(&head.uri).map_err(refused)?,
            headers: headers_for_node(head.headers.clone()),
            body,
        };
        let token = self.login.access_token().await.map_err(|reason| refused(no_token(&reason)))?;
        let (head, body) = self.send(&call, conversation, token).await.map_err(refused)?;
        Ok(for_client(head, body))
    }

    async fn send(
        &self,
        call: &Call<'_>,
        conversation: Option<u64>,
        token: Secret,
    ) -> Result<Answer, Failure> {
        let mut token = token;
        let mut is_renewed = false;
        let mut last: Result<Answer, Failure> =
            Err(Failure::new(Kind::Unavailable, "there is no node to call"));
        for node in self.nodes.for_call(conversation) {
            let mut answer = node.client.request(call.with(&token)?).await;
            if !is_renewed && answer.as_ref().is_ok_and(|(head, _)| is_own(head, StatusCode::UNAUTHORIZED)) {
                is_renewed = true;
                if let Ok(other) = self.login.instead_of(&token).await {
                    token = other;
                    answer = node.client.request(call.with(&token)?).await;
                }
            }
            match answer {
                Ok(answer) if is_own(&answer.0, StatusCode::SERVICE_UNAVAILABLE) => {
                    tracing::info!(node = %node.url, "a node takes nothing now");
                    last = Ok(answer);
                }
                Ok(answer) => return Ok(answer),
                Err(reason) if reason.is_not_sent() => {
                    tracing::warn!(node = %node.url, %reason, "a node cannot be called");
                    node.failed();
                    // A node's own refusal says more than that another is away.
                    if last.is_err() {
                        last = Err(unreachable(&node, &reason));
                    }
                }
                Err(reason) => return Err(unreachable(&node, &reason)),
            }
        }
        last
    }

    /// The whole body, and its share of the memory for all.
    async fn read(&self, mut body: RequestBody) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Failure> {
        let full =
            || Failure::new(Kind::Unavailable, "the agent holds as many large requests as it can: try again");
        let mut whole = BytesMut::new();
        let mut memory: Option<SemaphorePermit<'_>> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure::new(Kind::Invalid, "the request broke off"))?;
            let Ok(piece) = frame.into_data() else { continue };
            if whole.len() + piece.len() > BODY_MAX {
                return Err(Failure::new(
                    Kind::TooLarge,
                    format!("the request has more than {BODY_MAX} bytes"),
                ));
            }
            whole.extend_from_slice(&piece);
            let held = memory.as_ref().map_or(0, SemaphorePermit::num_permits);
            let missing = whole.len().div_ceil(MEMORY_UNIT).saturating_sub(held);
            if let Ok(missing) = u32::try_from(missing).map(|missing| missing.max(u32::from(held == 0))) {
                let more = self.memory.try_acquire_many(missing).map_err(|_| full())?;
                match &mut memory {
                    Some(memory) => memory.merge(more),
                    None => memory = Some(more),
                }
            }
        }
        Ok((whole.freeze(), memory))
    }
}

impl Handler for Forwarder {
    type Body = Body;

    async fn handle(self: Arc<Self>, head: Parts, body: RequestBody, _: SocketAddr) -> Response<Body> {
        self.answer(head, body).await.unwrap_or_else(Refusal::into_response)
    }

    fn no_capacity(&self, head: &Parts) -> Response<Body> {
        let dialect = route::dialect_of(&head.method, head.uri.path(), &head.headers);
        let failure =
            Failure::new(Kind::Unavailable, "the agent has as many connections as it takes: try again");
        Refusal { dialect, failure }.into_response()
    }
}

impl Call<'_> {
    fn with(&self, token: &Secret) -> Result<Request<Bytes>, Failure> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| Failure::new(Kind::Internal, "the access token is no text for a header"))?;
        value.set_sensitive(true);
        let mut request = Request::new(self.body.clone());
        request.method_mut().clone_from(self.method);
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.headers);
        request.headers_mut().insert(header::AUTHORIZATION, value);
        Ok(request)
    }
}

/// A refusal of the agent's own, in the dialect of the call.
struct Refusal {
    dialect: Option<Provider>,
    failure: Failure,
}

impl Refusal {
    fn into_response(self) -> Response<Body> {
        if let Some(dialect) = self.dialect {
            return error_response::response(dialect, &self.failure, RequestId::new());
        }
        let mut response = Response::new(Body::from(format!("{}\n", self.failure.message)));
        *response.status_mut() = self.failure.kind.http_status();
        response
    }
}

fn uri_for_node(uri: &Uri) -> Result<Uri, Failure> {
    let query = uri.query().map(guard::without_key).filter(|query| !query.is_empty());
    let text = query.map_or_else(|| uri.path().to_owned(), |query| format!("{}?{query}", uri.path()));
    let path: PathAndQuery =
        text.parse().map_err(|_| Failure::new(Kind::Invalid, "the path cannot be passed on"))?;
    Ok(Uri::from(path))
}

fn headers_for_node(mut headers: HeaderMap) -> HeaderMap {
    drop_hop_by_hop(&mut headers);
    for name in credential_headers().iter().map(|(name, _)| name).chain(&NOT_FOR_NODE) {
        headers.remove(name);
    }
    headers
}

/// Without what would let a page read it.
fn for_client(mut head: http::response::Parts, body: ResponseBody) -> Response<Body> {
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    drop_hop_by_hop(&mut head.headers);
    let is_cors = |name: &&HeaderName| name.as_str().starts_with("access-control-");
    let cors: Vec<_> = head.headers.keys().filter(is_cors).cloned().collect();
    for name in cors {
        head.headers.remove(name);
    }
    let mut response = Response::new(Body::Unmetered(Box::new(body)));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// Whether it is the node's own word: no target of it was asked.
fn is_own(head: &http::response::Parts, status: StatusCode) -> bool {
    head.status == status && !head.headers.contains_key(X_SPROXY_TARGET)
}

fn no_token(reason: &crate::cli::error::Error) -> Failure {
    Failure::new(Kind::Unauthenticated, reason.to_string())
}

fn unreachable(node: &Node, reason: &transport::Error) -> Failure {
    let kind =
        if matches!(reason, transport::Error::Timeout(_)) { Kind::UpstreamTimeout } else { Kind::Upstream };
    Failure::new(kind, format!("{} gave no answer: {reason}", node.url))
}
