//! A caller of WebSockets, of a library that is not the gateway's own way to use it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderName, HeaderValue, Response};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::Node;

/// How long anything may be waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection that has left HTTP.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What the answer to the opening said.
    pub opened: Response<Option<Vec<u8>>>,
}

impl Socket {
    /// Opens one at a path of a node, with a key; the answer where it is another.
    pub async fn open(
        node: &Node,
        key: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Box<Response<Option<Vec<u8>>>>> {
        let url = format!("ws://{}{path}", node.address);
        let mut request = url.into_client_request().unwrap();
        let bearer = format!("Bearer {key}");
        for (name, value) in headers.iter().copied().chain([("authorization", bearer.as_str())]) {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        match tokio::time::timeout(PATIENCE, connect_async(request)).await.expect("an answer") {
            Ok((stream, opened)) => Ok(Self { stream, opened }),
            Err(Error::Http(refused)) => Err(refused),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// The next message in JSON; the end of the connection otherwise.
    pub async fn next(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("a message");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(other)) => panic!("{other:?}"),
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The events until one of these kinds.
    pub async fn until(&mut self, kinds: &[&str]) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.unwrap_or_else(|end| panic!("{end:?} after {events:?}"));
            let is_last = kinds.iter().any(|kind| event["type"] == *kind);
            events.push(event);
            if is_last {
                return events;
            }
        }
    }

    /// Asks for a response and takes its events.
    pub async fn respond(&mut self, message: &Value) -> Vec<Value> {
        self.send(message).await;
        self.until(&["response.completed", "error"]).await
    }

    pub async fn close(mut self) {
        self.stream.close(None).await.unwrap();
        while self.next().await.is_ok() {}
    }
}
