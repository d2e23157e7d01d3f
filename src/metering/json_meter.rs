//! From bytes to documents: server-sent events, lines, or one JSON document, told apart by the first byte.

use memchr::{memchr, memchr2};

use crate::domain::tokens::Estimate;
use crate::metering::accumulator::{BodyProgress, UsageAccumulator};
use crate::metering::meter::{End, Meter, MeterResult, Progress, Stage};
use crate::metering::scanner::Scanner;

/// What ends a Chat Completions stream in place of a document.
const DONE: &[u8] = b"[DONE]";
/// Longest field name that matters (`event`), with its colon.
const FIELD_MAX: usize = 6;

/// The meter of an answer that is not compressed.
#[derive(Debug)]
pub struct JsonMeter {
    framing: Framing,
    scanner: Scanner,
    usage: UsageAccumulator,
    /// A document has begun.
    began: bool,
    /// Set from outside: a part of the answer could not be decoded.
    broken: bool,
}

#[derive(Debug)]
enum Framing {
    /// Only white space has come.
    Unknown { by_line: bool },
    /// JSON documents, one after the other, or `by_line` one in each line.
    Documents { by_line: bool },
    /// Server-sent events.
    Events(EventLine),
}

/// Where in a line of server-sent events the next byte stands.
#[derive(Clone, Copy, Debug)]
enum EventLine {
    /// In the field name; what has come of it. `after_cr`: a line feed would still belong to the line before.
    Field { name: [u8; FIELD_MAX], len: usize, after_cr: bool },
    /// In the value of `data`; how much of [`DONE`] it has matched, if it still can.
    Data { done: Option<usize> },
    /// In the value of `event`; how much of `error` it has matched, if it still can.
    Event { error: Option<usize> },
    /// In any other field.
    Other,
}

const LINE_START: EventLine = EventLine::Field { name: [0; FIELD_MAX], len: 0, after_cr: false };

impl JsonMeter {
    /// For an answer of any form.
    pub fn new(estimate: Estimate) -> Self {
        Self {
            framing: Framing::Unknown { by_line: false },
            scanner: Scanner::new(),
            usage: UsageAccumulator::new(estimate),
            began: false,
            broken: false,
        }
    }

    /// For an answer announced as lines of JSON.
    pub fn lines(estimate: Estimate) -> Self {
        Self { framing: Framing::Unknown { by_line: true }, ..Self::new(estimate) }
    }

    /// Stops reading: the rest of the answer cannot be read. Behind its final event nothing has to be.
    pub fn give_up(&mut self) {
        self.broken = !self.is_final();
    }

