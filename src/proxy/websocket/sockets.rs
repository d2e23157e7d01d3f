//! The WebSockets to providers of one caller's connection: opened when a call first needs one, and kept for the calls
//! that follow, since a provider keeps there what they go on from.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::continuation::Continuations;
use super::upstream_socket::{NotBegun, UpstreamSocket};
use crate::dialect::websocket::{ClientMessage, as_message};
use crate::domain::failure::{Failure, Kind};
use crate::domain::provider::Provider;
use crate::proxy::asked::{Asked, SendFuture};
use crate::proxy::detach::Drainer;
use crate::transport::{Opened, ResponseBody};
use crate::upstream::{Candidate, SendError, UpstreamRequest, UpstreamResponse};
use crate::websocket::{Message, Text, WebSocket};

/// Most connections go to one target, and a few more where that fails.
const SOCKETS_MAX: usize = 4;
/// Events that nobody asked for and have not been passed on.
const UNSOLICITED_MAX: usize = 16;

/// A call that was asked for by a message.
pub(super) struct AskedOver {
    pub(super) sockets: Arc<Sockets>,
    pub(super) asked: ClientMessage,
    /// As it came, where nothing had to be added.
    pub(super) message: Option<Text>,
    /// It went as a call rather than as a message.
    pub(super) is_posted: Arc<AtomicBool>,
}

/// The sockets of one caller's connection.
pub(super) struct Sockets {
    affinity: u64,
    pub(super) continuations: Continuations,
    path_and_query: String,
    headers: HeaderMap,
    dialect: Provider,
    open: Mutex<HashMap<u64, Arc<UpstreamSocket>>>,
    /// Those that turned out to have none.
    without: Mutex<HashSet<u64>>,
    /// Two calls for the same target do not open two.
    opening: tokio::sync::Mutex<()>,
    unsolicited: mpsc::Sender<Message>,
    tasks: Arc<Drainer>,
}

impl Asked for AskedOver {
    fn generates(&self) -> bool {
        self.asked.generates
    }

    fn affinity(&self) -> u64 {
        self.sockets.affinity
    }

    fn send<'a>(
        &'a self,
        candidate: &'a Candidate,
        outgoing: UpstreamRequest,
        own_body: &'a Bytes,
    ) -> SendFuture<'a> {
        Box::pin(self.send_to(candidate, outgoing, own_body))
    }
}

impl AskedOver {
    /// Sends the call to a candidate: over a WebSocket where it has one, or as it would have been without.
    async fn send_to(
        &self,
        candidate: &Candidate,
        outgoing: UpstreamRequest,
        own_body: &Bytes,
    ) -> Result<UpstreamResponse, SendError> {
        if candidate.takes_websocket(outgoing.dialect) {
            let is_own = outgoing.body.as_ptr() == own_body.as_ptr() && outgoing.body.len() == own_body.len();
            let message = match &self.message {
                Some(message) if is_own => message.clone(),
                _ => self.changed(&outgoing.body)?,
            };
            if let Some(response) = self.sockets.exchange(candidate, &self.asked, message).await? {
                return Ok(response);
            }
        }
        if !self.asked.generates {
            return Err(SendError::NotPrepared(Failure::new(
                Kind::Invalid,
                format!(
                    "target {} takes no WebSocket, where nothing can be made ready by `generate: false`: ask for the \
                     response itself",
                    candidate.target().name()
                ),
            )));
        }
        self.is_posted.store(true, Ordering::Relaxed);
        candidate.send(outgoing).await
    }

    /// The message for a call of which something had to be changed.
    fn changed(&self, body: &[u8]) -> Result<Text, SendError> {
        let made = as_message(body, &self.asked).and_then(|made| Text::try_from(made).ok());
        made.ok_or_else(|| {
            let failure = Failure::new(Kind::Invalid, "the message is no JSON object in UTF-8");
            SendError::NotPrepared(failure)
        })
    }
}

impl Sockets {
    /// None yet, and where what nobody asked for will come from.
    pub(super) fn new(
        dialect: Provider,
        path_and_query: String,
        headers: HeaderMap,
        tasks: Arc<Drainer>,
    ) -> (Self, mpsc::Receiver<Message>) {
        let (unsolicited, received) = mpsc::channel(UNSOLICITED_MAX);
        let affinity = Uuid::new_v4().as_u64_pair().0;
        let (open, opening) = (Mutex::default(), tokio::sync::Mutex::default());
        let continuations = Continuations::default();
        let sockets = Self {
            affinity,
            continuations,
            path_and_query,
            headers,
            dialect,
            open,
            without: Mutex::default(),
            opening,
            unsolicited,
            tasks,
        };
        (sockets, received)
    }

