//! A JSON scanner that can stop and go on at any byte, keeps next to nothing, and tells a [`Tally`] what the
//! vocabulary names. Its memory is fixed, whatever it is fed; what is no JSON makes it wait for the next start.

use crate::metering::skip::{Skip, Text};
use crate::metering::tally::Tally;
use crate::metering::vocabulary::Place;

/// Containers of interest inside one another; the vocabulary needs nine, arrays included.
const DEPTH_MAX: usize = 24;
/// The longest key of interest has 27 bytes.
const KEY_MAX: usize = 32;
/// Longest string that is kept: names of models, kinds of events.
const WORD_MAX: usize = 200;

/// Where the scanner stands between two bytes.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Before a value, or the end of an array.
    Value,
    /// Before a key, or the end of an object.
    Key,
    /// Inside a key.
    KeyText { escaped: bool },
    /// Between key and value.
    Colon,
    /// Inside a string that the model produced.
    Content { escaped: bool },
    /// Inside a string that is kept.
    Word { escaped: bool },
    /// Inside a string that is skipped.
    OtherText(Text),
    /// Inside a container that is skipped, or counted as a whole.
    OtherContainer { skip: Skip, counted: bool },
    /// Inside a token count.
    Digits { value: u64, whole: bool },
    /// Inside a number, `true`, `false` or `null` of no interest.
    OtherScalar,
    /// Behind the end of the outermost value.
    Over,
    /// What came is no JSON.
    Broken,
}

/// The scanner of one document after the other.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    /// Where the value stands that is being read or comes next.
    place: Place,
    /// The containers around it, outermost first, and whether each is an array.
    around: [(Place, bool); DEPTH_MAX],
    depth: usize,
    word: [u8; WORD_MAX],
    word_len: usize,
    started: bool,
}

