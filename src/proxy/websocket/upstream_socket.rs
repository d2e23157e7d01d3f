//! One WebSocket to a provider. A task reads it and hands each event to the response that it is of, in the form of a
//! stream's events, as the meter and everything behind it know them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::frame::framed;
use super::limits::{CLOSE_MAX, PING_EVERY, SEND_MAX, SILENT_MAX};
use crate::dialect::websocket::{ServerEvent, ServerKind, own_refusal};
use crate::domain::failure::{Failure, Kind};
use crate::proxy::detach::Drainer;
use crate::transport::{BodyError, ConnectionSlot};
use crate::websocket::{Closing, Message, Text, WebSocket};

/// Events of a response that its caller has not taken yet; then the provider waits.
const PIECES_MAX: usize = 16;
const COMMANDS_MAX: usize = 8;

/// None for the stream that has no name.
type StreamId = Option<String>;
type Pieces = mpsc::Sender<Result<Bytes, BodyError>>;

/// A socket whose task runs until this, and every answer that comes over it, is dropped.
pub(super) struct UpstreamSocket {
    commands: mpsc::Sender<Command>,
    under_way: Arc<AtomicUsize>,
    streams: Arc<Mutex<Vec<Option<String>>>>,
}

/// Why a response was not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotBegun {
    Closed,
    /// Another of its stream is under way.
    Busy,
}

enum Command {
    Begin {
        stream: Option<String>,
        message: Text,
        pieces: Pieces,
        begun: oneshot::Sender<Result<(), NotBegun>>,
    },
    Forward(Message),
}

impl UpstreamSocket {
    /// The longest event, which may have a picture in it.
    pub(super) const MESSAGE_MAX: usize = 64 * 1024 * 1024;

    /// Begins to read a socket. What is no response's goes to `unsolicited`.
    pub(super) fn start(
        socket: WebSocket,
        slot: ConnectionSlot,
        unsolicited: mpsc::Sender<Message>,
        tasks: &Drainer,
    ) -> Self {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (under_way, streams) = (Arc::default(), Arc::default());
        let task = Task {
            socket,
            unsolicited,
            responses: HashMap::new(),
            under_way: Arc::clone(&under_way),
            streams: Arc::clone(&streams),
            heard: Instant::now(),
            _slot: slot,
        };
        tasks.spawn(task.run(received));
        Self { commands, under_way, streams }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// No response is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0
    }

    /// Whether a response of the stream is under way.
    pub(super) fn has(&self, stream: Option<&str>) -> bool {
        self.streams.lock().iter().any(|one| one.as_deref() == stream)
    }

    /// Asks for a response; its events.
    ///
    /// # Errors
    /// [`NotBegun`]: nothing was sent.
    pub(super) async fn begin(
        &self,
        stream: Option<String>,
        message: Text,
    ) -> Result<mpsc::Receiver<Result<Bytes, BodyError>>, NotBegun> {
        let (pieces, received) = mpsc::channel(PIECES_MAX);
        let (begun, is_begun) = oneshot::channel();
        let command = Command::Begin { stream, message, pieces, begun };
        self.commands.send(command).await.map_err(|_| NotBegun::Closed)?;
        is_begun.await.unwrap_or(Err(NotBegun::Closed))?;
        Ok(received)
    }

    /// Passes a message on.
    ///
    /// # Errors
    /// The socket is closed, or takes nothing now.
    pub(super) fn forward(&self, message: Message) -> Result<(), Failure> {
        // Nothing is waited for: whoever sends this also takes what the provider has to say before it reads on.
        self.commands.try_send(Command::Forward(message)).map_err(|error| match error {
            TrySendError::Full(_) => {
                let why = "the provider has not taken the messages before this one";
                Failure::new(Kind::RateLimited, why)
            }
            TrySendError::Closed(_) => {
                Failure::new(Kind::Upstream, "the WebSocket to the provider was closed")
            }
        })
    }
}