    /// Asks for a response over a candidate's socket. `None` if there turns out to be none where it goes.
    async fn exchange(
        &self,
        candidate: &Candidate,
        asked: &ClientMessage,
        message: Text,
    ) -> Result<Option<UpstreamResponse>, SendError> {
        let broken = || SendError::Broken {
            target: candidate.target().name().to_owned(),
            reason: "the WebSocket was closed before the message was sent".to_owned(),
            not_sent: true,
        };
        // One that had been open may turn out to be closed.
        for _ in 0..2 {
            let socket = match self.socket(candidate).await? {
                Got::Socket(socket) => socket,
                Got::Refused(response) => return Ok(Some(*response)),
                Got::None => return Ok(None),
            };
            let in_flight = candidate.begin_over_websocket();
            match socket.begin(asked.stream.clone(), message.clone()).await {
                Ok(pieces) => {
                    let sender = Arc::clone(&socket);
                    let body = ResponseBody::of_channel(pieces, sender, candidate.answer_limits());
                    let head = head(StatusCode::OK, "text/event-stream");
                    let target = Arc::clone(candidate.target());
                    return Ok(Some(UpstreamResponse { head, body, target, in_flight }));
                }
                Err(NotBegun::Closed) => {}
                Err(NotBegun::Busy) => {
                    return Err(SendError::Busy {
                        target: candidate.target().name().to_owned(),
                        reason: "a response of this stream is under way over the WebSocket".to_owned(),
                    });
                }
            }
        }
        Err(broken())
    }

    /// The socket to a candidate that is open; none, and room for one.
    fn open_to(&self, candidate: &Candidate) -> Result<Option<Arc<UpstreamSocket>>, SendError> {
        let mut open = self.open.lock();
        open.retain(|_, socket| !socket.is_closed());
        if let Some(socket) = open.get(&candidate.id()) {
            return Ok(Some(Arc::clone(socket)));
        }
        if open.len() >= SOCKETS_MAX {
            open.retain(|_, socket| !socket.is_idle());
        }
        if open.len() < SOCKETS_MAX {
            return Ok(None);
        }
        let target = candidate.target().name().to_owned();
        let reason = format!("this connection has responses under way at {SOCKETS_MAX} others");
        Err(SendError::Busy { target, reason })
    }

    /// The socket to a candidate, opened if need be.
    async fn socket(&self, candidate: &Candidate) -> Result<Got, SendError> {
        let _opening = self.opening.lock().await;
        if let Some(socket) = self.open_to(candidate)? {
            return Ok(Got::Socket(socket));
        }
        if self.without.lock().contains(&candidate.id()) {
            return Ok(Got::None);
        }
        let (path, headers) = (self.path_and_query.clone(), self.headers.clone());
        match candidate.open_websocket(path, headers, self.dialect).await? {
            Opened::Upgraded { io, slot, .. } => {
                let stream =
                    WebSocket::client(io, UpstreamSocket::MESSAGE_MAX, crate::websocket::Unlimited).await;
                let socket = UpstreamSocket::start(stream, slot, self.unsolicited.clone(), &self.tasks);
                let socket = Arc::new(socket);
                self.open.lock().insert(candidate.id(), Arc::clone(&socket));
                Ok(Got::Socket(socket))
            }
            Opened::Refused { head, .. } if has_no_websocket(head.status) => {
                tracing::info!(
                    target = candidate.target().name(),
                    status = %head.status,
                    "takes no WebSocket: calls are posted; set websocket = false for it"
                );
                self.without.lock().insert(candidate.id());
                Ok(Got::None)
            }
            Opened::Refused { head, body } => {
                let in_flight = candidate.begin_over_websocket();
                let target = Arc::clone(candidate.target());
                Ok(Got::Refused(Box::new(UpstreamResponse { head: *head, body, target, in_flight })))
            }
        }
    }

    /// Passes a message on that asks for no response.
    ///
    /// # Errors
    /// There is nobody that it could be for, or nobody takes it.
    pub(super) fn forward(&self, message: Message, stream: Option<&str>) -> Result<(), Failure> {
        let open = self.open.lock();
        let fits = |socket: &&Arc<UpstreamSocket>| !socket.is_closed() && socket.has(stream);
        let socket = open.values().find(fits).or_else(|| open.values().find(|socket| !socket.is_closed()));
        match socket {
            Some(socket) => socket.forward(message),
            None => Err(Failure::new(
                Kind::Invalid,
                "nothing is under way over a WebSocket to a provider that the message could be for: ask for a \
                 response first",
            )),
        }
    }
}

/// What came of looking for a socket.
enum Got {
    Socket(Arc<UpstreamSocket>),
    Refused(Box<UpstreamResponse>),
    None,
}

/// How servers answer that have the path but no WebSocket, or neither.
fn has_no_websocket(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::UPGRADE_REQUIRED
            | StatusCode::NOT_IMPLEMENTED
    )
}

fn head(status: StatusCode, content_type: &'static str) -> http::response::Parts {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.into_parts().0
}
