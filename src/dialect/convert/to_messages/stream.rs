//! A stream of Messages, event by event.

use serde_json::Value;

use super::super::events::Event;
use super::super::messages_events::{Block, Citation, Counts, Delta, Stop, StreamEvent, arguments};
use super::super::upstream_error::UpstreamError;
use super::thinking::{pack_redacted, pack_thinking};
use super::writer::Writer;

pub struct Stream<W> {
    pub writer: W,
    has_begun: bool,
    block: Open,
    counts: Counts,
    stop: Stop,
}

/// The block that is open.
enum Open {
    /// None, or one that there is nothing for.
    Nothing,
    /// It begins behind so many characters of the message. What it cites may come before its words.
    Text {
        start: usize,
        citations: Vec<Citation>,
    },
    Thinking {
        thinking: String,
        signature: String,
    },
    Redacted {
        data: String,
    },
    Call,
    Search {
        input: String,
    },
}

impl<W: Writer> Stream<W> {
    pub fn new(writer: W) -> Self {
        Self {
            writer,
            has_begun: false,
            block: Open::Nothing,
            counts: Counts::default(),
            stop: Stop::default(),
        }
    }

    pub fn event(&mut self, event: &Event<'_>) {
        let Ok(read) = serde_json::from_str(event.data) else { return };
        match read {
            StreamEvent::MessageStart { message } if !self.has_begun => {
                self.has_begun = true;
                self.counts.update(&message.usage);
                self.writer.begin(&message.id, &message.model, true);
            }
            StreamEvent::Error => {
                let error = UpstreamError::read(None, event.data.as_bytes());
                self.fail(&error);
            }
            _ if !self.has_begun => {}
            StreamEvent::ContentBlockStart { content_block } => self.start(content_block),
            StreamEvent::ContentBlockDelta { delta } => self.delta(delta),
            StreamEvent::ContentBlockStop {} => self.stop(),
            StreamEvent::MessageDelta { delta, usage } => {
                self.counts.update(&usage);
                if delta.stop_reason.is_some() {
                    self.stop = delta;
                }
            }
            StreamEvent::MessageStop => {
                self.stop();
                let Stop { stop_reason, stop_details } = std::mem::take(&mut self.stop);
                let explanation = stop_details.and_then(|details| details.explanation);
                let reason = stop_reason.unwrap_or_default();
                self.writer.finish(&reason, explanation.as_deref(), &self.counts);
            }
            StreamEvent::MessageStart { .. } | StreamEvent::Other => {}
        }
    }

    fn start(&mut self, block: Block) {
        self.stop();
        self.block = match block {
            Block::Text { text, .. } => {
                let start = self.writer.text_chars();
                self.writer.text(&text);
                Open::Text { start, citations: Vec::new() }
            }
            Block::Thinking { thinking, signature } => {
                self.writer.begin_reasoning();
                self.writer.reasoning(&thinking);
                Open::Thinking { thinking, signature }
            }
            Block::RedactedThinking { data } => {
                self.writer.begin_reasoning();
                Open::Redacted { data }
            }
            Block::ToolUse { id, name, input } => {
                self.writer.begin_call(&id, &name);
                self.writer.call_arguments(&arguments(&input));
                Open::Call
            }
            Block::ServerToolUse { name, input } if name == "web_search" => {
                Open::Search { input: arguments(&input) }
            }
            Block::ServerToolUse { .. } | Block::Other => Open::Nothing,
        };
    }

    fn delta(&mut self, delta: Delta) {
        match (&mut self.block, delta) {
            (Open::Text { .. }, Delta::Text { text }) => self.writer.text(&text),
            (Open::Text { citations, .. }, Delta::Citations { citation }) => citations.push(citation),
            (Open::Thinking { thinking, .. }, Delta::Thinking { thinking: piece }) => {
                thinking.push_str(&piece);
                self.writer.reasoning(&piece);
            }
            (Open::Thinking { signature, .. }, Delta::Signature { signature: piece }) => {
                signature.push_str(&piece);
            }
            (Open::Call, Delta::InputJson { partial_json }) => {
                self.writer.call_arguments(&partial_json);
            }
            (Open::Search { input }, Delta::InputJson { partial_json }) => input.push_str(&partial_json),
            _ => {}
        }
    }

    /// The block that is open is whole. A message stays open: what follows may belong to it.
    fn stop(&mut self) {
        match std::mem::replace(&mut self.block, Open::Nothing) {
            Open::Nothing => {}
            Open::Text { start, citations } => {
                for citation in citations {
                    if let Some(url) = citation.url {
                        self.writer.url_citation(&url, &citation.title.unwrap_or_default(), start);
                    }
                }
            }
            Open::Thinking { thinking, signature } => {
                self.writer.end_reasoning(pack_thinking(&thinking, &signature));
            }
            Open::Redacted { data } => self.writer.end_reasoning(Some(pack_redacted(&data))),
            Open::Call => self.writer.end_call(),
            Open::Search { input } => {
                let input: Value = serde_json::from_str(&input).unwrap_or_default();
                self.writer.web_search(input["query"].as_str().unwrap_or_default());
            }
        }
    }

    /// It ends with an error.
    pub fn fail(&mut self, error: &UpstreamError) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.writer.begin("", "", true);
        }
        self.writer.fail(error, &self.counts);
    }
}
