//! Frames are read, and turned into events, as AWS's client for Python and Anthropic's client on top of it do it. The
//! frames are written here by the letter of the format, and botocore has to take them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde_json::{Value, json};
use sproxy::cloud::bedrock_events::AnthropicEvents;
use sproxy::cloud::event_stream::{Decoder, FRAME_MAX, Message};

use super::{Random, ask};
use crate::harness::python_with;

fn text_header(name: &str, value: &str) -> Vec<u8> {
    let mut header = vec![u8::try_from(name.len()).unwrap()];
    header.extend(name.as_bytes());
    header.push(7);
    header.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    header.extend(value.as_bytes());
    header
}

fn other_header(random: &mut Random) -> Vec<u8> {
    let mut header = b"\x03odd".to_vec();
    let kind = random.below(9);
    let kind = u8::try_from(if kind == 7 { 9 } else { kind }).unwrap();
    header.push(kind);
    let length = [0, 0, 1, 2, 4, 8, 5, 0, 8, 16][usize::from(kind)];
    if kind == 6 {
        header.extend([0, 5]);
    }
    header.extend((0..length).map(|_| u8::try_from(random.below(128)).unwrap()));
    header
}

fn frame(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(u32::try_from(16 + headers.len() + payload.len()).unwrap().to_be_bytes());
    frame.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

pub(super) fn chunk(event: &Value) -> Vec<u8> {
    let headers = [
        text_header(":event-type", "chunk"),
        text_header(":content-type", "application/json"),
        text_header(":message-type", "event"),
    ];
    let payload = json!({ "bytes": STANDARD.encode(event.to_string()), "p": "abcdefgh" });
    frame(&headers.concat(), payload.to_string().as_bytes())
}

pub(super) fn exception(name: &str, payload: &Value) -> Vec<u8> {
    let headers = [text_header(":exception-type", name), text_header(":message-type", "exception")];
    frame(&headers.concat(), payload.to_string().as_bytes())
}

/// The bytes, in pieces of a random length.
fn pieces<'b>(random: &mut Random, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
    let length_max = random.one_of(&[1, 7, 60, 1_000]);
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(1 + random.below(length_max)));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn decoded(pieces: &[&[u8]]) -> (Vec<Message>, bool) {
    let mut decoder = Decoder::new(FRAME_MAX);
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        while let Ok(Some(message)) = decoder.next_message() {
            messages.push(message);
        }
    }
    (messages, decoder.finish().is_ok())
}

fn texts(message: &Message) -> Value {
    let texts =
        message.headers().iter().filter_map(|(name, _)| Some((name.clone(), message.text(name)?.into())));
    Value::Object(texts.collect())
}

#[tokio::test]
async fn frames_are_read_as_botocore_reads_them_however_they_are_cut_or_damaged() {
    let Some(python) = python_with("botocore.eventstream").await else { return };
    let mut random = Random(2);
    let mut streams: Vec<Vec<u8>> = Vec::new();
    for _ in 0..400 {
        let mut stream = Vec::new();
        for _ in 0..=random.below(5) {
            let mut headers = text_header(":event-type", &random.text("abcü€", 12));
            if random.below(2) == 0 {
                headers.extend(other_header(&mut random));
            }
            headers.extend(text_header("x", &random.text("xyz", 300)));
            stream.extend(frame(&headers, random.text("payload{}\"", 500).as_bytes()));
        }
        match random.below(4) {
            0 => stream.truncate(random.below(stream.len())),
            1 => {
                let at = random.below(stream.len());
                stream[at] ^= 1 << random.below(8);
            }
            _ => {}
        }
        streams.push(stream);
    }
    let input: Vec<String> = streams.iter().map(|stream| STANDARD.encode(stream)).collect();
    let theirs = ask(&python, "event_stream.py", &json!({ "what": "frames", "streams": input })).await;
    let mut damaged = 0;
    for (at, (stream, theirs)) in streams.iter().zip(theirs.as_array().unwrap()).enumerate() {
        let (messages, is_whole) = decoded(&pieces(&mut random, stream));
        let ours: Vec<Value> = messages
            .iter()
            .map(|message| json!({ "headers": texts(message), "payload": STANDARD.encode(&message.payload) }))
            .collect();
        assert_eq!(theirs["messages"], Value::from(ours), "stream {at}");
        assert_eq!(theirs["is_whole"], is_whole, "stream {at}");
        damaged += usize::from(!is_whole);
    }
    assert!((100..300).contains(&damaged), "{damaged} streams are damaged");
}

#[tokio::test]
async fn a_stream_becomes_the_events_that_anthropics_client_makes_of_it() {
    let Some(python) = python_with("anthropic.lib.bedrock, botocore").await else { return };
    let mut random = Random(3);
    let mut streams: Vec<Vec<u8>> = Vec::new();
    for _ in 0..200 {
        let mut stream = Vec::new();
        for _ in 0..=random.below(6) {
            let kind = random.one_of(&["message_start", "content_block_delta", "ping", "message_stop"]);
            stream.extend(chunk(&json!({ "type": kind, "text": random.text("aü€\n\"\\", 60), "n": 1.0 })));
        }
        match random.below(4) {
            0 => stream.extend(exception("throttlingException", &json!({ "message": "slow down" }))),
            1 => stream.extend(exception(
                "internalServerException",
                &json!({ "message": format!("m{}", random.text("a\"\n", 9)) }),
            )),
            _ => {}
        }
        streams.push(stream);
    }
    let input: Vec<String> = streams.iter().map(|stream| STANDARD.encode(stream)).collect();
    let theirs = ask(&python, "event_stream.py", &json!({ "what": "events", "streams": input })).await;
    for (stream, theirs) in streams.iter().zip(theirs.as_array().unwrap()) {
        let mut events = BytesMut::new();
        let mut translation = AnthropicEvents::new(FRAME_MAX);
        for piece in pieces(&mut random, stream) {
            translation.push(piece, &mut events).unwrap();
        }
        translation.finish().unwrap();
        let events = String::from_utf8(events.to_vec()).unwrap();
        let ours: Vec<Value> = events
            .split_terminator("\n\n")
            .map(|event| {
                let (kind, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
                let data: Value = serde_json::from_str(data).unwrap();
                // Their error types are AWS's words.
                json!({ "event": kind, "data": if kind == "error" { data["error"]["message"].clone() } else { data } })
            })
            .collect();
        assert_eq!(theirs, &Value::from(ours));
    }
}
