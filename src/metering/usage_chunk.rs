//! Takes the usage chunk that the gateway asked for out of an OpenAI stream whose caller did not ask for it.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::{memchr2, memmem};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Largest event that can be the usage chunk; anything larger passes unexamined.
const EVENT_MAX: usize = 64 * 1024;

/// Lets an uncompressed event stream pass without the one chunk that carries usage and no choices. All other
/// bytes pass unchanged and in order; an event that has begun is held back until it is known what it is.
#[derive(Debug, Default)]
pub struct Remover {
    /// The beginning of an event whose end has not come, at most [`EVENT_MAX`] bytes.
    held: BytesMut,
    /// Inside an event that is too large to be examined.
    oversized: bool,
}

impl Remover {
    /// Takes a chunk as it came and returns what may pass now; empty if all of it has to wait.
    pub fn pass(&mut self, chunk: Bytes) -> Bytes {
        let held = std::mem::take(&mut self.held);
        let all = if held.is_empty() { chunk } else { join(held, &chunk) };
        let mut kept = Kept::new(all);
        while let Some(end) = event_end(kept.rest()) {
            let event = kept.rest().get(..end).unwrap_or_default();
            let remove = !std::mem::take(&mut self.oversized) && is_usage_chunk(event);
            kept.advance(end, remove);
        }
        let begun = kept.rest().len();
        if self.oversized || begun > EVENT_MAX {
            self.oversized = true;
            kept.advance(begun, false);
        } else {
            self.held = BytesMut::from(kept.rest());
        }
        kept.into_bytes()
    }

    /// What was still held back when the stream ended.
    pub fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }
}

/// What passes of a buffer: one slice of it, or, once something was removed, a copy.
struct Kept {
    all: Bytes,
    at: usize,
    copy: Option<BytesMut>,
}

impl Kept {
    fn new(all: Bytes) -> Self {
        Self { all, at: 0, copy: None }
    }

    fn rest(&self) -> &[u8] {
        self.all.get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, by: usize, remove: bool) {
        let passed = self.at;
        let slice = self.all.get(passed..passed + by).unwrap_or_default();
        match &mut self.copy {
            None if remove => self.copy = Some(BytesMut::from(self.all.get(..passed).unwrap_or_default())),
            Some(copy) if !remove => copy.extend_from_slice(slice),
            _ => {}
        }
        self.at += by;
    }

    fn into_bytes(self) -> Bytes {
        match self.copy {
            Some(copy) => copy.freeze(),
            None => self.all.slice(..self.at),
        }
    }
}

fn join(mut held: BytesMut, chunk: &[u8]) -> Bytes {
    held.extend_from_slice(chunk);
    held.freeze()
}

/// The length of the first event, its empty line included.
fn event_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = memchr2(b'\n', b'\r', bytes.get(at..).unwrap_or_default()) {
        let line_end = behind_break(bytes, at + found)?;
        match bytes.get(line_end) {
            Some(b'\n' | b'\r') => return behind_break(bytes, line_end),
            _ => at = line_end,
        }
    }
    None
}

/// Behind the line break at `at`; none if a line feed may still follow a final carriage return.
fn behind_break(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Some(at + 2),
        (Some(b'\r'), None) => None,
        _ => Some(at + 1),
    }
}

/// The chunk of `stream_options.include_usage`: usage and no choices.
fn is_usage_chunk(event: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Chunk {
        choices: Vec<IgnoredAny>,
        usage: Option<IgnoredAny>,
    }
    if event.len() > EVENT_MAX || !names_usage(event) {
        return false;
    }
    let data = event.split(|byte| matches!(byte, b'\n' | b'\r')).find_map(|line| line.strip_prefix(b"data:"));
    data.and_then(|data| serde_json::from_slice::<Chunk>(data).ok())
        .is_some_and(|chunk| chunk.choices.is_empty() && chunk.usage.is_some())
}

/// Whether an event has a usage that is not null, as far as can be told without parsing it.
fn names_usage(event: &[u8]) -> bool {
    const KEY: &str = "\"usage\"";
    static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(KEY));
    FINDER.find(event).is_some_and(|at| {
        let value = event.get(at + KEY.len()..).unwrap_or_default();
        value.iter().find(|byte| !matches!(byte, b' ' | b':')) != Some(&b'n')
    })
}
