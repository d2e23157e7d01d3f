//! The body of an answer, read in the pieces in which it arrives.

use std::any::Any;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::http1::{Http1Connection, IdlePool};
use super::http2::Http2Body;
use super::idle_timeout::IdleTimeout;
use super::slots::Slot;

/// The largest chunk that is passed on; more waits in the kernel, which is the backpressure.
const PIECE_MAX: usize = 64 * 1024;

pub struct ResponseBody {
    from: Source,
    /// What was read already, and has to be read again.
    unread: Option<Bytes>,
    /// An error that came after bytes which have to be passed on first.
    failed: Option<BodyError>,
    /// `None` once it has ended.
    idle_timeout: Option<IdleTimeout>,
    /// How long it may take as a whole.
    total: Duration,
    slot: Option<Slot>,
    translator: Option<Box<dyn Translate>>,
}

/// Makes one stream of another, as its bytes come.
pub trait Translate: Send {
    /// Takes bytes and appends what they make.
    ///
    /// # Errors
    /// In words: the stream is broken off here. What was appended before is good.
    fn push(&mut self, bytes: &[u8], made: &mut BytesMut) -> Result<(), String>;

    /// Says whether the stream may end here.
    ///
    /// # Errors
    /// In words, why not.
    fn finish(&self) -> Result<(), String>;
}

enum Source {
    /// The body drives the connection, and brings it back to the pool at its end.
    Http1 {
        connection: Box<Http1Connection>,
        incoming: Incoming,
        pool: Arc<IdlePool>,
    },
    Http2(Http2Body),
    /// What arrives otherwise than by HTTP. Its end is the end of the channel.
    Channel {
        pieces: mpsc::Receiver<Result<Bytes, BodyError>>,
        _sender: Box<dyn Any + Send + Sync>,
    },
    Closed,
}

/// An answer that broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed or closed before the end.
    #[error("the upstream's answer broke off: {0}")]
    Cut(String),
    /// The upstream sent nothing for too long.
    #[error("the upstream sent nothing for {}", humantime::format_duration(*.0))]
    Paused(Duration),
    /// It was not at its end in time.
    #[error("the upstream's answer took longer than {}", humantime::format_duration(*.0))]
    TooLong(Duration),
}

impl ResponseBody {
    pub(super) fn http1(connection: Box<Http1Connection>, incoming: Incoming, pool: Arc<IdlePool>) -> Self {
        Self::reading(Source::Http1 { connection, incoming, pool })
    }

    pub(super) fn http2(body: Http2Body) -> Self {
        Self::reading(Source::Http2(body))
    }