struct Task {
    socket: WebSocket,
    unsolicited: mpsc::Sender<Message>,
    /// By their streams.
    responses: HashMap<StreamId, Pieces>,
    under_way: Arc<AtomicUsize>,
    streams: Arc<Mutex<Vec<Option<String>>>>,
    /// When the provider last said anything.
    heard: Instant,
    _slot: ConnectionSlot,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ticks = interval(PING_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let why = loop {
            let step = tokio::select! {
                command = commands.recv() => {
                    let Some(command) = command else {
                        // Nobody is left: what is under way is cancelled with the connection.
                        let closing = Closing::new(Closing::NORMAL, "");
                        let _ = timeout(CLOSE_MAX, self.socket.close(Some(closing))).await;
                        return;
                    };
                    self.command(command).await
                }
                received = self.socket.receive() => match received {
                    Some(Ok(message)) => self.message(message).await,
                    Some(Err((_, error))) => Err(error),
                    None => Err("the WebSocket was closed".to_owned()),
                },
                _ = ticks.tick() => self.tick().await,
            };
            if let Err(why) = step {
                break why;
            }
        };
        tracing::debug!(%why, "a WebSocket to a provider has ended");
        // Whoever asks for a response from here on learns that nothing was sent.
        commands.close();
        for (_, pieces) in self.responses.drain() {
            let _ = pieces.send(Err(BodyError::Cut(why.clone()))).await;
        }
        self.note();
        let closing = Closing::new(Closing::GOING_AWAY, "the provider closed the connection: connect again");
        let _ = self.unsolicited.send(Message::Close(closing)).await;
    }

    async fn command(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Forward(message) => self.send(message).await,
            Command::Begin { stream, message, pieces, begun } => {
                if self.responses.contains_key(&stream) {
                    let _ = begun.send(Err(NotBegun::Busy));
                    return Ok(());
                }
                self.responses.insert(stream, pieces);
                self.note();
                // Part of it may be out when it fails: then nobody knows whether it was read, and it was begun.
                let sent = self.send(Message::Text(message)).await;
                let _ = begun.send(Ok(()));
                sent
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), String> {
        let sent = timeout(SEND_MAX, self.socket.send(message)).await;
        sent.unwrap_or_else(|_| Err("the provider took no message".to_owned()))
    }

    async fn tick(&mut self) -> Result<(), String> {
        if self.heard.elapsed() > SILENT_MAX {
            return Err("the provider does not answer over its WebSocket".to_owned());
        }
        self.send(Message::Alive).await
    }

    async fn message(&mut self, message: Message) -> Result<(), String> {
        self.heard = Instant::now();
        let text = match message {
            Message::Text(text) => text,
            Message::Alive => return Ok(()),
            Message::Binary(_) => return Err("the provider sent what is no text".to_owned()),
            Message::Close(closing) => {
                let code = closing.code.map_or_else(String::new, |code| format!(" ({code})"));
                return Err(format!("the provider closed the WebSocket{code}: {}", &*closing.reason));
            }
        };
        let event = ServerEvent::read(&text);
        let Some(stream) = self.stream_of(&event) else {
            return self.unsolicited(&event, text).await;
        };
        let is_over = matches!(event.kind, ServerKind::Ended | ServerKind::Error);
        if let Some(pieces) = self.responses.get(&stream) {
            // Whoever is not there any more has been booked; the rest of the answer is read and dropped.
            let _ = pieces.send(Ok(framed(&text, event.kind == ServerKind::Error))).await;
        }
        if is_over {
            self.responses.remove(&stream);
            self.note();
        }
        Ok(())
    }

    /// Whose an event is: the response's of its stream. One that names none is of the only response, if there is one.
    fn stream_of(&self, event: &ServerEvent) -> Option<StreamId> {
        if self.responses.contains_key(&event.stream) {
            return Some(event.stream.clone());
        }
        let mut all = self.responses.keys();
        match (all.next(), all.next(), &event.stream) {
            (Some(only), None, None) => Some(only.clone()),
            _ => None,
        }
    }

    async fn unsolicited(&mut self, event: &ServerEvent, text: Text) -> Result<(), String> {
        if event.kind == ServerKind::Created {
            // It would cost, and nobody was asked whether it may.
            let why = "the provider began a response that was not asked for";
            let failure = Failure::new(Kind::Upstream, why);
            let told = own_refusal("unsolicited_response", &failure, event.stream.as_deref());
            let _ = self.unsolicited.send(Message::Text(told.into())).await;
            return Err(why.to_owned());
        }
        let _ = self.unsolicited.send(Message::Text(text)).await;
        Ok(())
    }

    fn note(&self) {
        self.under_way.store(self.responses.len(), Ordering::Release);
        *self.streams.lock() = self.responses.keys().cloned().collect();
    }
}
