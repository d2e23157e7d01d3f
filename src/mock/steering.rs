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
    /// Call the tool of this name.
    pub tool: Option<Box<str>>,
    pub encoding: Option<Encoding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// The connection closes without an answer.
    BeforeHeaders,
    /// The connection closes in the middle of the body.
    MidStream,
    /// No answer, and the connection stays open.
    Hang,
    /// Half a body, and the connection stays open.
    HangMidStream,
    /// An error event in the middle of a stream with status 200.
    ErrorEvent,
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

    fn set(&mut self, name: &str, value: &str) {
        let count = value.parse::<u64>();
        match (name, count) {
            ("mock-input", Ok(count)) => self.input = Some(count),
            ("mock-output", Ok(count)) => self.output = Some(count),
            ("mock-cache-read", Ok(count)) => self.cache_read = count,
            ("mock-cache-write", Ok(count)) => self.cache_write = count,
            ("mock-cache-write-1h", Ok(count)) => self.cache_write_1h = count,
            ("mock-reasoning", Ok(count)) => self.reasoning = count,
            ("mock-events", Ok(count)) => {
                self.events = Some(usize::try_from(count).unwrap_or(EVENTS_MAX).min(EVENTS_MAX));
            }
            ("mock-delay-ms", Ok(count)) => self.delay = Duration::from_millis(count),
            ("mock-status", Ok(status)) => {
                self.status = u16::try_from(status).ok().filter(|status| (400..600).contains(status));
            }
            ("mock-fail", _) => self.fail = fail(value),
            ("mock-tool", _) => self.tool = (!value.is_empty()).then(|| value.into()),
            ("mock-encoding", _) => self.encoding = encoding(value),
            _ => {}
        }
    }
}

fn fail(name: &str) -> Option<Fail> {
    Some(match name {
        "before-headers" => Fail::BeforeHeaders,
        "mid-stream" => Fail::MidStream,
        "hang" => Fail::Hang,
        "hang-mid-stream" => Fail::HangMidStream,
        "error-event" => Fail::ErrorEvent,
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
