//! Server-sent events: read from pieces that end anywhere, and written.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use bytes::{BufMut, BytesMut};
use serde::Serialize;

/// The longest event that is read: an answer's picture may be in one.
const EVENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One event of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'e> {
    /// What stands behind `event:`; empty where nothing does.
    pub name: &'e str,
    pub data: &'e str,
}

/// Finds the events in a stream's bytes.
#[derive(Debug, Default)]
pub struct EventReader {
    /// The bytes of lines that are not over.
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    /// The last byte was the first of a possible `\r\n`.
    after_return: bool,
}

/// An event is larger than any that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl EventReader {
    /// Reads on; `each` gets every event that is whole now.
    ///
    /// # Errors
    /// An event is larger than any that is read.
    pub fn read(&mut self, bytes: &[u8], mut each: impl FnMut(&Event<'_>)) -> Result<(), TooLarge> {
        let mut rest = bytes;
        while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
            let (line, behind) = rest.split_at(at);
            let is_return = behind.first() == Some(&b'\r');
            rest = behind.get(1..).unwrap_or_default();
            let is_second_half = std::mem::take(&mut self.after_return)
                && !is_return
                && line.is_empty()
                && self.line.is_empty();
            self.after_return = is_return;
            if is_second_half {
                continue;
            }
            self.line.extend_from_slice(line);
            self.end_line(&mut each);
            self.check()?;
        }
        if !rest.is_empty() {
            self.after_return = false;
            self.line.extend_from_slice(rest);
        }
        self.check()
    }

    /// The stream has ended. An event that no empty line follows counts all the same: some servers forget it.
    pub fn finish(&mut self, mut each: impl FnMut(&Event<'_>)) {
        if !self.line.is_empty() {
            self.end_line(&mut each);
        }
        self.end_event(&mut each);
    }

    fn check(&self) -> Result<(), TooLarge> {
        if self.line.len() + self.data.len() > EVENT_BYTES_MAX { Err(TooLarge) } else { Ok(()) }
    }

    fn end_line(&mut self, each: &mut impl FnMut(&Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.end_event(each);
        } else {
            let text = String::from_utf8_lossy(&line);
            let (field, value) = text.split_once(':').unwrap_or((&text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => {
                    if self.has_data {
                        self.data.push('\n');
                    }
                    self.data.push_str(value);
                    self.has_data = true;
                }
                "event" => value.clone_into(&mut self.name),
                _ => {}
            }
        }
        // Its room is used again.
        self.line = line;
        self.line.clear();
    }

    fn end_event(&mut self, each: &mut impl FnMut(&Event<'_>)) {
        if self.has_data {
            each(&Event { name: &self.name, data: &self.data });
        }
        self.name.clear();
        self.data.clear();
        self.has_data = false;
    }
}

/// Writes events of the caller's API.
#[derive(Debug)]
pub struct EventWriter<'w> {
    made: &'w mut BytesMut,
}

impl<'w> EventWriter<'w> {
    pub fn new(made: &'w mut BytesMut) -> Self {
        Self { made }
    }

    /// An event with a name, as Messages and Responses have them.
    pub fn named(&mut self, name: &str, data: &impl Serialize) {
        self.made.put_slice(b"event: ");
        self.made.put_slice(name.as_bytes());
        self.made.put_u8(b'\n');
        self.data(data);
    }

    /// An event without a name, as Chat and Gemini have them.
    pub fn data(&mut self, data: &impl Serialize) {
        self.made.put_slice(b"data: ");
        let before = self.made.len();
        if serde_json::to_writer((&mut *self.made).writer(), data).is_err() {
            // Nothing that is written here can fail to be JSON; half of a document must not stand for one.
            self.made.truncate(before);
            self.made.put_slice(b"{}");
        }
        self.made.put_slice(b"\n\n");
    }

    /// The line that ends a stream of Chat Completions.
    pub fn done(&mut self) {
        self.made.put_slice(b"data: [DONE]\n\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut events = Vec::new();
        let mut reader = EventReader::default();
        let mut each = |event: &Event<'_>| events.push((event.name.to_owned(), event.data.to_owned()));
        for piece in pieces {
            reader.read(piece, &mut each).unwrap();
        }
        reader.finish(&mut each);
        events
    }

    #[test]
    fn events_are_the_same_wherever_a_stream_is_split_and_whatever_ends_its_lines() {
        let expected = vec![
            ("a".to_owned(), "{\"x\":\"é: y\"}".to_owned()),
            (String::new(), "one\ntwo".to_owned()),
            (String::new(), String::new()),
            (String::new(), "last".to_owned()),
        ];
        for end in ["\n", "\r\n", "\r"] {
            let lines = [
                "event: a",
                "data: {\"x\":\"é: y\"}",
                "",
                ": comment",
                "",
                "data:one",
                "id: 7",
                "data: two",
                "",
                "data",
                "",
                "event: none",
                "",
                "data: last",
            ];
            let stream = lines.join(end);
            for at in 0..stream.len() {
                let (first, second) = stream.as_bytes().split_at(at);
                assert_eq!(read(&[first, second]), expected, "{end:?} {at}");
            }
            let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(read(&bytes), expected);
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut made = BytesMut::new();
        let mut writer = EventWriter::new(&mut made);
        writer.named("ping", &serde_json::json!({"type": "ping"}));
        writer.data(&serde_json::json!({"b": "two\nlines", "a": 1}));
        writer.done();
        let expected = vec![
            ("ping".to_owned(), r#"{"type":"ping"}"#.to_owned()),
            (String::new(), r#"{"b":"two\nlines","a":1}"#.to_owned()),
            (String::new(), "[DONE]".to_owned()),
        ];
        assert_eq!(read(&[&made]), expected);
    }
}