impl Scanner {
    /// Before a document.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Value,
            place: Place::Root,
            around: [(Place::Nothing, false); DEPTH_MAX],
            depth: 0,
            word: [0; WORD_MAX],
            word_len: 0,
            started: false,
        }
    }

    /// Before the next document, whatever became of this one.
    pub fn restart(&mut self) {
        self.state = State::Value;
        self.place = Place::Root;
        self.depth = 0;
        self.word_len = 0;
        self.started = false;
    }

    /// Whether the document's outermost value has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over) || (self.depth == 0 && matches!(self.state, State::OtherScalar))
    }

    /// Whether nothing of the document has come yet but white space.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        !self.started
    }

    /// Whether what came is no JSON.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken)
    }

    /// Takes the document's next bytes, up to its end at most; returns how many.
    pub fn feed(&mut self, bytes: &[u8], tally: &mut Tally) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Value => self.value(rest, tally),
                State::Key => self.key(rest, tally),
                State::KeyText { escaped } => self.key_text(rest, escaped),
                State::Colon => self.colon(rest),
                State::Content { escaped } => self.content(rest, escaped, tally),
                State::Word { escaped } => self.word(rest, escaped, tally),
                State::OtherText(text) => self.other_text(rest, text),
                State::OtherContainer { skip, counted } => self.other_container(rest, skip, counted, tally),
                State::Digits { value, whole } => self.digits(rest, value, whole, tally),
                State::OtherScalar => self.other_scalar(rest),
                State::Over => return bytes.len() - rest.len(),
                State::Broken => return bytes.len(),
            };
        }
        bytes.len()
    }

    fn value<'b>(&mut self, bytes: &'b [u8], tally: &mut Tally) -> &'b [u8] {
        let Some((&first, rest)) = bytes.split_first() else { return bytes };
        if is_space(first) || (first == b',' && self.depth > 0) {
            return rest;
        }
        self.started = true;
        match first {
            b'"' => {
                self.word_len = 0;
                self.state = match self.place {
                    Place::Model | Place::Kind | Place::StopReason | Place::Error => {
                        State::Word { escaped: false }
                    }
                    place if place.is_content_text() => State::Content { escaped: false },
                    _ => State::OtherText(Text::inside()),
                };
            }
            b'{' => self.open(false, tally),
            b'[' => self.open(true, tally),
            b']' => return self.close(true, rest, tally),
            b'0'..=b'9' if matches!(self.place, Place::Number(_)) => {
                self.state = State::Digits { value: 0, whole: true };
                return bytes;
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                if self.place == Place::Done {
                    tally.done(first == b't');
                }
                self.state = State::OtherScalar;
            }
            _ => self.state = State::Broken,
        }
        rest
    }

    /// Behind the opening bracket of an array or object.
    fn open(&mut self, array: bool, tally: &mut Tally) {
        if self.place == Place::Error && !array {
            tally.error();
        }
        let entered = self.place.has_members() || (array && self.place != Place::Nothing);
        let counted = self.place == Place::ContentJson;
        match self.around.get_mut(self.depth) {
            Some(slot) if entered && !counted => {
                *slot = (self.place, array);
                self.depth += 1;
                self.state = if array { State::Value } else { State::Key };
                tally.entered(self.place, array);
            }
            _ => self.state = State::OtherContainer { skip: Skip::inside(), counted },
        }
    }

    /// At the closing bracket of an array or object.
    fn close<'b>(&mut self, array: bool, rest: &'b [u8], tally: &mut Tally) -> &'b [u8] {
        match self.depth.checked_sub(1).and_then(|depth| self.around.get(depth)) {
            Some(&(place, is_array)) if is_array == array => {
                self.depth -= 1;
                self.place = place;
                if !array {
                    tally.left(place);
                }
                self.next();
            }
            _ => self.state = State::Broken,
        }
        rest
    }

    /// Behind a value: what comes next depends on the container around it.
    fn next(&mut self) {
        self.state = match self.depth.checked_sub(1).and_then(|depth| self.around.get(depth)) {
            None => State::Over,
            Some(&(place, true)) => {
                self.place = place;
                State::Value
            }
            Some(&(_, false)) => State::Key,
        };
    }

    fn key<'b>(&mut self, bytes: &'b [u8], tally: &mut Tally) -> &'b [u8] {
        let Some((&first, rest)) = bytes.split_first() else { return bytes };
        match first {
            b'"' => {
                let end = rest.iter().take(KEY_MAX).position(|&byte| byte == b'"' || byte == b'\\');
                if let Some(end) = end
                    && rest.get(end) == Some(&b'"')
                {
                    self.place = self.member(rest.get(..end).unwrap_or_default());
                    self.state = State::Colon;
                    return rest.get(end + 1..).unwrap_or_default();
                }
                self.word_len = 0;
                self.state = State::KeyText { escaped: false };
            }
            b'}' => return self.close(false, rest, tally),
            b',' => {}
            _ if is_space(first) => {}
            _ => self.state = State::Broken,
        }
        rest
    }

    /// A key that is long, has an escape, or lies in two chunks. An escape is kept as it stands, so that such a
    /// key equals no name: no provider writes one.
    fn key_text<'b>(&mut self, bytes: &'b [u8], escaped: bool) -> &'b [u8] {
        let Some((&first, rest)) = bytes.split_first() else { return bytes };
        if first == b'"' && !escaped {
            self.place = self.member(self.word.get(..self.word_len).unwrap_or_default());
            self.state = State::Colon;
        } else {
            self.keep(first, KEY_MAX);
            self.state = State::KeyText { escaped: first == b'\\' && !escaped };
        }
        rest
    }

    fn member(&self, key: &[u8]) -> Place {
        let around = self.depth.checked_sub(1).and_then(|depth| self.around.get(depth));
        around.map_or(Place::Nothing, |(place, _)| place.member(key))
    }

    fn colon<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some((&first, rest)) = bytes.split_first() else { return bytes };
        match first {
            b':' => self.state = State::Value,
            _ if is_space(first) => {}
            _ => self.state = State::Broken,
        }
        rest
    }

    /// Counts what the model produced. An escape counts as one byte, and hexadecimal digits for themselves.
    fn content<'b>(&mut self, bytes: &'b [u8], escaped: bool, tally: &mut Tally) -> &'b [u8] {
        if escaped {
            self.state = State::Content { escaped: false };
            tally.content(1);
            return bytes.get(1..).unwrap_or_default();
        }
        let Some(end) = memchr::memchr2(b'"', b'\\', bytes) else {
            tally.content(bytes.len());
            return &[];
        };
        tally.content(end);
        if bytes.get(end) == Some(&b'"') {
            self.next();
        } else {
            self.state = State::Content { escaped: true };
        }
        bytes.get(end + 1..).unwrap_or_default()
    }

    fn word<'b>(&mut self, bytes: &'b [u8], escaped: bool, tally: &mut Tally) -> &'b [u8] {
        let mut rest = bytes;
        let mut escaped = escaped;
        while let Some((&first, behind)) = rest.split_first() {
            rest = behind;
            if escaped || !matches!(first, b'"' | b'\\') {
                self.keep(first, WORD_MAX);
                escaped = false;
            } else if first == b'\\' {
                escaped = true;
            } else {
                let word = self.word.get(..self.word_len).unwrap_or_default();
                match self.place {
                    Place::Kind => tally.kind(word),
                    Place::Model => tally.model(word),
                    Place::StopReason => tally.stop_reason(),
                    Place::Error if !word.is_empty() => tally.error(),
                    _ => {}
                }
                self.next();
                return rest;
            }
        }
        self.state = State::Word { escaped };
        rest
    }

    fn other_text<'b>(&mut self, bytes: &'b [u8], mut text: Text) -> &'b [u8] {
        let taken = text.feed(bytes);
        if text.is_over() {
            self.next();
        } else {
            self.state = State::OtherText(text);
        }
        bytes.get(taken..).unwrap_or_default()
    }

    fn other_container<'b>(
        &mut self,
        bytes: &'b [u8],
        mut skip: Skip,
        counted: bool,
        tally: &mut Tally,
    ) -> &'b [u8] {
        let taken = skip.feed(bytes);
        if counted {
            tally.content(taken);
        }
        if skip.is_over() {
            self.next();
        } else {
            self.state = State::OtherContainer { skip, counted };
        }
        bytes.get(taken..).unwrap_or_default()
    }

    /// A token count. A fraction or an exponent is no count; what cannot be one is left out.
    fn digits<'b>(&mut self, bytes: &'b [u8], value: u64, whole: bool, tally: &mut Tally) -> &'b [u8] {
        let (mut value, mut whole, mut rest) = (value, whole, bytes);
        while let Some((&first, behind)) = rest.split_first() {
            match first {
                b'0'..=b'9' if whole => {
                    value = value.saturating_mul(10).saturating_add(u64::from(first - b'0'));
                }
                b'.' => whole = false,
                b'e' | b'E' => (value, whole) = (u64::MAX, false),
                b'0'..=b'9' | b'+' | b'-' => {}
                _ => {
                    if let Place::Number(count) = self.place {
                        tally.count(count, value);
                    }
                    self.next();
                    return rest;
                }
            }
            rest = behind;
        }
        self.state = State::Digits { value, whole };
        rest
    }

    fn other_scalar<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let end = bytes.iter().position(|&byte| matches!(byte, b',' | b']' | b'}') || is_space(byte));
        let Some(end) = end else { return &[] };
        self.next();
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

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}
