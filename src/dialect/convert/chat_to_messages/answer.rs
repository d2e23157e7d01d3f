//! An answer of Messages, written as one of Chat Completions.

use std::collections::HashSet;

use serde_json::Value;

use super::super::chat_writer::{ChatWriter, FinishReason};
use super::super::events::EventWriter;
use super::super::messages_events::Counts;
use super::super::to_messages::Writer;
use super::super::tool_names::ToolNames;
use super::super::upstream_error::UpstreamError;

/// The names of a request's tools.
#[derive(Debug, Default)]
pub struct Names {
    pub names: ToolNames,
    /// The names, as they are sent, of tools whose input is text.
    pub custom: HashSet<String>,
}

pub struct ChatAnswer {
    writer: ChatWriter,
    names: Names,
}

impl ChatAnswer {
    pub fn new(writer: ChatWriter, names: Names) -> Self {
        Self { writer, names }
    }
}

impl Writer for ChatAnswer {
    fn begin(&mut self, id: &str, model: &str, is_stream: bool) {
        self.writer.begin(id, model, is_stream);
    }

    fn text(&mut self, piece: &str) {
        self.writer.text(piece);
    }

    fn text_chars(&self) -> usize {
        self.writer.text_chars()
    }

    fn url_citation(&mut self, url: &str, title: &str, start: usize) {
        self.writer.url_citation(url, title, start);
    }

    fn begin_reasoning(&mut self) {
        self.writer.pause();
    }

    fn reasoning(&mut self, piece: &str) {
        self.writer.reasoning(piece);
    }

    fn end_reasoning(&mut self, carrier: Option<String>) {
        self.writer.end_reasoning(carrier);
    }

    fn begin_call(&mut self, id: &str, name: &str) {
        let is_custom = self.names.custom.contains(name);
        self.writer.pause();
        self.writer.begin_call(id, self.names.names.own(name), is_custom, None);
    }

    fn call_arguments(&mut self, piece: &str) {
        self.writer.call_arguments(piece);
    }

    fn end_call(&mut self) {
        self.writer.end_call();
    }

    /// Chats do not tell of it.
    fn web_search(&mut self, _query: &str) {
        self.writer.pause();
    }

    fn finish(&mut self, reason: &str, explanation: Option<&str>, counts: &Counts) -> Value {
        let reason = match reason {
            "tool_use" => FinishReason::ToolCalls,
            "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
            "refusal" => {
                if let Some(explanation) = explanation {
                    self.writer.refusal(explanation);
                }
                FinishReason::ContentFilter
            }
            _ => FinishReason::Stop,
        };
        self.writer.finish(reason, &counts.usage())
    }

    fn fail(&mut self, error: &UpstreamError, _counts: &Counts) {
        self.writer.fail(error);
    }

    fn is_over(&self) -> bool {
        self.writer.is_over()
    }

    fn write(&mut self, made: &mut EventWriter) {
        self.writer.write(made);
    }
}