    /// An answer that is there as a whole.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        let mut body = Self::reading(Source::Closed);
        body.put_back(bytes, None);
        body
    }

    /// An answer in pieces that somebody else receives, who is kept by `sender`. It may pause for `idle_max`, and has to
    /// end within `total`.
    #[must_use]
    pub fn of_channel(
        pieces: mpsc::Receiver<Result<Bytes, BodyError>>,
        sender: impl Any + Send + Sync,
        (idle_max, total): (Duration, Duration),
    ) -> Self {
        let mut body = Self::reading(Source::Channel { pieces, _sender: Box::new(sender) });
        body.limit(idle_max, total);
        body
    }

    fn reading(from: Source) -> Self {
        Self {
            from,
            unread: None,
            failed: None,
            idle_timeout: None,
            total: Duration::MAX,
            slot: None,
            translator: None,
        }
    }

    /// Until its end, which has to come within `total`, the answer may pause for `idle_max`, and keeps `slot`.
    pub(super) fn hold(&mut self, idle_max: Duration, total: Duration, slot: Slot) {
        self.limit(idle_max, total);
        self.slot = Some(slot);
    }

    fn limit(&mut self, idle_max: Duration, total: Duration) {
        self.idle_timeout = Some(IdleTimeout::new(idle_max).over_within(total));
        self.total = total;
    }

    /// What comes from here on is what the translator makes of it.
    pub fn translate_by(&mut self, translator: Box<dyn Translate>) {
        self.translator = Some(translator);
    }

    /// How many bytes are still to come, where that is known.
    #[must_use]
    pub fn exact_len(&self) -> Option<u64> {
        if self.translator.is_some() {
            return None;
        }
        let unread = self.unread.as_ref().map_or(0, Bytes::len) as u64;
        let to_come = match &self.from {
            Source::Http1 { incoming, .. } => incoming.size_hint().exact(),
            Source::Http2(body) => body.exact_len(),
            Source::Channel { .. } => None,
            Source::Closed => Some(0),
        };
        to_come.map(|to_come| to_come + unread)
    }

    /// Puts back what was read, and the error that followed it, if one did.
    pub fn put_back(&mut self, bytes: Bytes, error: Option<BodyError>) {
        self.unread = Some(bytes).filter(|bytes| !bytes.is_empty());
        self.failed = error.or(self.failed.take());
    }

    /// Everything that has arrived, as one chunk; `None` at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self.translator.take() {
            None => self.poll_own(cx),
            Some(mut translator) => {
                let polled = self.poll_translated(cx, &mut *translator);
                self.translator = Some(translator);
                polled
            }
        }
    }

    /// The whole body, of at most `most` bytes.
    ///
    /// # Errors
    /// In words: that it is longer, or broke off.
    pub async fn read_whole(mut self, most: usize) -> Result<Bytes, String> {
        let mut whole = BytesMut::new();
        while let Some(piece) = poll_fn(|cx| self.poll_piece(cx)).await {
            whole.extend_from_slice(&piece.map_err(|error| error.to_string())?);
            if whole.len() > most {
                return Err(format!("the answer has more than {most} bytes"));
            }
        }
        Ok(whole.freeze())
    }

    fn poll_translated(
        &mut self,
        cx: &mut Context<'_>,
        translator: &mut dyn Translate,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut made = BytesMut::new();
        loop {
            let broken = match ready!(self.poll_own(cx)) {
                Some(Ok(piece)) => translator.push(&piece, &mut made),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => match translator.finish() {
                    Ok(()) => return Poll::Ready(None),
                    Err(reason) => Err(reason),
                },
            };
            if let Err(reason) = broken {
                self.close();
                let error = BodyError::Cut(reason);
                if made.is_empty() {
                    return Poll::Ready(Some(Err(error)));
                }
                self.failed = Some(error);
            }
            if !made.is_empty() {
                return Poll::Ready(Some(Ok(made.freeze())));
            }
        }
    }

    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(unread) = self.unread.take() {
            return Poll::Ready(Some(Ok(unread)));
        }
        if let Some(error) = self.failed.take() {
            self.close();
            return Poll::Ready(Some(Err(error)));
        }
        let mut piece = Coalescer::default();
        let ended = loop {
            match self.poll_frame(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    piece.push(bytes);
                    if piece.len() >= PIECE_MAX {
                        break false;
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(error);
                    break false;
                }
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        if ended {
            self.finish(cx);
        }
        if let Some(bytes) = piece.take() {
            if let Some(idle_timeout) = &mut self.idle_timeout {
                idle_timeout.over();
            }
            return Poll::Ready(Some(Ok(bytes)));
        }
        if ended {
            return Poll::Ready(None);
        }
        if let Some(error) = self.failed.take() {
            self.close();
            return Poll::Ready(Some(Err(error)));
        }
        let Some(idle_timeout) = &mut self.idle_timeout else { return Poll::Pending };
        ready!(idle_timeout.poll_exceeded(cx));
        let error = if idle_timeout.is_past_end() {
            BodyError::TooLong(self.total)
        } else {
            BodyError::Paused(idle_timeout.limit())
        };
        self.close();
        Poll::Ready(Some(Err(error)))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let polled = match &mut self.from {
                Source::Http1 { connection, incoming, .. } => {
                    // Errors of the connection reach the body too, with the bytes before them in order.
                    let _ = connection.poll_connection(cx);
                    Pin::new(incoming).poll_frame(cx)
                }
                Source::Http2(body) => {
                    let data = ready!(body.poll_data(cx));
                    return Poll::Ready(
                        data.map(|data| data.map_err(|error| BodyError::Cut(error.to_string()))),
                    );
                }
                Source::Channel { pieces, .. } => return pieces.poll_recv(cx),
                Source::Closed => return Poll::Ready(None),
            };
            match ready!(polled) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Cut(error.to_string())))),
                Some(Ok(frame)) => {
                    // Trailers are not part of any dialect; they end here.
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
            }
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        if let Source::Http1 { connection, pool, .. } = std::mem::replace(&mut self.from, Source::Closed) {
            pool.put_back(connection, cx);
        }
        self.close();
    }

    fn close(&mut self) {
        self.from = Source::Closed;
        self.slot = None;
        self.idle_timeout = None;
    }
}

/// Frames that arrived together; the common single one is not copied.
#[derive(Default)]
struct Coalescer {
    first: Option<Bytes>,
    rest: BytesMut,
}

impl Coalescer {
    fn len(&self) -> usize {
        if self.rest.is_empty() { self.first.as_ref().map_or(0, Bytes::len) } else { self.rest.len() }
    }

    fn push(&mut self, bytes: Bytes) {
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(&bytes);
        } else if let Some(first) = self.first.take() {
            self.rest.reserve((first.len() + bytes.len()).max(4096));
            self.rest.extend_from_slice(&first);
            self.rest.extend_from_slice(&bytes);
        } else {
            self.first = Some(bytes);
        }
    }

    fn take(self) -> Option<Bytes> {
        if self.rest.is_empty() { self.first } else { Some(self.rest.freeze()) }
    }
}