    /// Tells the form of the answer from its first byte, and returns what comes from there on.
    fn recognise<'b>(&mut self, bytes: &'b [u8], by_line: bool) -> &'b [u8] {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0xEF | 0xBB | 0xBF);
        let Some(start) = bytes.iter().position(|byte| !blank(byte)) else { return &[] };
        self.framing = match bytes.get(start) {
            Some(b'{' | b'[') => {
                self.began = true;
                Framing::Documents { by_line }
            }
            _ => Framing::Events(LINE_START),
        };
        bytes.get(start..).unwrap_or_default()
    }

    fn documents(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.scanner.feed(bytes, &mut self.usage);
            if self.is_final() {
                return;
            }
            bytes = bytes.get(taken..).unwrap_or_default();
            let Some(next) = bytes.iter().position(|byte| !byte.is_ascii_whitespace()) else { return };
            bytes = bytes.get(next..).unwrap_or_default();
            self.scanner.restart();
        }
    }

    /// A line holds one document, and a line that is none costs nothing but itself.
    fn document_lines(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr(b'\n', bytes) {
            self.scanner.feed(bytes.get(..end).unwrap_or_default(), &mut self.usage);
            if self.is_final() {
                return;
            }
            self.scanner.restart();
            bytes = bytes.get(end + 1..).unwrap_or_default();
        }
        self.scanner.feed(bytes, &mut self.usage);
    }

    fn events(&mut self, mut bytes: &[u8], mut line: EventLine) {
        while !bytes.is_empty() && !self.usage.is_final() {
            (line, bytes) = match line {
                EventLine::Field { len: 0, .. } if bytes.starts_with(b"data:") => {
                    self.data_starts();
                    (EventLine::Data { done: Some(0) }, bytes.get(5..).unwrap_or_default())
                }
                EventLine::Field { name, len, after_cr } => self.field(bytes, name, len, after_cr),
                EventLine::Data { done } => self.data(bytes, done),
                EventLine::Event { error } => self.event(bytes, error),
                EventLine::Other => behind_line(bytes, memchr2(b'\n', b'\r', bytes), EventLine::Other),
            };
        }
        self.framing = Framing::Events(line);
    }

    /// A line's field name, byte by byte. An empty line ends the event.
    fn field<'b>(
        &mut self,
        bytes: &'b [u8],
        mut name: [u8; FIELD_MAX],
        len: usize,
        after_cr: bool,
    ) -> (EventLine, &'b [u8]) {
        let Some((&first, rest)) = bytes.split_first() else { return (LINE_START, bytes) };
        if matches!(first, b'\n' | b'\r') {
            if len == 0 && !(first == b'\n' && after_cr) {
                self.scanner.restart();
            }
            return behind_line(bytes, Some(0), LINE_START);
        }
        if let Some(slot) = name.get_mut(len) {
            *slot = first;
        }
        let line = match name.get(..=len) {
            Some(b"data:") => {
                self.data_starts();
                EventLine::Data { done: Some(0) }
            }
            Some(b"event:") => EventLine::Event { error: Some(0) },
            Some(_) if first != b':' => EventLine::Field { name, len: len + 1, after_cr: false },
            _ => EventLine::Other,
        };
        (line, rest)
    }

    /// Servers that end events with a single line end are understood, too.
    fn data_starts(&mut self) {
        if self.scanner.is_over() {
            self.scanner.restart();
        }
    }

    fn data<'b>(&mut self, bytes: &'b [u8], done: Option<usize>) -> (EventLine, &'b [u8]) {
        let end = memchr2(b'\n', b'\r', bytes);
        let data = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        // Whatever follows: it is the end as soon as it is there.
        let done = done.and_then(|matched| matches(data, DONE, matched, |_| true));
        if done == Some(DONE.len()) {
            self.usage.finish();
        }
        self.began |= !data.trim_ascii_start().is_empty();
        self.scanner.feed(data, &mut self.usage);
        behind_line(bytes, end, EventLine::Data { done })
    }

    fn event<'b>(&mut self, bytes: &'b [u8], error: Option<usize>) -> (EventLine, &'b [u8]) {
        let end = memchr2(b'\n', b'\r', bytes);
        let name = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let error = error.and_then(|matched| matches(name, b"error", matched, |byte| byte == b' '));
        if end.is_some() && error == Some(b"error".len()) {
            self.usage.error();
        }
        behind_line(bytes, end, EventLine::Event { error })
    }

    /// How far the answer has come.
    pub fn progress(&self) -> Progress {
        if self.is_final() { Progress::Final } else { Progress::More }
    }

    fn is_final(&self) -> bool {
        // A line of many is not the last one.
        let document_over = matches!(self.framing, Framing::Documents { by_line: false })
            && self.scanner.is_over()
            && !self.usage.awaits_final_event();
        self.usage.is_final() || document_over
    }

    fn body_progress(&self) -> BodyProgress {
        let no_json =
            self.scanner.is_broken() && matches!(self.framing, Framing::Documents { by_line: false });
        BodyProgress {
            all: self.is_final(),
            whole: self.scanner.is_over() || self.scanner.is_broken() || self.scanner.is_fresh(),
            readable: !self.broken && !no_json,
            nothing: !self.began && !self.broken,
        }
    }
}

/// What comes behind the line that ends at `end`; without an end, all of `bytes` belongs to the line.
fn behind_line(bytes: &[u8], end: Option<usize>, unended: EventLine) -> (EventLine, &[u8]) {
    let Some(end) = end else { return (unended, &[]) };
    let after_cr = bytes.get(end) == Some(&b'\r');
    let start = EventLine::Field { name: [0; FIELD_MAX], len: 0, after_cr };
    (start, bytes.get(end + 1..).unwrap_or_default())
}

/// How much of `expected` has been matched once `bytes` have come, ignoring leading blanks; `None` if they differ, or if
/// something follows that may not.
fn matches(bytes: &[u8], expected: &[u8], matched: usize, may_follow: impl Fn(u8) -> bool) -> Option<usize> {
    let mut matched = matched;
    for &byte in bytes {
        match expected.get(matched) {
            Some(&next) if next == byte => matched += 1,
            Some(_) if matched == 0 && byte == b' ' => {}
            None if may_follow(byte) => {}
            _ => return None,
        }
    }
    Some(matched)
}

impl Meter for JsonMeter {
    fn feed(&mut self, chunk: &[u8]) -> Progress {
        if self.broken || self.is_final() {
            return self.progress();
        }
        let chunk = match self.framing {
            Framing::Unknown { by_line } => self.recognise(chunk, by_line),
            _ => chunk,
        };
        match self.framing {
            Framing::Unknown { .. } => {}
            Framing::Documents { by_line: false } => self.documents(chunk),
            Framing::Documents { by_line: true } => self.document_lines(chunk),
            Framing::Events(line) => self.events(chunk, line),
        }
        self.progress()
    }

    fn stage(&mut self) -> Stage {
        if self.broken { Stage::Content } else { self.usage.stage() }
    }

    fn result(&mut self, end: End) -> MeterResult {
        self.usage.result(end, self.body_progress())
    }
}
