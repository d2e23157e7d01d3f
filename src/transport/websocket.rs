//! A connection that begins with HTTP/1.1 and goes on with a WebSocket, if the other side wants that, too.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::body::ResponseBody;
use super::connect::MaybeTlsStream;
use super::error::{Error, in_full};
use super::slots::Slot;
use crate::websocket::Ask;

/// More than any refusal has.
const REFUSAL_MAX: usize = 256 * 1024;

/// What came of asking for a WebSocket.
pub enum Opened {
    /// The connection is one.
    Upgraded { head: Box<Parts>, io: Upgraded, slot: ConnectionSlot },
    /// The answer is another.
    Refused { head: Box<Parts>, body: ResponseBody },
}

/// One of the connections that there may be to an endpoint; taken until this is dropped.
pub struct ConnectionSlot(#[allow(dead_code, reason = "held for its drop")] Slot);

pub(super) async fn open(
    stream: MaybeTlsStream,
    mut request: Request<Full<Bytes>>,
    answer_max: Duration,
    slot: Slot,
) -> Result<Opened, Error> {
    let ask = Ask::offer(request.headers_mut());
    let handshake = Builder::new().handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| Error::Connect(error.to_string()))?;
    // It ends when its stream goes on as a WebSocket; else it is dropped here.
    let mut connection = Some(Box::pin(connection.with_upgrades()));
    let asked = driven(&mut connection, sender.send_request(request));
    // Nothing that is asked for costs anything before the first message, whatever became of it.
    let mut answer = timeout(answer_max, asked)
        .await
        .map_err(|_| {
            Error::Connect(format!("no WebSocket within {}", humantime::format_duration(answer_max)))
        })?
        .map_err(|error| Error::NotProcessed(in_full(&error)))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let refused = driven(&mut connection, refusal(answer, answer_max)).await;
        return Ok(refused);
    }
    if !ask.is_accepted_by(answer.headers()) {
        return Err(Error::NotProcessed(
            "it accepted another WebSocket than the one that it was offered".into(),
        ));
    }
    let io = driven(&mut connection, hyper::upgrade::on(&mut answer)).await;
    let io = io.map_err(|error| Error::NotProcessed(in_full(&error)))?;
    let (head, _) = answer.into_parts();
    Ok(Opened::Upgraded { head: Box::new(head), io, slot: ConnectionSlot(slot) })
}

/// Does `work` while its connection reads and writes; `None` once that has ended, of which the work hears by itself.
async fn driven<C, T>(connection: &mut Option<Pin<Box<C>>>, work: impl Future<Output = T>) -> T
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut work = pin!(work);
    poll_fn(|cx| {
        if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
            *connection = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

/// A refusal is short, and is read here: nobody keeps the connection.
async fn refusal(answer: Response<Incoming>, answer_max: Duration) -> Opened {
    let (mut head, incoming) = answer.into_parts();
    let read = timeout(answer_max, Limited::new(incoming, REFUSAL_MAX).collect()).await;
    let body = read.ok().and_then(Result::ok).map(Collected::to_bytes).unwrap_or_default();
    head.headers.remove(TRANSFER_ENCODING);
    head.headers.remove(CONTENT_LENGTH);
    Opened::Refused { head: Box::new(head), body: ResponseBody::whole(body) }
}
