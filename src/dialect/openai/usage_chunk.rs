//! Takes the usage chunk that the gateway asked for out of an OpenAI stream whose caller did not ask for it.
//!
//! Only a `data:` line whose beginning could be such a chunk waits for its end; everything else passes as it comes.
//! What is no stream of events has no such lines, so that it does not matter what an answer calls itself.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::{memchr2, memmem};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Longest line that can be the usage chunk; anything longer passes unexamined.
const LINE_MAX: usize = 64 * 1024;
const DATA: &[u8] = b"data:";

/// Lets an uncompressed event stream pass without the one chunk that carries usage and no choices. All other
/// bytes pass unchanged and in order.
#[derive(Debug, Default)]
pub struct Remover {
    /// The beginning of a line whose end has not come, at most [`LINE_MAX`] bytes.
    held: BytesMut,
    /// Inside a line that passes.
    in_line: bool,
    /// The last line ended with a carriage return; a line feed that follows belongs to it, and is treated like it.
    after_return: Option<Fate>,
    /// A line of the event has passed, so that its end has to pass, too.
    has_passed: bool,
    /// The chunk was the event's only line.
    is_removed: bool,
}

/// What was done with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Removed,
}

impl Remover {
    /// Takes a chunk as it came and returns what may pass now; empty if all of it has to wait.
    pub fn pass(&mut self, chunk: Bytes) -> Bytes {
        let held = std::mem::take(&mut self.held);
        let all = if held.is_empty() { chunk } else { join(held, &chunk) };
        let mut output = Output::new(all);
        while let Some(first) = output.rest().first() {
            if let Some(fate) = self.after_return.take()
                && *first == b'\n'
            {
                output.advance(1, fate == Fate::Removed);
            } else if self.in_line {
                self.pass_line(&mut output);
            } else if !self.begin_line(&mut output) {
                break;
            }
        }
        self.held = BytesMut::from(output.rest());
        output.into_bytes()
    }

    /// Begins a new line; false if it has to wait.
    fn begin_line(&mut self, output: &mut Output) -> bool {
        let line = output.rest();
        if matches!(line.first(), Some(b'\n' | b'\r')) {
            let fate = if std::mem::take(&mut self.is_removed) { Fate::Removed } else { Fate::Passed };
            self.has_passed = false;
            self.end_line(output, 0, fate);
            return true;
        }
        if line.starts_with(DATA) {
            match memchr2(b'\n', b'\r', line) {
                Some(end) if is_usage_chunk(line.get(..end).unwrap_or_default()) => {
                    self.is_removed = !self.has_passed;
                    self.end_line(output, end, Fate::Removed);
                    return true;
                }
                // Nearly every line: its end is not looked for twice.
                Some(end) => {
                    (self.has_passed, self.is_removed) = (true, false);
                    self.end_line(output, end, Fate::Passed);
                    return true;
                }
                None if may_be_usage_chunk(line) => return false,
                None => {}
            }
        } else if DATA.starts_with(line) {
            return false;
        }
        // A comment says nothing about the event that it stands in.
        if line.first() != Some(&b':') {
            self.has_passed = true;
            self.is_removed = false;
        }
        self.in_line = true;
        true
    }

    fn pass_line(&mut self, output: &mut Output) {
        match memchr2(b'\n', b'\r', output.rest()) {
            Some(end) => {
                self.in_line = false;
                self.end_line(output, end, Fate::Passed);
            }
            None => output.advance(output.rest().len(), false),
        }
    }

    /// Ends the line at the line break at `end`.
    fn end_line(&mut self, output: &mut Output, end: usize, fate: Fate) {
        if output.rest().get(end) == Some(&b'\r') {
            self.after_return = Some(fate);
        }
        output.advance(end + 1, fate == Fate::Removed);
    }

    /// What was still held back when the stream ended.
    pub fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }
}

/// The bytes of a buffer that pass: one slice of it, or, once something was removed, a copy.
struct Output {
    all: Bytes,
    at: usize,
    copy: Option<BytesMut>,
}

impl Output {
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

/// Whether a line that has begun can become the usage chunk: JSON without a choice in it so far. What can be it can be it
/// at every place in it, so that it does not matter where it is cut.
fn may_be_usage_chunk(line: &[u8]) -> bool {
    static CHOICES: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("\"choices\""));
    let data = line.get(DATA.len()..).unwrap_or_default().trim_ascii_start();
    let has_choice = || {
        let behind =
            CHOICES.find(data).and_then(|at| data.get(at + "\"choices\"".len()..)).unwrap_or_default();
        let mut value = behind.iter().filter(|byte| !byte.is_ascii_whitespace());
        value.next() == Some(&b':') && value.next() == Some(&b'[') && value.next() == Some(&b'{')
    };
    line.len() <= LINE_MAX && matches!(data.first(), None | Some(b'{')) && !has_choice()
}

/// The chunk of `stream_options.include_usage`: usage, no choices, and nothing that a caller could be waiting for.
fn is_usage_chunk(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Chunk {
        choices: Option<Vec<IgnoredAny>>,
        usage: Option<IgnoredAny>,
        /// Events of other dialects have usage at their top, too.
        r#type: Option<IgnoredAny>,
        delta: Option<IgnoredAny>,
        error: Option<IgnoredAny>,
    }
    let data = line.get(DATA.len()..).unwrap_or_default();
    if !names_usage(data) || !may_be_usage_chunk(line) {
        return false;
    }
    serde_json::from_slice::<Chunk>(data).is_ok_and(|chunk| {
        chunk.usage.is_some()
            && chunk.choices.is_none_or(|choices| choices.is_empty())
            && chunk.error.is_none()
            && chunk.r#type.is_none()
            && chunk.delta.is_none()
    })
}

/// Whether an event has a usage that is not null, as far as can be told without parsing it.
fn names_usage(event: &[u8]) -> bool {
    const KEY: &str = "\"usage\"";
    static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(KEY));
    FINDER.find_iter(event).any(|at| {
        let value = event.get(at + KEY.len()..).unwrap_or_default();
        value.iter().find(|byte| !matches!(byte, b' ' | b':')) != Some(&b'n')
    })
}
