//! A caller's connection in Responses: what it asks for is begun in the order of its streams, and what comes of it is
//! sent back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::SelectAll;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::budget::Budget;
use super::exchange::{Asked, Exchange, ExchangeContext, Say, exchange};
use super::limits::{CLOSE_MAX, PING_EVERY, SEND_MAX};
use super::proof::{Proof, headers_of_call};
use super::sockets::Sockets;
use crate::dialect::route::Route;
use crate::dialect::websocket::{ClientKind, ClientMessage, as_call, own_refusal};
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::UserId;
use crate::inbound::UpgradedConnection;
use crate::proxy::gateway::Gateway;
use crate::proxy::request_body::BodyPermit;
use crate::websocket::{Closing, Message, Text, WebSocket};

/// Responses that a connection may have asked for and not got.
const UNANSWERED_MAX: usize = 16;
/// How long a caller may be without a response.
const IDLE_MAX: Duration = Duration::from_hours(1);

/// What stands of it until the connection has left HTTP.
pub(super) struct Session {
    context: ExchangeContext,
}

/// A connection under way.
struct Running {
    session: Session,
    caller: WebSocket,
    exchanges: SelectAll<Exchange>,
    /// By their streams: what waits until the response before it is over. A stream that is here has one under way.
    waiting: HashMap<Option<String>, VecDeque<(Asked, BodyPermit)>>,
    unanswered: usize,
    /// When it last had a response under way.
    busy: Instant,
    /// A provider has closed the WebSocket to it: what it kept for those that would go on from it is gone, and the caller
    /// learns that as it would from the provider.
    closing: Option<Closing>,
}

/// The connection ends; how, if the caller is to be told.
struct End(Option<Closing>);

impl Session {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        route: &Route<'_>,
        (user, proof): (UserId, Proof),
        sockets: Arc<Sockets>,
    ) -> Self {
        let (provider, path) = (route.provider, Arc::from(route.path));
        let proof = Arc::new(Proof { headers: headers_of_call(&proof.headers), query: proof.query });
        Self { context: ExchangeContext { gateway, provider, path, proof, sockets, user } }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(self, connection: UpgradedConnection, mut unsolicited: mpsc::Receiver<Message>) {
        let (io, leaving, _place) = connection.into_parts();
        let memory = &self.context.gateway.body_memory;
        let permit = memory.empty_permit(self.context.user);
        let message_max = permit.body_max();
        let caller = WebSocket::server(io, message_max, Budget::new(permit)).await;
        let now = Instant::now();
        let mut running = Running {
            session: self,
            caller,
            exchanges: SelectAll::new(),
            waiting: HashMap::new(),
            unanswered: 0,
            busy: now,
            closing: None,
        };
        let mut ticks = interval(PING_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            let is_quiet = running.unanswered == 0;
            let step = tokio::select! {
                received = running.caller.receive() => match received {
                    Some(Ok(message)) => running.received(message).await,
                    Some(Err((code, reason))) => Err(End(Some(Closing::new(code, &reason)))),
                    None => Err(End(None)),
                },
                Some(said) = running.exchanges.next() => running.said(said).await,
                Some(message) = unsolicited.recv() => running.unsolicited(message).await,
                _ = ticks.tick() => running.tick().await,
                () = leaving.cancelled(), if is_quiet => {
                    Err(End(Some(Closing::new(Closing::GOING_AWAY, "this node is leaving: connect again"))))
                }
            };
            if let Err(end) = step {
                break end;
            }
            if running.unanswered == 0 && running.closing.is_some() {
                break End(running.closing.take());
            }
        };
        running.end(end).await;
    }
}

impl Running {
    async fn received(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Alive => Ok(()),
            Message::Close(_) => Err(End(None)),
            Message::Binary(_) => Err(End(Some(Closing::new(1003, "messages have to be text")))),
            Message::Text(text) => match self.asked(text) {
                Ok(()) => Ok(()),
                Err((failure, code, stream)) => {
                    let told = own_refusal(code, &failure, stream.as_deref());
                    self.send(Message::Text(told.into())).await
                }
            },
        }
    }

    /// What a message asks for is begun, or waits for its turn.
    fn asked(&mut self, text: Text) -> Result<(), (Failure, &'static str, Option<String>)> {
        let invalid = |reason: String| Failure::new(Kind::Invalid, reason);
        let message =
            ClientMessage::read(&text).map_err(|reason| (invalid(reason), "invalid_message", None))?;
        let stream = message.stream.clone();
        let refused = |failure, code| (failure, code, stream.clone());
        match message.kind {
            ClientKind::Create => {}
            ClientKind::Steer => {
                let why = "responses that `response.steer` makes cannot be limited and booked here: wait for the \
                           response, and ask for another";
                return Err(refused(invalid(why.to_owned()), "unsupported_message"));
            }
            ClientKind::Other => {
                let sockets = Arc::clone(&self.session.context.sockets);
                let forwarded = sockets.forward(Message::Text(text), message.stream.as_deref());
                return forwarded.map_err(|failure| refused(failure, "nothing_under_way"));
            }
        }
        if self.unanswered >= UNANSWERED_MAX {
            let why =
                format!("this connection has {UNANSWERED_MAX} responses under way: wait for one of them");
            return Err(refused(Failure::new(Kind::RateLimited, why), "too_many_responses"));
        }
        let call = as_call(&text)
            .ok_or_else(|| refused(invalid("the message is no JSON object".to_owned()), "invalid_message"))?;
        let asked = Asked { message, text, call };
        if let Some(waiting) = self.waiting.get_mut(&stream) {
            let mut permit = self.session.context.gateway.body_memory.empty_permit(self.session.context.user);
            let bytes = asked.text.len() + asked.call.len();
            permit.grow_within_share(bytes).map_err(|failure| refused(failure, "no_memory"))?;
            waiting.push_back((asked, permit));
        } else {
            self.waiting.insert(stream, VecDeque::new());
            self.exchanges.push(exchange(self.session.context.clone(), asked));
        }
        self.unanswered += 1;
        Ok(())
    }

    async fn said(&mut self, said: Say) -> Result<(), End> {
        self.busy = Instant::now();
        match said {
            Say::Event(text) => self.send(Message::Text(text)).await,
            Say::Over(stream) => {
                self.unanswered = self.unanswered.saturating_sub(1);
                match self.waiting.get_mut(&stream).and_then(VecDeque::pop_front) {
                    Some((asked, _permit)) => {
                        self.exchanges.push(exchange(self.session.context.clone(), asked));
                    }
                    None => drop(self.waiting.remove(&stream)),
                }
                Ok(())
            }
        }
    }

    async fn unsolicited(&mut self, message: Message) -> Result<(), End> {
        if let Message::Close(closing) = message {
            self.closing = Some(closing);
            return Ok(());
        }
        self.send(message).await
    }

    async fn tick(&mut self) -> Result<(), End> {
        if self.unanswered == 0 && self.busy.elapsed() > IDLE_MAX {
            return Err(End(Some(Closing::new(Closing::NORMAL, "nothing was asked for a long time"))));
        }
        self.send(Message::Alive).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(SEND_MAX, self.caller.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End(None)),
        }
    }

    /// Takes leave. What is under way is left as callers leave answers: to be cancelled, or read to its end.
    async fn end(mut self, end: End) {
        self.exchanges.clear();
        let _ = timeout(CLOSE_MAX, self.caller.close(end.0)).await;
    }
}
