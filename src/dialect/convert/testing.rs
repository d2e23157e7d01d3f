//! What the tests of every pair look at: an answer as it passes, in whatever pieces, and cut off anywhere.

use http::StatusCode;

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
pub fn document(request: ConvertedRequest, api: Api, document: &str) -> serde_json::Value {
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
