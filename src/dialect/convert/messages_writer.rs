//! Writes answers of Anthropic's Messages: as a document, and event by event with one block open at a time.
//! <https://docs.anthropic.com/en/docs/build-with-claude/streaming>

use serde_json::{Value, json};

use super::events::EventWriter;
use crate::domain::tokens::Tokens;

/// Why an answer is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    EndTurn,
    ToolUse,
    MaxTokens,
    /// One of the caller's own.
    Sequence(String),
    /// Somebody does not want it to go on; with the reason, where there is one.
    Refusal(Option<String>),
}

impl Stop {
    /// As the members that answers and their last event have in common.
    fn members(&self) -> Value {
        let reason = match self {
            Self::EndTurn => "end_turn",
            Self::ToolUse => "tool_use",
            Self::MaxTokens => "max_tokens",
            Self::Sequence(_) => "stop_sequence",
            Self::Refusal(_) => "refusal",
        };
        let sequence = match self {
            Self::Sequence(sequence) => Some(sequence),
            _ => None,
        };
        let mut members = json!({"stop_reason": reason, "stop_sequence": sequence});
        if let Self::Refusal(reason) = self {
            members["stop_details"] = json!({"type": "refusal", "category": null, "explanation": reason});
        }
        members
    }
}

/// The counts: the input without what a cache has read or written, which is beside it here.
#[must_use]
pub fn usage(tokens: &Tokens) -> Value {
    let written = tokens.cache_write.saturating_add(tokens.cache_write_1h);
    let mut usage = json!({
        "input_tokens": tokens.input.saturating_sub(tokens.cache_read).saturating_sub(written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": tokens.cache_read,
        "output_tokens": tokens.output,
    });
    if tokens.reasoning > 0 {
        usage["output_tokens_details"] = json!({"thinking_tokens": tokens.reasoning});
    }
    usage
}

/// A whole answer.
#[must_use]
pub fn document(id: &str, model: &str, content: &[Value], stop: &Stop, tokens: &Tokens) -> Vec<u8> {
    let mut document = json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
    });
    join(&mut document, stop.members());
    document["usage"] = usage(tokens);
    document.to_string().into_bytes()
}

fn join(object: &mut Value, members: Value) {
    if let (Value::Object(object), Value::Object(members)) = (object, members) {
        object.extend(members);
    }
}

/// Writes the events of one answer.
#[derive(Debug, Default)]
pub struct MessageEvents {
    /// Of the block that is open, or comes next.
    index: usize,
    has_begun: bool,
}

impl MessageEvents {
    /// Whether the answer has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Begins the answer. What the target has counted comes at its end; until then callers show the estimate.
    pub fn begin(&mut self, made: &mut EventWriter<'_>, id: &str, model: &str, input_estimate: u64) {
        self.has_begun = true;
        let tokens = Tokens { input: input_estimate.max(1), output: 1, ..Tokens::default() };
        made.named(
            "message_start",
            &json!({
                "type": "message_start",
                "message": {
                    "id": id,
                    "type": "message",
                    "role": "assistant",
                    "model": model,
                    "content": [],
                    "stop_reason": null,
                    "stop_sequence": null,
                    "usage": usage(&tokens),
                },
            }),
        );
    }

    pub fn begin_text(&self, made: &mut EventWriter<'_>) {
        self.begin_block(made, &json!({"type": "text", "text": ""}));
    }

    pub fn begin_thinking(&self, made: &mut EventWriter<'_>) {
        self.begin_block(made, &json!({"type": "thinking", "thinking": "", "signature": ""}));
    }

    pub fn begin_tool_use(&self, made: &mut EventWriter<'_>, id: &str, name: &str) {
        self.begin_block(made, &json!({"type": "tool_use", "id": id, "name": name, "input": {}}));
    }

    fn begin_block(&self, made: &mut EventWriter<'_>, block: &Value) {
        let event = json!({"type": "content_block_start", "index": self.index, "content_block": block});
        made.named("content_block_start", &event);
    }

    /// A block that is whole.
    pub fn block(&mut self, made: &mut EventWriter<'_>, block: &Value) {
        self.begin_block(made, block);
        self.end_block(made);
    }

    pub fn text(&self, made: &mut EventWriter<'_>, text: &str) {
        self.delta(made, &json!({"type": "text_delta", "text": text}));
    }

    pub fn thinking(&self, made: &mut EventWriter<'_>, text: &str) {
        self.delta(made, &json!({"type": "thinking_delta", "thinking": text}));
    }

    pub fn signature(&self, made: &mut EventWriter<'_>, signature: &str) {
        self.delta(made, &json!({"type": "signature_delta", "signature": signature}));
    }

    /// A part of the arguments of a call.
    pub fn arguments(&self, made: &mut EventWriter<'_>, part: &str) {
        self.delta(made, &json!({"type": "input_json_delta", "partial_json": part}));
    }

    fn delta(&self, made: &mut EventWriter<'_>, delta: &Value) {
        let event = json!({"type": "content_block_delta", "index": self.index, "delta": delta});
        made.named("content_block_delta", &event);
    }

    pub fn end_block(&mut self, made: &mut EventWriter<'_>) {
        made.named("content_block_stop", &json!({"type": "content_block_stop", "index": self.index}));
        self.index += 1;
    }

    /// Ends the answer.
    pub fn finish(made: &mut EventWriter<'_>, stop: &Stop, tokens: &Tokens) {
        let event = json!({"type": "message_delta", "delta": stop.members(), "usage": usage(tokens)});
        made.named("message_delta", &event);
        made.named("message_stop", &json!({"type": "message_stop"}));
    }
}
