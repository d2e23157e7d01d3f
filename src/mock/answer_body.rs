//! An answer as its dialect makes it.

/// Placeholder in prebuilt answers for the digits that differ in every answer.
pub const ID: &str = "0000mock0000";

/// An answer made by a dialect: a body in chunks.
#[derive(Debug)]
pub struct AnswerBody {
    pub content_type: &'static str,
    /// One chunk per event; a single one if it is no stream.
    pub frames: Vec<Vec<u8>>,
    pub is_stream: bool,
}

impl AnswerBody {
    pub fn json(body: String) -> Self {
        Self { content_type: "application/json", frames: vec![body.into_bytes()], is_stream: false }
    }

    pub fn events(frames: Vec<Vec<u8>>) -> Self {
        Self { content_type: "text/event-stream; charset=utf-8", frames, is_stream: true }
    }
}
