//! A caller's connection in Realtime: what passes in either direction is passed on as it is and in its order. Each
//! response is a call of its own, whether the caller has asked for it or the provider has heard somebody speak: it is
//! admitted when it begins, and its end waits for its record.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::booking::{Booking, Conversation};
use super::budget::Budget;
use super::limits::{CLOSE_MAX, PING_EVERY, SEND_MAX, SILENT_MAX};
use super::upstream_socket::UpstreamSocket;
use crate::dialect::websocket::{
    ClientKind, ClientMessage, ServerEvent, ServerKind, own_refusal, transcription_model,
};
use crate::domain::failure::{Failure, Kind};
use crate::domain::usage::Outcome;
use crate::inbound::UpgradedConnection;
use crate::metering::End;
use crate::transport::ConnectionSlot;
use crate::websocket::{Closing, Message, Text, Unlimited, WebSocket};

/// Responses that were asked for and have not begun, and those under way.
const ASKED_MAX: usize = 16;

/// The provider's side of a conversation that is to begin.
pub(super) struct Provider {
    pub(super) io: hyper::upgrade::Upgraded,
    pub(super) slot: ConnectionSlot,
}

struct Relay {
    conversation: Conversation,
    caller: WebSocket,
    provider: WebSocket,
    /// By the names of their messages, where they had any.
    asked: VecDeque<(Option<String>, Booking)>,
    /// By their ids.
    responses: HashMap<String, Booking>,
    transcribes_by: Option<String>,
    /// When the provider last said anything.
    heard: Instant,
}

/// The connection ends: what each side is told.
struct Over {
    caller: Option<Closing>,
    provider: Option<Closing>,
    outcome: Outcome,
}

