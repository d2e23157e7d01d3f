//! A JSON scanner that can stop and go on at any byte, keeps next to nothing, and tells a [`UsageAccumulator`] what the
//! dialects name. Its memory is fixed, whatever it is fed; what is no JSON makes it wait for the next start.
//!
//! It is the hot loop of a streamed answer, so every step has a quick way for what lies in one piece in front
//! of it, and a slow one, by state, for what is cut by the end of a chunk.

use crate::dialect::Field;
use crate::json::skip::{self, Skip, SkipString};
use crate::metering::accumulator::UsageAccumulator;
use crate::metering::counts;
use crate::metering::fields::{self, NAME_MAX};
use crate::metering::position::{Position, State};
use crate::metering::prefix_cache::PrefixCache;

/// Bytes of a key that are kept: one more than the longest name, so that a longer key equals none.
const KEY_MAX: usize = NAME_MAX + 1;
/// Longest string that is kept: names of models, kinds of events.
const WORD_MAX: usize = 200;

/// Scans one document after the other.
#[derive(Debug)]
pub struct Scanner {
    at: Position,
    /// How documents of this answer begin, up to their content, and the position after that.
    prefix: PrefixCache,
    /// [`UsageAccumulator::replaced`] when the beginning was learnt: it may say again what has been said otherwise since.
    prefix_holds_at: u64,
    leads_to: Position,
    candidate: Option<PrefixCandidate>,
    /// The previous byte was a backslash, inside a key, a content or a word.
    escaped: bool,
    skip: Skip,
    text: SkipString,
    word: [u8; WORD_MAX],
    word_len: usize,
    started: bool,
}

/// A beginning that is being learnt. Positions are what lay before the scanner then, as it counts its way down.
#[derive(Clone, Copy, Debug)]
struct PrefixCandidate {
    /// What the accumulator knew before the document. A beginning that tells it something is not learnt:
    /// it could not be skipped.
    revision: u64,
    number: Option<(usize, usize)>,
    content: Option<usize>,
}

impl Scanner {
    /// A scanner at the start of a document.
    #[must_use]
    pub fn new() -> Self {
        Self {
            at: Position::START,
            prefix: PrefixCache::empty(),
            prefix_holds_at: 0,
            leads_to: Position::START,
            candidate: None,
            escaped: false,
            skip: Skip::inside(),
            text: SkipString::inside(),
            word: [0; WORD_MAX],
            word_len: 0,
            started: false,
        }
    }

    /// Returns to the start of a document, wherever this one stopped.
    pub fn restart(&mut self) {
        self.at = Position::START;
        self.started = false;
    }

