//! How a caller steers the mock: what its headers and query say.

use std::time::Duration;

use http::HeaderMap;

/// The parameters of an answer that a request sets. The mock chooses the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steering {
    /// All input tokens, cached ones included.
    pub input: Option<u64>,
    /// All output tokens, reasoning included.
    pub output: Option<u64>,
    /// Input read from the cache.
    pub cache_read: u64,
    /// Input written to the cache for 5 minutes.
    pub cache_write: u64,
    /// Input written to the cache for 1 hour.
    pub cache_write_1h: u64,
    /// Output spent on reasoning.
    pub reasoning: u64,
    /// Pieces of text in a stream.
    pub events: Option<usize>,
    /// Between events; before a JSON answer.
    pub delay: Duration,
    /// Answer an error with this status.
    pub status: Option<u16>,
    pub fail: Option<Fail>,
    /// Where in the answer it fails, unless `fail` says it.
    pub after: Option<usize>,
    /// Call the tool of this name.
    pub tool: Option<Box<str>>,
    pub encoding: Option<Encoding>,
}

/// How an answer fails, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// The connection closes.
    Close(Place),
    /// The connection is reset.
    Reset(Place),
    /// Nothing more comes, and the connection stays open.
    Stall(Place),
    /// An error event in a stream with status 200.
    ErrorEvent(Place),
    /// The answer is good, and then the connection closes without having said so.
    CloseAfter,
    /// The connection closes before the request has been read. Only a script can say so.
    CloseUnread,
    /// A GOAWAY which says that the request was not processed; over HTTP/1.1 the connection closes.
    Goaway,
    /// The stream is refused, so that it was not processed; over HTTP/1.1 the connection closes.
    RefusedStream,
}

/// A place in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    BeforeHead,
    /// In the middle of the body.
    Halfway,
    /// Behind this many events of a stream; of another body, behind its head for 0 and in the middle for more.
    Events(usize),
}

impl Fail {
    /// The same behind `events`, if it has a place.
    fn after(self, events: Option<usize>) -> Self {
        let Some(place) = events.map(Place::Events) else { return self };
        match self {
            Self::Close(_) => Self::Close(place),
            Self::Reset(_) => Self::Reset(place),
            Self::Stall(_) => Self::Stall(place),
            Self::ErrorEvent(_) => Self::ErrorEvent(place),
            other @ (Self::CloseAfter | Self::CloseUnread | Self::Goaway | Self::RefusedStream) => other,
        }
    }
}

impl Place {
    /// How many of `pieces` are sent.
    pub fn of(self, pieces: usize) -> usize {
        match self {
            Self::BeforeHead => 0,
            Self::Halfway => pieces.div_ceil(2),
            Self::Events(events) => events.min(pieces),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Gzip,
    /// zlib, as RFC 9110 means it.
    Deflate,
    Brotli,
    Zstd,
}

impl Encoding {
    /// As `content-encoding` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// The most events of one stream.
const EVENTS_MAX: usize = 100_000;

impl Steering {
    /// `self`, changed by what the query and then the headers say. What cannot be read changes nothing.
    #[must_use]
    pub fn updated_from(mut self, query: Option<&str>, headers: &HeaderMap) -> Self {
        for pair in query.unwrap_or_default().split('&') {
            if let Some((name, value)) = pair.split_once('=') {
                self.set(name, value);
            }
        }
        for (name, value) in headers {
            if name.as_str().starts_with("mock-")
                && let Ok(value) = value.to_str()
            {
                self.set(name.as_str(), value);
            }
        }
        self
    }

    /// How and where the answer fails.
    pub fn failure(&self) -> Option<Fail> {
        self.fail.map(|fail| fail.after(self.after))
    }

    /// Sets what `name` stands for; `false`: there is no such, or `value` is none of its values.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        let count = value.parse::<u64>();
        match (name, count) {
            ("mock-input", Ok(count)) => self.input = Some(count),
            ("mock-output", Ok(count)) => self.output = Some(count),
            ("mock-cache-read", Ok(count)) => self.cache_read = count,
            ("mock-cache-write", Ok(count)) => self.cache_write = count,
            ("mock-cache-write-1h", Ok(count)) => self.cache_write_1h = count,
            ("mock-reasoning", Ok(count)) => self.reasoning = count,
            ("mock-events", Ok(count)) => self.events = Some(events(count)),
            ("mock-after", Ok(count)) => self.after = Some(events(count)),
            ("mock-delay-ms", Ok(count)) => self.delay = Duration::from_millis(count),
            ("mock-status", Ok(status)) => {
                self.status = u16::try_from(status).ok().filter(|status| (400..600).contains(status));
                return self.status.is_some();
            }
            ("mock-fail", _) => {
                self.fail = fail(value);
                return self.fail.is_some();
            }
            ("mock-tool", _) => self.tool = (!value.is_empty()).then(|| value.into()),
            ("mock-encoding", _) => {
                self.encoding = encoding(value);
                return self.encoding.is_some();
            }
            _ => return false,
        }
        true
    }
}

fn events(count: u64) -> usize {
    usize::try_from(count).unwrap_or(EVENTS_MAX).min(EVENTS_MAX)
}

fn fail(name: &str) -> Option<Fail> {
    Some(match name {
        "before-headers" => Fail::Close(Place::BeforeHead),
        "mid-stream" => Fail::Close(Place::Halfway),
        "reset" => Fail::Reset(Place::BeforeHead),
        "reset-mid-stream" => Fail::Reset(Place::Halfway),
        "hang" => Fail::Stall(Place::BeforeHead),
        "hang-mid-stream" => Fail::Stall(Place::Halfway),
        "error-event" => Fail::ErrorEvent(Place::Halfway),
        "close-after" => Fail::CloseAfter,
        "close-unread" => Fail::CloseUnread,
        "goaway" => Fail::Goaway,
        "refused-stream" => Fail::RefusedStream,
        _ => return None,
    })
}

fn encoding(name: &str) -> Option<Encoding> {
    Some(match name {
        "gzip" => Encoding::Gzip,
        "deflate" => Encoding::Deflate,
        "br" => Encoding::Brotli,
        "zstd" => Encoding::Zstd,
        _ => return None,
    })
}