/// Passes a conversation on to its end.
pub(super) async fn relay(conversation: Conversation, connection: UpgradedConnection, provider: Provider) {
    let (io, leaving, _place) = connection.into_parts();
    let permit = conversation.empty_permit();
    let message_max = permit.body_max();
    let caller = WebSocket::server(io, message_max, Budget::new(permit)).await;
    let _slot = provider.slot;
    let provider = WebSocket::client(provider.io, UpstreamSocket::MESSAGE_MAX, Unlimited).await;
    let mut relay = Relay {
        conversation,
        caller,
        provider,
        asked: VecDeque::new(),
        responses: HashMap::new(),
        transcribes_by: None,
        heard: Instant::now(),
    };
    let mut ticks = interval(PING_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let over = loop {
        let is_quiet = relay.responses.is_empty();
        let step = tokio::select! {
            received = relay.caller.receive() => relay.caller_said(received).await,
            received = relay.provider.receive() => relay.provider_said(received).await,
            _ = ticks.tick() => relay.tick().await,
            () = leaving.cancelled(), if is_quiet => Err(Over {
                caller: Some(Closing::new(Closing::GOING_AWAY, "this node is leaving: connect again")),
                provider: Some(Closing::new(Closing::NORMAL, "")),
                outcome: Outcome::ClientGone,
            }),
        };
        if let Err(over) = step {
            break over;
        }
    };
    relay.end(over).await;
}

type Received = Option<Result<Message, (u16, String)>>;

impl Relay {
    async fn caller_said(&mut self, received: Received) -> Result<(), Over> {
        let message = match received {
            Some(Ok(message)) => message,
            Some(Err((code, reason))) => {
                return Err(Over::by_caller(Some(Closing::new(code, &reason)), Closing::default()));
            }
            None => return Err(Over::by_caller(None, Closing::default())),
        };
        match message {
            Message::Alive => Ok(()),
            Message::Close(closing) => Err(Over::by_caller(None, closing)),
            Message::Binary(_) => self.tell_provider(message).await,
            Message::Text(text) => {
                // What is no JSON is the provider's to refuse.
                let asks = ClientMessage::read(&text).ok().filter(|read| read.kind == ClientKind::Create);
                let Some(asked) = asks else { return self.tell_provider(Message::Text(text)).await };
                match self.begin(text.len()) {
                    Ok(booking) => {
                        self.asked.push_back((asked.id, booking));
                        self.tell_provider(Message::Text(text)).await
                    }
                    Err(failure) => self.refuse(&failure).await,
                }
            }
        }
    }

    async fn provider_said(&mut self, received: Received) -> Result<(), Over> {
        self.heard = Instant::now();
        let text = match received {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Alive)) => return Ok(()),
            Some(Ok(Message::Binary(bytes))) => return self.tell_caller(Message::Binary(bytes)).await,
            Some(Ok(Message::Close(closing))) => return Err(Over::by_provider(closing)),
            Some(Err((_, reason))) => {
                tracing::warn!(%reason, "a conversation broke off");
                return Err(Over::by_provider(Closing::new(Closing::INTERNAL, "the provider broke off")));
            }
            None => {
                return Err(Over::by_provider(Closing::new(Closing::INTERNAL, "the provider broke off")));
            }
        };
        let event = ServerEvent::read(&text);
        match event.kind {
            ServerKind::Created => self.created(&event, &text).await?,
            ServerKind::Ended => self.ended(&event, &text).await?,
            ServerKind::Transcribed => self.transcribed(&text).await?,
            ServerKind::Error => self.failed(&event),
            ServerKind::Other => {
                if let Some(booking) =
                    event.response.as_ref().and_then(|response| self.responses.get_mut(response))
                {
                    booking.feed(&text);
                } else if let Some(model) = transcription_model(&text) {
                    self.transcribes_by = Some(model);
                }
            }
        }
        self.tell_caller(Message::Text(text)).await
    }

    /// Room and leave for one more response.
    fn begin(&self, asked_bytes: usize) -> Result<Booking, Failure> {
        if self.asked.len() + self.responses.len() >= ASKED_MAX {
            let why = format!("this conversation has {ASKED_MAX} responses under way: wait for one of them");
            return Err(Failure::new(Kind::RateLimited, why));
        }
        self.conversation.begin(asked_bytes)
    }

    /// A response has begun: one that was asked for, or one of the provider's own.
    async fn created(&mut self, event: &ServerEvent, text: &Text) -> Result<(), Over> {
        let Some(id) = event.response.clone() else { return Ok(()) };
        let booking = match self.asked.pop_front() {
            Some((_, booking)) => Ok(booking),
            None => self.begin(0),
        };
        match booking {
            Ok(mut booking) => {
                booking.feed(text);
                self.responses.insert(id, booking);
                Ok(())
            }
            Err(failure) => {
                // It cannot be taken back, only cut off, before it costs more.
                self.refuse(&failure).await?;
                Err(Over {
                    caller: Some(Closing::new(Closing::POLICY, &failure.to_string())),
                    provider: Some(Closing::new(Closing::NORMAL, "")),
                    outcome: Outcome::ClientGone,
                })
            }
        }
    }

    /// A response is over. Its end is passed on when its record is in the database.
    async fn ended(&mut self, event: &ServerEvent, text: &Text) -> Result<(), Over> {
        let booking = event.response.as_ref().and_then(|response| self.responses.remove(response));
        let Some(mut booking) = booking else { return Ok(()) };
        booking.feed(text);
        let input = booking.settle_whole();
        if let Some(input) = input {
            self.conversation.note_input(input);
        }
        booking.committed().await.map_err(|failure| Over {
            caller: Some(Closing::new(Closing::INTERNAL, &failure.to_string())),
            provider: Some(Closing::new(Closing::NORMAL, "")),
            outcome: Outcome::ClientGone,
        })
    }

    /// What was said has been written down by another model, which has its own price.
    async fn transcribed(&mut self, text: &Text) -> Result<(), Over> {
        let model = self.transcribes_by.clone().unwrap_or_default();
        let booked = match self.conversation.begin_for(&model, 0) {
            Ok(mut booking) => {
                booking.feed(text);
                let _ = booking.settle_whole();
                booking.committed().await
            }
            Err(failure) => Err(failure),
        };
        booked.map_err(|failure| Over {
            caller: Some(Closing::new(Closing::POLICY, &failure.to_string())),
            provider: Some(Closing::new(Closing::NORMAL, "")),
            outcome: Outcome::ClientGone,
        })
    }

    /// The provider refuses a message. Where it was one that asked for a response, there will be none.
    fn failed(&mut self, event: &ServerEvent) {
        let Some(message) = &event.message else { return };
        let at = self.asked.iter().position(|(id, _)| id.as_ref() == Some(message));
        if let Some((_, booking)) = at.and_then(|at| self.asked.remove(at)) {
            booking.failed();
        }
    }

    async fn refuse(&mut self, failure: &Failure) -> Result<(), Over> {
        let body = self.conversation.refused(failure);
        let told = own_refusal(body, failure, None);
        self.tell_caller(Message::Text(told.into())).await
    }

    async fn tick(&mut self) -> Result<(), Over> {
        if self.heard.elapsed() > SILENT_MAX {
            return Err(Over::by_provider(Closing::new(Closing::INTERNAL, "the provider does not answer")));
        }
        self.tell_caller(Message::Alive).await?;
        self.tell_provider(Message::Alive).await
    }

    async fn tell_caller(&mut self, message: Message) -> Result<(), Over> {
        match timeout(SEND_MAX, self.caller.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over::by_caller(None, Closing::default())),
        }
    }

    async fn tell_provider(&mut self, message: Message) -> Result<(), Over> {
        match timeout(SEND_MAX, self.provider.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(Over::by_provider(Closing::new(Closing::INTERNAL, "the provider takes nothing more")))
            }
        }
    }

    /// Books what is under way as far as it has come, and takes leave of both.
    async fn end(mut self, over: Over) {
        let end = if over.outcome == Outcome::UpstreamCut { End::UpstreamCut } else { End::ClientGone };
        for (_, booking) in self.responses.drain() {
            booking.broken(over.outcome, end);
        }
        for (_, booking) in self.asked.drain(..) {
            booking.broken(over.outcome, end);
        }
        let Over { caller, provider, .. } = over;
        let closing = async { tokio::join!(self.caller.close(caller), self.provider.close(provider)) };
        let _ = timeout(CLOSE_MAX, closing).await;
    }
}

impl Over {
    /// The caller leaves, and the provider is told as it told.
    fn by_caller(tell: Option<Closing>, said: Closing) -> Self {
        let provider = if said.code.is_some() { said } else { Closing::new(Closing::NORMAL, "") };
        Self { caller: tell, provider: Some(provider), outcome: Outcome::ClientGone }
    }

    fn by_provider(said: Closing) -> Self {
        Self { caller: Some(said), provider: None, outcome: Outcome::UpstreamCut }
    }
}
