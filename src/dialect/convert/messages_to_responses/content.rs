//! What a message holds, as parts of Responses: text, pictures, files, and the outputs of tools.

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::dialect::convert::messages::{Block, Content, Source};
use crate::dialect::convert::{Dropped, NotConverted};

/// Marks the end of a prefix that is to be cached.
pub(super) const BREAKPOINT: &str = "prompt_cache_breakpoint";
/// Where a file has no name.
const FILE_NAME: &str = "document.pdf";

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Message,
    Output,
}

/// The part with a mark, if the caller has set one.
pub(super) fn marked(mut part: Value, mark: Option<IgnoredAny>) -> Value {
    if let Some(part) = part.as_object_mut().filter(|_| mark.is_some()) {
        part.insert(BREAKPOINT.to_owned(), json!({ "mode": "explicit" }));
    }
    part
}

/// The parts of an item that may be marked.
pub(super) fn parts_of(item: &mut Value) -> impl Iterator<Item = &mut Value> {
    let key = if item.get("content").is_some() { "content" } else { "output" };
    item.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The parts that a block becomes.
pub(super) fn part(block: Block, place: Place, dropped: &mut Dropped) -> Result<Vec<Value>, NotConverted> {
    Ok(match block {
        Block::Text { text, .. } if text.is_empty() => Vec::new(),
        Block::Text { text, cache_control } => vec![marked(text_part(&text), cache_control)],
        Block::Image { source, cache_control } => vec![marked(image(source)?, cache_control)],
        Block::Document { source, title, context, cache_control } => {
            let mut parts: Vec<Value> = context.iter().map(|context| text_part(context)).collect();
            match source {
                Source::Content { content } => {
                    for block in content.blocks() {
                        parts.extend(part(block, place, dropped)?);
                    }
                }
                source => parts.push(document(source, title)?),
            }
            if let Some(last) = parts.pop() {
                parts.push(marked(last, cache_control));
            }
            parts
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
            // A tool that was found by a search of tools has been sent with all the others.
            dropped.add_if(place == Place::Message, "messages.content");
            Vec::new()
        }
    })
}

/// The output of a call: text as it is, anything else in parts.
pub(super) fn output(
    content: Option<Content>,
    is_error: bool,
    mark: Option<IgnoredAny>,
    dropped: &mut Dropped,
) -> Result<Value, NotConverted> {
    let mut parts = Vec::new();
    if is_error {
        parts.push(text_part(ERROR));
    }
    for block in content.map(Content::blocks).unwrap_or_default() {
        parts.extend(part(block, Place::Output, dropped)?);
    }
    if let Some(last) = parts.pop() {
        parts.push(marked(last, mark));
    }
    let texts: Option<Vec<&str>> = parts
        .iter()
        .map(|part| part.get("text").and_then(Value::as_str).filter(|_| part.get(BREAKPOINT).is_none()))
        .collect();
    Ok(match texts.as_deref() {
        Some([]) => "".into(),
        Some([text]) => (*text).into(),
        Some([ERROR, text]) => [ERROR, text].join("\n").into(),
        _ => Value::Array(parts),
    })
}

/// Stands before the output of a call that failed: the API has no field for it.
const ERROR: &str = "The tool failed:";

fn text_part(text: &str) -> Value {
    json!({ "type": "input_text", "text": text })
}

fn image(source: Source) -> Result<Value, NotConverted> {
    let part = |url: String| json!({ "type": "input_image", "detail": "auto", "image_url": url });
    Ok(match source {
        Source::Base64 { media_type, data } => part(data_url(&media_type, &data)),
        Source::Url { url } => part(url),
        Source::File { .. } => return Err(of_a_file("image")),
        Source::Text { data } => text_part(&data),
        Source::Content { .. } => {
            return Err(NotConverted::unsupported("messages.content.source", "an image has data or a URL"));
        }
    })
}

fn document(source: Source, title: Option<String>) -> Result<Value, NotConverted> {
    Ok(match source {
        Source::Base64 { media_type, data } => json!({
            "type": "input_file",
            "filename": title.unwrap_or_else(|| FILE_NAME.to_owned()),
            "file_data": data_url(&media_type, &data),
        }),
        Source::Url { url } => json!({ "type": "input_file", "file_url": url }),
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

fn data_url(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}
