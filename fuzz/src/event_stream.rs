//! AWS's frames and the events in them: what was put in comes out, however it is cut.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde_json::{Value, json};
use sproxy::cloud::bedrock_events::{AnthropicEvents, BadStream};
use sproxy::cloud::event_stream::{BadFrame, Decoder, FRAME_MAX, Message};

use super::input::{Input, in_pieces};

/// A letter for the largest frame, a line of letters for how long the pieces are, and a line for each frame: a letter
/// that says what it is, and its content.
pub fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let frame_max = input.choice(&[FRAME_MAX, 64, 300, 16, 15]);
    let lengths: Vec<usize> =
        input.line().iter().map(|byte| usize::from(byte.wrapping_sub(b'a') % 64)).collect();
    let mut stream = Vec::new();
    let mut written = Vec::new();
    while !input.is_empty() {
        let frame = Frame::of(input.line());
        stream.extend(frame.bytes());
        written.push(frame);
    }
    let cut = in_pieces(&stream, &lengths);
    let pieces = || cut.iter().map(Vec::as_slice);

    let messages = decoded(frame_max, [&*stream]);
    assert_eq!(decoded(frame_max, pieces()), messages, "in pieces");
    assert_eq!(decoded(frame_max, stream.chunks(1)), messages, "byte by byte");

    let events = translated(frame_max, [&*stream]);
    assert_eq!(translated(frame_max, pieces()), events, "in pieces");
    assert_eq!(translated(frame_max, stream.chunks(1)), events, "byte by byte");

    if frame_max == FRAME_MAX && written.iter().all(|frame| frame.payload().is_some()) {
        let payloads: Vec<Vec<u8>> = written.iter().filter_map(Frame::payload).collect();
        let came: Vec<Vec<u8>> = messages.0.iter().map(|message| message.payload.to_vec()).collect();
        assert_eq!((came, messages.1), (payloads, Ok(())), "every frame comes out");
        says_the_same(&written, &events);
    }
}

enum Frame<'a> {
    /// An event of Anthropic's.
    Event(&'a [u8]),
    /// The name of an exception, a space, and its body.
    Exception(&'a str, &'a [u8]),
    /// An error's message.
    Error(&'a str),
    /// A frame whose headers are these bytes.
    Headers(&'a [u8]),
    /// An event with this payload.
    Payload(&'a [u8]),
    /// Bytes that are no frame.
    Bytes(&'a [u8]),
}

impl<'a> Frame<'a> {
    fn of(line: &'a [u8]) -> Self {
        let (letter, rest) = line.split_first().unwrap_or((&b'x', line));
        let text = std::str::from_utf8(rest).unwrap_or("not text");
        match letter {
            b'c' => Self::Event(rest),
            b'e' => {
                let (name, _) = text.split_once(' ').unwrap_or((text, ""));
                Self::Exception(name, rest.get(name.len() + 1..).unwrap_or_default())
            }
            b'r' => Self::Error(text),
            b'h' => Self::Headers(rest),
            b'p' => Self::Payload(rest),
            _ => Self::Bytes(rest),
        }
    }

    /// What has to come out of it; nothing for what may be no frame.
    fn payload(&self) -> Option<Vec<u8>> {
        match self {
            Self::Event(event) => {
                Some(json!({ "bytes": STANDARD.encode(event), "p": "ab" }).to_string().into())
            }
            Self::Exception(_, body) | Self::Payload(body) => Some(body.to_vec()),
            Self::Error(_) => Some(Vec::new()),
            Self::Headers(_) | Self::Bytes(_) => None,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let headers =
            |pairs: &[(&str, &str)]| pairs.iter().flat_map(|(name, text)| header(name, text)).collect();
        let headers: Vec<u8> = match self {
            Self::Bytes(bytes) => return bytes.to_vec(),
            Self::Headers(headers) => headers.to_vec(),
            Self::Event(_) | Self::Payload(_) => headers(&[
                (":event-type", "chunk"),
                (":content-type", "application/json"),
                (":message-type", "event"),
            ]),
            Self::Exception(name, _) => headers(&[(":exception-type", name), (":message-type", "exception")]),
            Self::Error(message) => {
                headers(&[(":error-code", "Odd"), (":error-message", message), (":message-type", "error")])
            }
        };
        framed(&headers, &self.payload().unwrap_or_default())
    }
}

fn header(name: &str, text: &str) -> Vec<u8> {
    // A text's length is two bytes.
    let text = text.as_bytes().get(..usize::from(u16::MAX)).unwrap_or(text.as_bytes());
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
    let name_length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[name_length][..], name.as_bytes(), &[7], &length, text].concat()
}

fn framed(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = |of: usize| u32::try_from(of).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = [length(16 + headers.len() + payload.len()), length(headers.len())].concat();
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

type Decoded = (Vec<Message>, Result<(), BadFrame>);

fn decoded<'a>(frame_max: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = Decoder::new(frame_max);
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(bad) => {
                    assert_eq!(decoder.next_message(), Err(bad), "once bad, always bad");
                    assert_eq!(decoder.finish(), Err(bad));
                    return (messages, Err(bad));
                }
            }
        }
    }
    (messages, decoder.finish())
}

type Translated = (String, Result<(), BadStream>);

fn translated<'a>(frame_max: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Translated {
    let mut events = AnthropicEvents::new(frame_max);
    let mut bytes = BytesMut::new();
    let mut end = Ok(());
    for piece in pieces {
        end = events.push(piece, &mut bytes);
        if end.is_err() {
            break;
        }
    }
    let end = end.and_then(|()| events.finish());
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

/// The events are those that were put in, up to the first that is none or ends the stream.
fn says_the_same(written: &[Frame<'_>], (events, end): &Translated) {
    let mut told = events.split_terminator("\n\n");
    for frame in written {
        match frame {
            Frame::Event(event) => {
                let kind = serde_json::from_slice::<Value>(event)
                    .ok()
                    .and_then(|event| Some(event.get("type")?.as_str()?.to_owned()));
                let Some(kind) = kind.filter(|kind| !kind.contains(char::is_control)) else { return };
                // Line ends within become lines of the event, and say nothing in JSON.
                if event.contains(&b'\r') || std::str::from_utf8(event).is_err() {
                    return;
                }
                let event = String::from_utf8_lossy(event);
                assert_eq!(told.next(), Some(&*format!("event: {kind}\ndata: {event}")));
            }
            Frame::Exception(..) | Frame::Error(_) => {
                let last = told.next().and_then(|event| event.strip_prefix("event: error\ndata: "));
                let said: Value =
                    serde_json::from_str(last.expect("an exception is an event")).expect("JSON");
                assert_eq!(said["type"], "error");
                assert_eq!((told.next(), end), (None, &Ok(())), "and the last one");
                return;
            }
            Frame::Headers(_) | Frame::Payload(_) | Frame::Bytes(_) => return,
        }
    }
    assert_eq!((told.next(), end), (None, &Ok(())));
}
