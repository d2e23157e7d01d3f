//! A receiver of webhooks: it keeps what it was sent, and answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::until;

/// What was sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Delivery {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `x-sproxy-event`.
    pub fn event(&self) -> &str {
        self.header("x-sproxy-event")
    }

    /// Whether the event is about something of that name.
    pub fn is(&self, event: &str, subject: &str) -> bool {
        self.event() == event && self.json()["subject"]["name"] == *subject
    }
}

/// How a delivery is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    /// A status with a header.
    With(u16, &'static str, String),
    /// A status, and the request's own path and a text in the body.
    Echo(u16, String),
    /// Never.
    Hang,
}

#[derive(Clone, Default)]
struct Shared {
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    hangs: Arc<Mutex<bool>>,
}

/// Ends with this value.
pub struct Receiver {
    pub address: SocketAddr,
    shared: Shared,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    pub async fn start() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap()).await
    }

    /// At an address that was free a moment ago.
    pub async fn on(address: SocketAddr) -> Self {
        let listener = until("the address is free", async || TcpListener::bind(address).await.ok()).await;
        let address = listener.local_addr().unwrap();
        let shared = Shared::default();
        let app = Router::new().fallback(take).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, shared, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// How the next deliveries are answered, one each; all others with 200.
    pub fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.replies.lock().unwrap().extend(replies);
    }

    /// Whether it answers nobody any more.
    pub fn set_hanging(&self, hangs: bool) {
        *self.shared.hangs.lock().unwrap() = hangs;
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.lock().unwrap().clone()
    }

    pub fn of(&self, event: &str, subject: &str) -> Vec<Delivery> {
        self.deliveries().into_iter().filter(|delivery| delivery.is(event, subject)).collect()
    }

    /// Waits for an event about something of that name.
    pub async fn sent(&self, event: &str, subject: &str) -> Delivery {
        until(&format!("{event} about {subject}"), async || self.of(event, subject).into_iter().next()).await
    }

    /// Waits for one that satisfies `is_it`.
    pub async fn sent_that(&self, what: &str, is_it: impl Fn(&Delivery) -> bool) -> Delivery {
        until(what, async || self.deliveries().into_iter().find(|delivery| is_it(delivery))).await
    }
}

async fn take(State(shared): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.to_string();
    shared.deliveries.lock().unwrap().push(Delivery { path: path.clone(), headers, body });
    let reply = shared.replies.lock().unwrap().pop_front();
    let hangs = *shared.hangs.lock().unwrap();
    let status = |status: u16| StatusCode::from_u16(status).unwrap();
    match reply {
        _ if hangs => std::future::pending().await,
        Some(Reply::Hang) => std::future::pending().await,
        None => StatusCode::OK.into_response(),
        Some(Reply::Status(code)) => status(code).into_response(),
        Some(Reply::With(code, name, value)) => (status(code), [(name, value)]).into_response(),
        Some(Reply::Echo(code, text)) => (status(code), format!("{path} {text}")).into_response(),
    }
}
