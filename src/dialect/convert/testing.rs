//! What the tests of every pair look at: an answer as it passes, in whatever pieces, and cut off anywhere.

use http::StatusCode;
use serde_json::Value;

use super::answer::ConvertedAnswer;
use super::api::Api;
use super::contract::ConvertedRequest;

/// What the caller gets of a stream that comes in these pieces.
pub fn stream(request: ConvertedRequest, api: Api, pieces: &[&[u8]]) -> String {
    let mut answer = ConvertedAnswer::new(request.answer, api, StatusCode::OK, true);
    let mut made = Vec::new();
    for piece in pieces {
        made.extend_from_slice(&answer.push(piece).unwrap());
    }
    made.extend_from_slice(&answer.finish().unwrap());
    String::from_utf8(made).unwrap()
}

/// What the caller gets of a document.
pub fn document(request: ConvertedRequest, api: Api, document: &str) -> Value {
    let mut answer = ConvertedAnswer::new(request.answer, api, StatusCode::OK, false);
    assert!(answer.push(document.as_bytes()).unwrap().is_empty());
    serde_json::from_slice(&answer.finish().unwrap()).unwrap()
}

/// The stream is the same wherever it is split. Cut anywhere, the caller gets no more than its beginning, and none of
/// `endings`, which say that it is whole.
pub fn splits_and_cuts(request: impl Fn() -> ConvertedRequest, api: Api, upstream: &str, endings: &[&str]) {
    let whole = stream(request(), api, &[upstream.as_bytes()]);
    for ending in endings {
        assert!(whole.contains(ending), "{ending} is in no answer: {whole}");
    }
    let bytes: Vec<&[u8]> = upstream.as_bytes().chunks(1).collect();
    assert_eq!(stream(request(), api, &bytes), whole);
    // The last event's data is the last that counts.
    let data_end = upstream.trim_end().len();
    for at in 0..upstream.len() {
        let (first, second) = upstream.as_bytes().split_at(at);
        assert_eq!(stream(request(), api, &[first, second]), whole, "split at {at}");
        let cut = stream(request(), api, &[first]);
        assert!(whole.starts_with(&cut), "cut at {at}: {cut}");
        if at < data_end {
            for ending in endings {
                assert!(!cut.contains(ending), "cut at {at}: {cut}");
            }
        }
    }
}

/// The events of a stream of Messages.
pub fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The message that a client makes of a stream.
pub fn assembled(stream: &str) -> Value {
    let mut message = Value::Null;
    let mut inputs: Vec<String> = Vec::new();
    for event in events(stream) {
        let at = event["index"].as_u64().map_or(0, |at| usize::try_from(at).unwrap());
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(blocks.len(), at, "blocks begin in their order");
                blocks.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let (block, delta) = (&mut message["content"][at], &event["delta"]);
                for key in ["text", "thinking", "signature"] {
                    if let Some(more) = delta[key].as_str() {
                        block[key] = format!("{}{more}", block[key].as_str().unwrap()).into();
                    }
                }
                inputs[at].push_str(delta["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" if !inputs[at].is_empty() => {
                message["content"][at]["input"] = serde_json::from_str(&inputs[at]).unwrap();
            }
            "message_delta" => {
                message.as_object_mut().unwrap().extend(event["delta"].as_object().unwrap().clone());
                message["usage"] = event["usage"].clone();
            }
            _ => {}
        }
    }
    message
}
