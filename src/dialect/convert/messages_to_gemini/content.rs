//! What a message holds, as parts of Gemini: text, pictures, files, and the results of tools.

use serde_json::{Value, json};

use crate::dialect::convert::contract::{Dropped, NotConverted};
use crate::dialect::convert::gemini_target::conversation::Output;
use crate::dialect::convert::gemini_target::media;
use crate::dialect::convert::messages::{Block, Content, Source};

/// The parts that a block of the user's becomes.
pub(super) fn parts(block: Block, dropped: &mut Dropped) -> Result<Vec<Value>, NotConverted> {
    Ok(match block {
        Block::Text { text, .. } if text.is_empty() => Vec::new(),
        Block::Text { text, .. } => vec![text_part(&text)],
        Block::Image { source, .. } => vec![image(source)?],
        Block::Document { source, title, context, .. } => {
            let mut made: Vec<Value> = context.iter().map(|context| text_part(context)).collect();
            match source {
                Source::Content { content } => {
                    for block in content.blocks() {
                        made.extend(parts(block, dropped)?);
                    }
                }
                source => made.push(document(source, title)?),
            }
            made
        }
        Block::SearchResult { source, title, content } => {
            let text = content.into_iter().map(|block| block.text).collect::<Vec<_>>().join("\n\n");
            vec![text_part(&format!("{title} ({source})\n\n{text}"))]
        }
        Block::ToolUse { .. }
        | Block::ToolResult { .. }
        | Block::Thinking { .. }
        | Block::RedactedThinking { .. }
        | Block::ServerToolUse { .. }
        | Block::WebSearchToolResult { .. }
        | Block::Other => {
            dropped.add("messages.content");
            Vec::new()
        }
    })
}

/// The result of a call: its text, and what follows it.
pub(super) fn output(
    content: Option<Content>,
    is_error: bool,
    dropped: &mut Dropped,
) -> Result<Output, NotConverted> {
    let mut texts = Vec::new();
    let mut media = Vec::new();
    for block in content.map(Content::blocks).unwrap_or_default() {
        if matches!(block, Block::Other) {
            // A tool that was found by a search of tools has been sent with all the others.
            continue;
        }
        for part in parts(block, dropped)? {
            match part.get("text").and_then(Value::as_str) {
                Some(text) => texts.push(text.to_owned()),
                None => media.push(part),
            }
        }
    }
    Ok(Output { text: texts.join("\n"), is_error, media })
}

fn text_part(text: &str) -> Value {
    json!({ "text": text })
}

fn image(source: Source) -> Result<Value, NotConverted> {
    Ok(match source {
        Source::Base64 { media_type, data } => media::inline(&media_type, &data),
        Source::Url { url } => media::file(&url, "image/jpeg"),
        Source::File { .. } => return Err(of_a_file("image")),
        Source::Text { data } => text_part(&data),
        Source::Content { .. } => {
            return Err(NotConverted::unsupported("messages.content.source", "an image has data or a URL"));
        }
    })
}

fn document(source: Source, title: Option<String>) -> Result<Value, NotConverted> {
    Ok(match source {
        Source::Base64 { media_type, data } => media::inline(&media_type, &data),
        Source::Url { url } => media::file(&url, "application/pdf"),
        Source::Text { data } => match title {
            Some(title) => text_part(&format!("{title}\n\n{data}")),
            None => text_part(&data),
        },
        Source::File { .. } | Source::Content { .. } => return Err(of_a_file("document")),
    })
}

fn of_a_file(what: &str) -> NotConverted {
    let reason = format!("the file is stored with another provider: send the {what} itself");
    NotConverted::unsupported("messages.content.source.file_id", reason)
}
