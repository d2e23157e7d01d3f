//! One side of a WebSocket: whole messages in and out. Pings are answered on the way.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use parking_lot::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Bytes, Utf8Bytes};

use super::receive_budget::{Counted, ReceiveBudget, SharedBudget};

/// What is read at once, and kept per connection.
const READ_BUFFER: usize = 16 * 1024;
/// Messages wait in the socket rather than here.
const WRITE_BUFFER: usize = 16 * 1024;

pub type Text = Utf8Bytes;

/// A connection that has left HTTP.
pub struct WebSocket {
    stream: WebSocketStream<Counted>,
    budget: SharedBudget,
}

/// What is said over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Text(Text),
    Binary(Bytes),
    /// The other side is there: a ping, which is answered already, or the answer to one.
    Alive,
    /// Its last message.
    Close(Closing),
}

/// How a side takes its leave (RFC 6455, section 7.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// None where it gave no code.
    pub code: Option<u16>,
    pub reason: Text,
}

impl Closing {
    /// The other side was asked for nothing wrong.
    pub const NORMAL: u16 = 1000;
    pub const GOING_AWAY: u16 = 1001;
    pub const POLICY: u16 = 1008;
    pub const TOO_LARGE: u16 = 1009;
    pub const INTERNAL: u16 = 1011;
    pub const TRY_AGAIN_LATER: u16 = 1013;

    /// `reason` is cut where a frame of control ends.
    #[must_use]
    pub fn new(code: u16, reason: &str) -> Self {
        const REASON_MAX: usize = 123;
        let end = reason.floor_char_boundary(REASON_MAX.min(reason.len()));
        Self { code: Some(code), reason: Text::from(reason.get(..end).unwrap_or_default()) }
    }
}

impl WebSocket {
    /// The server's side of a connection that has been upgraded. A message may have `message_max` bytes.
    pub async fn server(
        upgraded: Upgraded,
        message_max: usize,
        budget: impl ReceiveBudget + 'static,
    ) -> Self {
        Self::of(upgraded, Role::Server, message_max, budget).await
    }

    /// The client's.
    pub async fn client(
        upgraded: Upgraded,
        message_max: usize,
        budget: impl ReceiveBudget + 'static,
    ) -> Self {
        Self::of(upgraded, Role::Client, message_max, budget).await
    }

    async fn of(
        upgraded: Upgraded,
        role: Role,
        message_max: usize,
        budget: impl ReceiveBudget + 'static,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(message_max))
            .max_frame_size(Some(message_max));
        let budget: SharedBudget = Arc::new(Mutex::new(budget));
        let counted = Counted::new(upgraded, Arc::clone(&budget));
        Self { stream: WebSocketStream::from_raw_socket(counted, role, Some(config)).await, budget }
    }

    /// The next message; `None` once the connection has ended, with or without a [`Message::Close`].
    ///
    /// # Errors
    /// In words, and the code to close with.
    pub async fn receive(&mut self) -> Option<Result<Message, (u16, String)>> {
        loop {
            let message = match self.stream.next().await? {
                Ok(message) => message,
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => return None,
                Err(error) => return Some(Err((code_of(&error), error.to_string()))),
            };
            self.budget.lock().delivered();
            return Some(Ok(match message {
                tungstenite::Message::Text(text) => Message::Text(text),
                tungstenite::Message::Binary(bytes) => Message::Binary(bytes),
                tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_) => Message::Alive,
                tungstenite::Message::Close(frame) => Message::Close(closing(frame)),
                tungstenite::Message::Frame(_) => continue,
            }));
        }
    }

    /// Sends a message, and waits until it is out of this process.
    ///
    /// # Errors
    /// In words: the other side cannot be reached any more.
    pub async fn send(&mut self, message: Message) -> Result<(), String> {
        let message = match message {
            Message::Text(text) => tungstenite::Message::Text(text),
            Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
            Message::Alive => tungstenite::Message::Ping(Bytes::new()),
            Message::Close(closing) => tungstenite::Message::Close(frame(closing)),
        };
        self.stream.send(message).await.map_err(|error| error.to_string())
    }

    /// Takes leave, and reads on until the other side has closed, too: a connection that is closed while bytes are on
    /// their way takes what was sent last away with it. Whoever calls this does not wait for ever.
    pub async fn close(&mut self, closing: Option<Closing>) {
        if let Some(closing) = closing {
            let _ = self.send(Message::Close(closing)).await;
        }
        let _ = self.stream.flush().await;
        let mut dropped = [0; 4096];
        while matches!(self.stream.get_mut().read_uncounted(&mut dropped).await, Ok(read) if read > 0) {}
    }
}

fn closing(frame: Option<CloseFrame>) -> Closing {
    frame.map_or_else(Closing::default, |frame| Closing {
        code: Some(frame.code.into()),
        reason: frame.reason,
    })
}

/// Codes that no side may send are not passed on.
fn frame(closing: Closing) -> Option<CloseFrame> {
    let code = CloseCode::from(closing.code?);
    Some(CloseFrame { code, reason: closing.reason }).filter(|frame| frame.code.is_allowed())
}

fn code_of(error: &tungstenite::Error) -> u16 {
    match error {
        tungstenite::Error::Capacity(_) => Closing::TOO_LARGE,
        tungstenite::Error::Utf8(_) => 1007,
        tungstenite::Error::Io(error) if error.kind() == std::io::ErrorKind::OutOfMemory => {
            Closing::TRY_AGAIN_LATER
        }
        _ => 1002,
    }
}
