//! The content of Messages, block by block, as Chat Completions has it.

use crate::dialect::convert::chat_target::call_ids::CallIds;
use crate::dialect::convert::chat_target::conversation::{Call, Outcome, Part, Turn};
use crate::dialect::convert::chat_target::reasoning;
use crate::dialect::convert::contract::{Dropped, NotConverted, RequestContext};
use crate::dialect::convert::messages::{Block, Content, Source, TextBlock};
use crate::dialect::convert::tool_names::ToolNames;

/// Reads content, and takes note of what is in it.
pub(super) struct Reader<'c> {
    pub context: &'c RequestContext<'c>,
    pub dropped: &'c mut Dropped,
    pub names: &'c mut ToolNames,
    pub ids: &'c mut CallIds,
}

/// Whose content it is: what a tool has read is said not to be readable, where what the user sends is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Users,
    Tools,
}

impl Reader<'_> {
    pub(super) fn texts(&mut self, blocks: Vec<TextBlock>) -> Vec<String> {
        let text = |block: TextBlock| {
            self.dropped.add_if(block.cache_control.is_some(), "cache_control");
            block.text
        };
        blocks.into_iter().map(text).collect()
    }

    pub(super) fn user(&mut self, content: Content) -> Result<(Vec<Outcome>, Vec<Part>), NotConverted> {
        let (mut outcomes, mut parts) = (Vec::new(), Vec::new());
        for block in content.blocks() {
            if let Block::ToolResult { tool_use_id, content, is_error, cache_control } = block {
                self.dropped.add_if(cache_control.is_some(), "cache_control");
                outcomes.push(self.outcome(&tool_use_id, content, is_error == Some(true))?);
            } else {
                self.part(block, Whose::Users, &mut parts)?;
            }
        }
        Ok((outcomes, parts))
    }

    /// Text that the system says in the middle.
    pub(super) fn system(&mut self, content: Content) -> Result<Vec<String>, NotConverted> {
        let mut parts = Vec::new();
        for block in content.blocks() {
            self.part(block, Whose::Users, &mut parts)?;
        }
        let text = |part| if let Part::Text(text) = part { Some(text) } else { None };
        Ok(parts.into_iter().filter_map(text).collect())
    }

    fn outcome(
        &mut self,
        id: &str,
        content: Option<Content>,
        is_error: bool,
    ) -> Result<Outcome, NotConverted> {
        let mut parts = Vec::new();
        for block in content.into_iter().flat_map(Content::blocks) {
            self.part(block, Whose::Tools, &mut parts)?;
        }
        let (mut texts, mut media) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Part::Text(text) => texts.push(text),
                part => media.push(part),
            }
        }
        let mut text = texts.join("\n");
        if is_error {
            text = format!("Error: {text}");
        }
        if text.is_empty() && !media.is_empty() {
            "The result is in the next message of the user.".clone_into(&mut text);
        }
        Ok(Outcome { id: self.ids.sent(id), text, media })
    }

    fn part(&mut self, block: Block, whose: Whose, parts: &mut Vec<Part>) -> Result<(), NotConverted> {
        match block {
            Block::Text { text, cache_control } => {
                self.dropped.add_if(cache_control.is_some(), "cache_control");
                parts.push(Part::Text(text));
            }
            Block::Image { source, cache_control } => {
                self.dropped.add_if(cache_control.is_some(), "cache_control");
                let url = match source {
                    _ if !self.context.traits.images => Err("the model reads no images"),
                    Source::Base64 { media_type, data } => Ok(format!("data:{media_type};base64,{data}")),
                    Source::Url { url } => Ok(url),
                    _ => Err("send the image itself, or its URL"),
                };
                parts.push(self.readable(url.map(Part::Image), "image", whose)?);
            }
            Block::Document { source, title, context, cache_control } => {
                self.dropped.add_if(cache_control.is_some(), "cache_control");
                let head = [title.as_deref(), context.as_deref()].into_iter().flatten();
                let head: String = head.flat_map(|line| [line, "\n\n"]).collect();
                self.document(source, title.as_deref(), &head, whose, parts)?;
            }
            Block::SearchResult { source, title, content } => {
                let texts: Vec<String> = content.into_iter().map(|block| block.text).collect();
                parts.push(Part::Text(format!("{title}\n{source}\n\n{}", texts.join("\n"))));
            }
            // Within another provider's turn they say nothing.
            Block::Thinking { .. } | Block::RedactedThinking { .. } => {}
            Block::ServerToolUse { .. } | Block::WebSearchToolResult { .. } => {
                self.dropped.add("messages.server_tool_use");
            }
            Block::ToolUse { .. } | Block::ToolResult { .. } | Block::Other => {
                self.dropped.add("messages.content");
            }
        }
        Ok(())
    }

    fn document(
        &mut self,
        source: Source,
        title: Option<&str>,
        head: &str,
        whose: Whose,
        parts: &mut Vec<Part>,
    ) -> Result<(), NotConverted> {
        let file = match source {
            Source::Text { data } => {
                parts.push(Part::Text(format!("{head}{data}")));
                return Ok(());
            }
            Source::Content { content } => {
                parts.extend((!head.is_empty()).then(|| Part::Text(head.trim_end().to_owned())));
                for block in content.blocks() {
                    self.part(block, whose, parts)?;
                }
                return Ok(());
            }
            Source::Base64 { media_type, data } if self.context.traits.documents => {
                let name = title.filter(|title| !title.is_empty()).unwrap_or("document.pdf").to_owned();
                Ok(Part::File { name, data: format!("data:{media_type};base64,{data}") })
            }
            Source::Base64 { .. } => Err("the model reads no PDF files"),
            Source::Url { .. } | Source::File { .. } => Err("send the file itself"),
        };
        parts.push(self.readable(file, "document", whose)?);
        Ok(())
    }

    fn readable(
        &mut self,
        part: Result<Part, &'static str>,
        what: &'static str,
        whose: Whose,
    ) -> Result<Part, NotConverted> {
        match part {
            Ok(part) => Ok(part),
            Err(reason) if whose == Whose::Users => {
                Err(NotConverted::unsupported(format!("messages.content.{what}"), reason))
            }
            // The conversation could not go on for what a tool has found.
            Err(_) => {
                self.dropped.add("messages.content.tool_result");
                Ok(Part::Text(format!("[The result has here a part of type `{what}` that cannot be read.]")))
            }
        }
    }

    pub(super) fn assistant(&mut self, content: Content) -> Result<Turn, NotConverted> {
        let mut turn = Turn::default();
        for block in content.blocks() {
            match block {
                Block::ToolUse { id, name, input } => turn.calls.push(Call {
                    id: self.ids.sent(&id),
                    name: self.names.sent(&name),
                    arguments: input.to_string(),
                }),
                Block::Thinking { thinking, signature } => {
                    let carried =
                        reasoning::unpack(self.context.model, signature.as_deref().unwrap_or_default());
                    turn.reasoning.extend(carried.map(|mut carried| {
                        carried.text.get_or_insert(thinking);
                        carried
                    }));
                }
                Block::RedactedThinking { data } => {
                    turn.reasoning.extend(reasoning::unpack(self.context.model, &data));
                }
                block => {
                    let mut parts = Vec::new();
                    self.part(block, Whose::Users, &mut parts)?;
                    for part in parts {
                        match part {
                            Part::Text(text) => turn.texts.push(text),
                            // No assistant of Chat sends any.
                            _ => self.dropped.add("messages.content"),
                        }
                    }
                }
            }
        }
        Ok(turn)
    }
}
