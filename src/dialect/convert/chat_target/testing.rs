//! What the tests of the pairs onto Chat Completions share: requests and answers from files, and streams cut anywhere.

use http::StatusCode;
use serde_json::Value;

use crate::dialect::convert::answer::ConvertedAnswer;
use crate::dialect::convert::api::Api;
use crate::dialect::convert::contract::{ConvertedRequest, NotConverted, RequestContext};
use crate::domain::model_traits::ModelTraits;

/// Makes a request of one pair.
pub(crate) type Pair = fn(&[u8], &RequestContext<'_>) -> Result<ConvertedRequest, NotConverted>;

/// A request in a conversation, on a model of these traits.
pub(crate) fn converted(
    pair: Pair,
    body: &str,
    model: &str,
    traits: &ModelTraits,
) -> Result<ConvertedRequest, NotConverted> {
    let context = RequestContext {
        model,
        traits,
        conversation: Some("c0ffee"),
        input_tokens_estimate: 777,
        now: 1_764_500_001,
    };
    pair(body.as_bytes(), &context)
}

/// What is sent, as JSON.
pub(crate) fn sent(request: &ConvertedRequest) -> Value {
    assert_eq!(request.path_and_query, "/v1/chat/completions");
    serde_json::from_slice(&request.body).unwrap()
}

/// What was left out.
pub(crate) fn dropped(request: &ConvertedRequest) -> Vec<&'static str> {
    request.dropped.iter().collect()
}

/// What the caller gets of an answer that comes in these pieces.
pub(crate) fn answered(request: ConvertedRequest, caller: Api, is_stream: bool, pieces: &[&[u8]]) -> String {
    let mut answer = ConvertedAnswer::new(request.answer, caller, StatusCode::OK, is_stream);
    let mut made = Vec::new();
    for piece in pieces {
        made.extend_from_slice(&answer.push(piece).unwrap());
    }
    made.extend_from_slice(&answer.finish().unwrap());
    String::from_utf8(made).unwrap()
}

/// Holds a stream to the same answer wherever it is split, and to none that is over wherever it is cut before `last`,
/// the chunk that says why the model stopped.
pub(crate) fn cut_anywhere(
    make: impl Fn() -> ConvertedRequest,
    caller: Api,
    stream: &str,
    last: &str,
    over: &[&str],
) {
    let bytes = stream.as_bytes();
    let whole = answered(make(), caller, true, &[bytes]);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(answered(make(), caller, true, &single), whole);
    for over in over {
        assert!(whole.contains(over), "{over} in {whole}");
    }
    let end = stream.find(last).unwrap() + stream[stream.find(last).unwrap()..].find('\n').unwrap();
    for at in 0..bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(answered(make(), caller, true, &[first, second]), whole, "{at}");
        let cut = answered(make(), caller, true, &[first]);
        if at < end {
            for over in over {
                assert!(!cut.contains(over), "cut at {at}: {cut}");
            }
        }
    }
}

/// A conversation as JSON with its first messages only.
pub(crate) fn first_of(request: &str, member: &str, count: usize) -> String {
    let mut request: Value = serde_json::from_str(request).unwrap();
    request[member].as_array_mut().unwrap().truncate(count);
    request.to_string()
}
