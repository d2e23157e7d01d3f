//! A follower's way to the leader's HTTP side: what only the leader can answer is sent there as it is, and its answer
//! comes back as it is, with `x-sproxy-scope: cluster`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Request};
use http_body::{Body as HttpBody, Frame};
use parking_lot::Mutex;

use super::callers::{RELAYED, SESSION_ENDED};
use super::control;
use super::input::bearer;
use super::problem::ApiError;
use super::site::Sites;
use crate::accounts::Accounts;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::Jti;
use crate::domain::principal::Credential;
use crate::proxy;
use crate::transport::{BodyError, Client, Endpoint, Http2, ResponseBody};

/// The largest request that is relayed; the control plane takes none that is larger.
const BODY_MAX: usize = 1024 * 1024;
const SCOPE: &str = "x-sproxy-scope";

/// The leader's present HTTP address; `None` if it is not known yet.
pub type LeaderAddress = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The last known address of the leader, and a client for it.
type Known = Option<(String, Arc<Client>)>;

/// A relay to the present address of the leader. The admin token of this node's own data directory opens nothing
/// there.
#[must_use]
pub fn to_leader(address: LeaderAddress, accounts: Accounts, sites: Arc<Sites>) -> control::Relay {
    let known: Arc<Mutex<Known>> = Arc::default();
    Arc::new(move |request| {
        let (address, known) = (Arc::clone(&address), Arc::clone(&known));
        let (accounts, sites) = (accounts.clone(), Arc::clone(&sites));
        let is_local_admin = bearer(request.headers()).is_some_and(|credential| {
            let caller = accounts.authenticate_operator(credential, sites.callers.clock.now());
            caller.is_ok_and(|caller| matches!(caller.credential, Credential::LocalAdmin))
        });
        Box::pin(async move {
            if is_local_admin {
                return ApiError::from(go_to_leader(address().as_deref())).into_response();
            }
            match relay(request, &address, &known, &sites).await {
                Ok(response) => note_end(response, &accounts).await,
                Err(failure) => ApiError::from(failure).into_response(),
            }
        })
    })
}

fn go_to_leader(leader: Option<&str>) -> Failure {
    let leader = leader.map_or_else(String::new, |leader| format!(" at {leader}"));
    Failure::new(
        Kind::Unauthenticated,
        format!(
            "this node is a follower, and its leader does not know the admin token in its data directory: go to the \
             leader{leader}, or send an admin's API key or access token"
        ),
    )
}

/// A session that was ended through this follower is over here, too, and at once. The header that names it is not
/// passed on.
async fn note_end(mut response: Response, accounts: &Accounts) -> Response {
    let session = response.headers_mut().remove(SESSION_ENDED);
    let session = session.and_then(|session| session.to_str().ok()?.parse::<Jti>().ok());
    if let Some(session) = session {
        accounts.session_ended(session).await;
    }
    response
}

async fn relay(
    request: Request<Body>,
    address: &LeaderAddress,
    known: &Mutex<Known>,
    sites: &Sites,
) -> Result<Response, Failure> {
    if request.headers().contains_key(RELAYED) {
        return Err(Failure::new(
            Kind::Unavailable,
            "this node is a follower too: check cluster.advertise of the leader",
        ));
    }
    let client = leader(address, known)?;
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BODY_MAX).await.map_err(|_| {
        Failure::new(Kind::TooLarge, format!("a request to the leader has at most {BODY_MAX} bytes"))
    })?;
    // Logins are limited by where they come from.
    let caller = sites.callers.address(&head.headers, &head.extensions);
    let site = sites.of(&head.uri, &head.headers, &head.extensions);
    let mut headers = head.headers;
    proxy::drop_hop_by_hop(&mut headers);
    for name in [HOST, CONTENT_LENGTH, EXPECT, PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    sites.callers.speak_for(caller, &mut headers);
    site.tell_leader(&mut headers);
    headers.insert(RELAYED, HeaderValue::from_static("1"));
    let mut outgoing = Request::new(body);
    *outgoing.method_mut() = head.method;
    *outgoing.uri_mut() = head.uri;
    *outgoing.headers_mut() = headers;
    let answered = client.request(outgoing).await.map_err(|error| {
        tracing::warn!(%error, "cannot relay to the leader");
        Failure::new(Kind::Unavailable, "the leader cannot be reached from this follower; try again later")
            .retry_after(Duration::from_secs(1))
    });
    let (mut head, body) = answered?;
    proxy::drop_hop_by_hop(&mut head.headers);
    head.headers.insert(SCOPE, HeaderValue::from_static("cluster"));
    Ok(Response::from_parts(head, Body::new(RelayedBody(body))))
}

fn leader(address: &LeaderAddress, known: &Mutex<Known>) -> Result<Arc<Client>, Failure> {
    let unknown = || {
        Failure::new(Kind::Unavailable, "this follower has not heard from its leader yet; try again later")
    };
    let url = address().ok_or_else(unknown)?;
    let mut known = known.lock();
    if let Some((_, client)) = known.as_ref().filter(|(at, _)| *at == url) {
        return Ok(Arc::clone(client));
    }
    let client = client(&url).map_err(|reason| {
        tracing::error!(%reason, "the leader's address cannot be used");
        Failure::new(Kind::Internal, "the leader's address cannot be used; see the node's log")
    })?;
    let client = Arc::new(client);
    *known = Some((url, Arc::clone(&client)));
    Ok(client)
}

fn client(url: &str) -> Result<Client, String> {
    Client::new(&Endpoint {
        url: url.parse().map_err(|_| format!("`{url}` is no URL"))?,
        http2: Http2::No,
        proxy: None,
        ca_file: None,
        connect_timeout: Duration::from_secs(2),
        answer_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_mins(1),
        total_timeout: Duration::from_hours(1),
        queue_timeout: Duration::from_secs(5),
        max_connections: 1_024,
        http2_connections: 1,
    })
}

struct RelayedBody(ResponseBody);

impl HttpBody for RelayedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_piece(cx).map(|piece| piece.map(|bytes| bytes.map(Frame::data)))
    }
}
