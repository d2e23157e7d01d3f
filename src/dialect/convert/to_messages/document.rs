//! A whole answer of Messages.

use serde_json::Value;

use super::super::messages_events::{Block, Message, arguments};
use super::thinking::{pack_redacted, pack_thinking};
use super::writer::Writer;

pub fn convert(message: Message, answer: &mut impl Writer) -> Value {
    answer.begin(&message.id, &message.model, false);
    for block in message.content {
        match block {
            Block::Text { text, citations } => {
                let start = answer.text_chars();
                answer.text(&text);
                for citation in citations.into_iter().flatten() {
                    if let Some(url) = citation.url {
                        answer.url_citation(&url, &citation.title.unwrap_or_default(), start);
                    }
                }
            }
            Block::Thinking { thinking, signature } => {
                answer.begin_reasoning();
                answer.reasoning(&thinking);
                answer.end_reasoning(pack_thinking(&thinking, &signature));
            }
            Block::RedactedThinking { data } => {
                answer.begin_reasoning();
                answer.end_reasoning(Some(pack_redacted(&data)));
            }
            Block::ToolUse { id, name, input } => {
                answer.begin_call(&id, &name);
                answer.call_arguments(&arguments(&input));
                answer.end_call();
            }
            Block::ServerToolUse { name, input } if name == "web_search" => {
                answer.web_search(input["query"].as_str().unwrap_or_default());
            }
            Block::ServerToolUse { .. } | Block::Other => {}
        }
    }
    let explanation = message.stop.stop_details.and_then(|details| details.explanation);
    let reason = message.stop.stop_reason.unwrap_or_default();
    answer.finish(&reason, explanation.as_deref(), &message.usage)
}
