//! An answer of Messages, written as one of Responses.

use serde_json::Value;

use super::super::events::EventWriter;
use super::super::messages_events::Counts;
use super::super::responses_writer::{Ending, ResponsesWriter};
use super::super::to_messages::Writer;
use super::super::upstream_error::{ErrorKind, UpstreamError};

impl Writer for ResponsesWriter {
    fn begin(&mut self, id: &str, model: &str, is_stream: bool) {
        self.begin(id, model, is_stream);
    }

    fn text(&mut self, piece: &str) {
        self.text(piece);
    }

    fn text_chars(&self) -> usize {
        self.text_chars()
    }

    fn url_citation(&mut self, url: &str, title: &str, start: usize) {
        self.url_citation(url, title, start);
    }

    fn begin_reasoning(&mut self) {
        self.begin_reasoning();
    }

    fn reasoning(&mut self, piece: &str) {
        self.reasoning(piece);
    }

    fn end_reasoning(&mut self, carrier: Option<String>) {
        self.end_reasoning(carrier);
    }

    fn begin_call(&mut self, id: &str, name: &str) {
        self.begin_call(id, name);
    }

    fn call_arguments(&mut self, piece: &str) {
        self.call_arguments(piece);
    }

    fn end_call(&mut self) {
        self.close();
    }

    fn web_search(&mut self, query: &str) {
        self.web_search(query);
    }

    fn finish(&mut self, reason: &str, explanation: Option<&str>, counts: &Counts) -> Value {
        let usage = counts.usage();
        let ending = match reason {
            "max_tokens" => Ending::Incomplete("max_output_tokens"),
            "refusal" => {
                if let Some(explanation) = explanation {
                    self.close_as("incomplete");
                    self.refusal(explanation);
                }
                Ending::Incomplete("content_filter")
            }
            "model_context_window_exceeded" => {
                let error = UpstreamError {
                    status: None,
                    kind: ErrorKind::ContextLength,
                    message: "the answer has reached the end of the model's context window".to_owned(),
                };
                self.close();
                return ResponsesWriter::fail(self, &error, Some(&usage));
            }
            _ => Ending::Completed,
        };
        ResponsesWriter::finish(self, ending, &usage)
    }

    fn fail(&mut self, error: &UpstreamError, counts: &Counts) {
        ResponsesWriter::fail(self, error, Some(&counts.usage()));
    }

    fn is_over(&self) -> bool {
        self.is_over()
    }

    fn write(&mut self, made: &mut EventWriter) {
        self.write(made);
    }
}
