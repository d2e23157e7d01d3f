//! A fake provider that speaks every dialect, for demos, tests and benches: `sproxy mock-provider`.
//!
//! A caller steers it with headers or query parameters of the same names (a header wins):
//!
//! | name | means |
//! |---|---|
//! | `mock-input`, `mock-output` | token counts, cached and reasoning ones included |
//! | `mock-cache-read`, `mock-cache-write`, `mock-cache-write-1h` | parts of the input |
//! | `mock-reasoning` | a part of the output |
//! | `mock-events` | how many pieces of text a stream has |
//! | `mock-delay-ms` | pause between the events of a stream; before a JSON answer |
//! | `mock-status` | an error of the dialect with this status |
//! | `mock-fail` | `before-headers`, `mid-stream` (closed there), `reset`, `reset-mid-stream`, `hang` (no answer), `hang-mid-stream`, `error-event` (of a stream; else an error), `close-after` (a good answer), and in HTTP/2 `goaway` and `refused-stream` |
//! | `mock-after` | behind how many events of a stream it fails |
//! | `mock-tool` | a call of the tool with this name; without it, of the one that the request forces |
//! | `mock-encoding` | `gzip`, `deflate`, `br`, `zstd` |
//!
//! Its own paths: `GET /mock/served` (what was answered completely, per model), `GET /mock/last` and
//! `/mock/last/body` (the last request it saw), `POST /mock/defaults` (steering for requests that bring none),
//! `POST /mock/script` (what happens to the next calls, see `script.rs`) and `GET /mock/script` (how often each step was
//! played).
//!
//! WebSockets are taken where OpenAI takes them; each message is steered as a call is.
//!
//! Anthropic's models are served as AWS Bedrock and Google's Vertex AI serve them, too; what these want otherwise than
//! Anthropic's own API is demanded. Credentials are checked if any are set ([`Options`]).

mod answer;
mod answer_body;
mod answer_spec;
mod anthropic;
mod api;
mod bedrock;
mod cloud_bodies;
mod cloud_paths;
mod compress;
mod connection;
mod credentials;
mod errors;
mod event_stream;
mod extras;
mod gemini;
mod headers;
mod kind;
mod ollama;
mod openai;
mod options;
mod responses;
mod route;
mod script;
mod served_totals;
mod steering;
mod step;
mod text;
mod tools;
mod websocket;

use std::io;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::mock::connection::Wire;
pub use crate::mock::credentials::Credentials;
pub use crate::mock::options::Options;
use crate::mock::route::Provider;
pub use crate::mock::script::ReadScript;

/// The first bytes of HTTP/2 with prior knowledge (`PRI * HTTP/2.0`), as far as it takes to tell it from `POST`.
const HTTP2_PREFACE: &[u8] = b"PRI";

/// Serves on `listener`, HTTP/1.1 and HTTP/2 alike, until `stop` resolves; connections open then are dropped.
///
/// # Errors
/// Never while running: a connection that fails is only that connection's end.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let provider = Arc::new(Provider::new(options));
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => {
                // Out of descriptors or a caller that left at once: the next one may do better.
                let Ok((stream, _)) = accepted else { tokio::task::yield_now().await; continue };
                connections.spawn(connection(stream, provider.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, provider: Arc<Provider>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut first = [0; HTTP2_PREFACE.len()];
    let http2 = matches!(stream.peek(&mut first).await, Ok(3)) && first == HTTP2_PREFACE;
    let connection = Arc::new(provider.connection(http2));
    let io = TokioIo::new(Wire::new(stream, connection.clone()));
    let over = Arc::clone(&connection);
    let service = service_fn(move |request: Request<Incoming>| {
        let (provider, connection) = (provider.clone(), connection.clone());
        async move {
            let (mut parts, body) = request.into_parts();
            if let Some(answer) = websocket::accept(&provider, &mut parts, &connection) {
                return Ok(answer);
            }
            provider.answer(Request::from_parts(parts, body), connection).await
        }
    });
    // A caller that breaks off is an everyday thing here.
    let _ended = if http2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
    } else {
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(io, service)
            .with_upgrades()
            .await
    };
    over.go_on().await;
}