    /// Whether the document's outermost value has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.at.state == State::Over || (self.at.is_outermost() && self.at.state == State::OtherScalar)
    }

    /// Whether nothing of the document has come yet but white space.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        !self.started
    }

    /// Whether the document is not JSON.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.at.state == State::Broken
    }

    /// Takes the document's next bytes, up to its end at most, or to that of the answer's final event; returns how many.
    pub fn feed(&mut self, bytes: &[u8], usage: &mut UsageAccumulator) -> usize {
        let mut rest = bytes;
        if !self.started {
            rest = self.begin(bytes, usage);
        }
        while !rest.is_empty() && !usage.is_final() {
            rest = match self.at.state {
                State::Value => self.value(rest, usage),
                State::Key => self.key(rest, usage),
                State::KeyText => self.key_text(rest),
                State::Colon => self.colon(rest),
                State::Content => self.content(rest, usage),
                State::Word => self.word(rest, usage),
                State::OtherText => self.other_text(rest),
                State::OtherContainer => self.other_container(rest, usage),
                State::Digits => self.digits(rest, usage),
                State::OtherScalar => self.other_scalar(rest),
                State::Over | State::Broken => break,
            };
        }
        if let Some(candidate) = self.candidate.take() {
            self.learn(bytes, candidate, usage);
        }
        if self.is_broken() { bytes.len() } else { bytes.len() - rest.len() }
    }

    /// Gets over the beginning of a document if it is a known one, and else gets ready to learn it.
    fn begin<'b>(&mut self, bytes: &'b [u8], usage: &UsageAccumulator) -> &'b [u8] {
        if self.prefix_holds_at == usage.replaced()
            && let Some(rest) = self.prefix.strip(bytes)
        {
            self.at = self.leads_to;
            self.escaped = false;
            self.started = true;
            return rest;
        }
        self.candidate = Some(PrefixCandidate { revision: usage.revision(), number: None, content: None });
        bytes
    }

    fn learn(&mut self, bytes: &[u8], candidate: PrefixCandidate, usage: &UsageAccumulator) {
        let at = |before: usize| bytes.len() - before;
        if let Some(content) = candidate.content
            && let Some(beginning) = bytes.get(..at(content))
        {
            self.prefix_holds_at = usage.replaced();
            self.prefix.learn(beginning, candidate.number.map(|(start, end)| (at(start), at(end))));
        }
    }

    fn key<'b>(&mut self, bytes: &'b [u8], usage: &mut UsageAccumulator) -> &'b [u8] {
        let Some((&first, rest)) = bytes.split_first() else { return bytes };
        match first {
            b'"' => {}
            b'}' => {
                self.close(false, usage);
                return rest;
            }
            b',' | b' ' | b'\n' | b'\r' | b'\t' => return rest,
            _ => {
                self.at.state = State::Broken;
                return rest;
            }
        }
        if let Some(end) = skip::special(rest)
            && let Some((key, [b'"', behind @ ..])) = rest.split_at_checked(end)
        {
            self.at.field = self.member(key);
            return match behind {
                [b':', value @ ..] if !value.is_empty() => self.value(value, usage),
                _ => {
                    self.at.state = State::Colon;
                    behind
                }
            };
        }
        self.word_len = 0;
        self.escaped = false;
        self.at.state = State::KeyText;
        rest
    }

    /// A key that has an escape or lies in two chunks. An escape is kept as it stands, so that such a key
    /// equals no name: no provider writes one.
    fn key_text<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some((&first, rest)) = bytes.split_first() else { return bytes };
        if first == b'"' && !self.escaped {
            self.at.field = self.member(self.word.get(..self.word_len).unwrap_or_default());
            self.at.state = State::Colon;
        } else {
            self.keep(first, KEY_MAX);
            self.escaped = first == b'\\' && !self.escaped;
        }
        rest
    }

    fn member(&self, key: &[u8]) -> Field {
        self.at.innermost().map_or(Field::Ignored, |(field, _)| fields::member(field, key))
    }

    fn colon<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some((&first, rest)) = bytes.split_first() else { return bytes };
        match first {
            b':' => self.at.state = State::Value,
            _ if is_space(first) => {}
            _ => self.at.state = State::Broken,
        }
        rest
    }

    fn value<'b>(&mut self, bytes: &'b [u8], usage: &mut UsageAccumulator) -> &'b [u8] {
        let Some((&first, rest)) = bytes.split_first() else { return bytes };
        self.at.state = State::Value;
        if is_space(first) || (first == b',' && !self.at.is_outermost()) {
            return rest;
        }
        self.started = true;
        if self.at.field == Field::Vector {
            usage.vector();
        }
        match first {
            b'"' => return self.string(rest, usage),
            b'{' | b'[' => return self.open(first == b'[', rest, usage),
            b']' => self.close(true, usage),
            b'0'..=b'9' if matches!(self.at.field, Field::Number(_)) => {
                self.word_len = 0;
                return self.digits(bytes, usage);
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                match self.at.field {
                    Field::Done => usage.done(first == b't'),
                    Field::Error if matches!(first, b't' | b'-' | b'1'..=b'9') => usage.error(),
                    _ => {}
                }
                let says_nothing = self.at.field != Field::Error;
                let behind = self.other_scalar(rest);
                if says_nothing {
                    self.number_passed(bytes, behind);
                }
                return behind;
            }
            _ => self.at.state = State::Broken,
        }
        rest
    }

    /// Behind the opening quote of a string that is a value.
    fn string<'b>(&mut self, bytes: &'b [u8], usage: &mut UsageAccumulator) -> &'b [u8] {
        self.escaped = false;
        if self.at.field == Field::Ignored {
            self.text = SkipString::inside();
            self.other_text(bytes)
        } else if self.at.field.is_content_text() {
            self.content_begins(bytes.len(), usage);
            self.content(bytes, usage)
        } else if self.at.field.is_kept_text() {
            self.word_len = 0;
            self.word(bytes, usage)
        } else {
            self.text = SkipString::inside();
            self.other_text(bytes)
        }
    }

    /// The first content of a document is where its beginning ends.
    fn content_begins(&mut self, before: usize, usage: &UsageAccumulator) {
        self.at.state = State::Content;
        match &mut self.candidate {
            Some(candidate) if candidate.content.is_none() && candidate.revision == usage.revision() => {
                candidate.content = Some(before);
                self.leads_to = self.at;
            }
            _ => {}
        }
    }

    /// Behind the opening bracket of an array or object.
    fn open<'b>(&mut self, array: bool, bytes: &'b [u8], usage: &mut UsageAccumulator) -> &'b [u8] {
        if self.at.enter(array) {
            usage.entered(self.at.field, array);
            bytes
        } else {
            self.skip = Skip::inside();
            self.other_container(bytes, usage)
        }
    }

    /// Behind the closing bracket of an array or object.
    fn close(&mut self, array: bool, usage: &mut UsageAccumulator) {
        match self.at.leave(array) {
            Some(field) if !array => usage.left(field),
            Some(_) => {}
            None => self.at.state = State::Broken,
        }
    }

    /// Counts what the model produced. An escape counts as one byte, and hexadecimal digits for themselves.
    fn content<'b>(&mut self, bytes: &'b [u8], usage: &mut UsageAccumulator) -> &'b [u8] {
        self.at.state = State::Content;
        let mut rest = bytes;
        if self.escaped && !rest.is_empty() {
            self.escaped = false;
            usage.content(1);
            rest = rest_after(rest, 0);
        }
        while let Some(end) = skip::special(rest) {
            usage.content(end);
            if rest.get(end) == Some(&b'"') {
                self.at.next();
                return rest_after(rest, end);
            }
            if rest.len() == end + 1 {
                self.escaped = true;
                return &[];
            }
            usage.content(1);
            rest = rest_after(rest, end + 1);
        }
        usage.content(rest.len());
        &[]
    }

    /// Keeps a string, as far as it may matter, and tells what it says.
    fn word<'b>(&mut self, bytes: &'b [u8], usage: &mut UsageAccumulator) -> &'b [u8] {
        self.at.state = State::Word;
        if self.word_len == 0
            && !self.escaped
            && let Some(end) = skip::special(bytes)
            && let Some((word, [b'"', rest @ ..])) = bytes.split_at_checked(end)
        {
            report(self.at.field, kept(word), usage);
            self.at.next();
            return rest;
        }
        let mut rest = bytes;
        while let Some((&first, behind)) = rest.split_first() {
            rest = behind;
            if self.escaped || !matches!(first, b'"' | b'\\') {
                self.keep(first, WORD_MAX);
                self.escaped = false;
            } else if first == b'\\' {
                self.escaped = true;
            } else {
                report(self.at.field, self.word.get(..self.word_len).unwrap_or_default(), usage);
                self.at.next();
                break;
            }
        }
        rest
    }

    fn other_text<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        self.at.state = State::OtherText;
        let taken = self.text.feed(bytes);
        if self.text.is_over() {
            self.at.next();
        }
        bytes.get(taken..).unwrap_or_default()
    }

    fn other_container<'b>(&mut self, bytes: &'b [u8], usage: &mut UsageAccumulator) -> &'b [u8] {
        self.at.state = State::OtherContainer;
        let taken = self.skip.feed(bytes);
        if self.at.field == Field::ContentJson {
            usage.content(taken);
        }
        if self.skip.is_over() {
            self.at.next();
        }
        bytes.get(taken..).unwrap_or_default()
    }

    /// The first number of a document may be another one in the next.
    fn number_passed(&mut self, bytes: &[u8], behind: &[u8]) {
        let number = bytes.get(..bytes.len() - behind.len()).unwrap_or_default();
        if let Some(candidate) = &mut self.candidate
            && candidate.number.is_none()
            && candidate.content.is_none()
            && number.iter().all(u8::is_ascii_digit)
        {
            candidate.number = Some((bytes.len(), behind.len()));
        }
    }

    /// A token count; its digits are kept only where they lie in two chunks.
    fn digits<'b>(&mut self, bytes: &'b [u8], usage: &mut UsageAccumulator) -> &'b [u8] {
        self.at.state = State::Digits;
        let in_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
        let end = bytes.iter().position(|byte| !in_number(byte));
        let (digits, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        if end.is_some() && self.word_len == 0 {
            report(self.at.field, kept(digits), usage);
        } else {
            for digit in digits {
                self.keep(*digit, WORD_MAX);
            }
            if end.is_some() {
                report(self.at.field, self.word.get(..self.word_len).unwrap_or_default(), usage);
            }
        }
        if end.is_some() {
            self.at.next();
        }
        rest
    }

    fn other_scalar<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        self.at.state = State::OtherScalar;
        let end = bytes.iter().position(|&byte| matches!(byte, b',' | b']' | b'}') || is_space(byte));
        let Some(end) = end else { return &[] };
        self.at.next();
        bytes.get(end..).unwrap_or_default()
    }

    fn keep(&mut self, byte: u8, most: usize) {
        if self.word_len < most
            && let Some(slot) = self.word.get_mut(self.word_len)
        {
            *slot = byte;
            self.word_len += 1;
        }
    }
}

/// As much of a string as is kept, wherever it is cut.
fn kept(word: &[u8]) -> &[u8] {
    word.get(..WORD_MAX).unwrap_or(word)
}

/// Passes a kept string to the accumulator.
fn report(field: Field, word: &[u8], usage: &mut UsageAccumulator) {
    match field {
        Field::Kind => usage.kind(word),
        Field::Model => usage.model(word),
        Field::StopReason => usage.stop_reason(),
        Field::Status => usage.status(word),
        Field::Error if !word.is_empty() => usage.error(),
        Field::StepKind => usage.step_kind(word),
        Field::StepModel => usage.step_model(word),
        Field::Term(term) => usage.term(term, word),
        Field::Number(count) => {
            if let Some(value) = counts::number(word) {
                usage.count(count, value);
            }
        }
        _ => {}
    }
}

/// The bytes after the one at `at`.
fn rest_after(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at + 1..).unwrap_or_default()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}
