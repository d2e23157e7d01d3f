//! A request of Messages as one of Responses.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::content::{self, Place};
use super::tools;
use crate::dialect::convert::carrier;
use crate::dialect::convert::messages::{
    Block, Content, Message, OutputConfig, Request, Role, Text, TextBlock, Thinking, ThinkingKind,
};
use crate::dialect::convert::responses_answer::Reasoning;
use crate::dialect::convert::tool_names::{ToolNames, bounded};
use crate::dialect::convert::{Api, Dropped, NotConverted, RequestContext};
use crate::domain::model_traits::{self, Effort};

/// The least that the API takes.
const MAX_OUTPUT_TOKENS_MIN: u64 = 16;
/// The output of a call that the caller's request says nothing of: it was interrupted.
const INTERRUPTED: &str = "(no result: the call was interrupted)";

/// A request's body, and what its answer has to be read with.
pub(super) struct Made {
    pub(super) body: Map<String, Value>,
    pub(super) dropped: Dropped,
    pub(super) names: ToolNames,
    pub(super) is_stream: bool,
}

/// What both an answer and a count are asked for with.
pub(super) fn make(body: &[u8], context: &RequestContext<'_>) -> Result<Made, NotConverted> {
    let request: Request = serde_json::from_slice(body)?;
    let mut dropped = Dropped::default();
    let mut names = ToolNames::default();
    let mut made = Map::new();
    made.insert("model".to_owned(), context.model.into());
    let mut items = Items::default();
    add_system(request.system, &mut made, &mut items);
    for message in request.messages {
        items.add(message, &mut names, &mut dropped)?;
    }
    if !context.traits.cache_breakpoints {
        items.unmark();
    }
    let is_marked = items.is_marked();
    made.insert("input".to_owned(), Value::Array(items.made));
    tools::add(request.tools, request.tool_choice, &mut names, &mut made, &mut dropped)?;
    add_reasoning(request.thinking.as_ref(), request.output_config.as_ref(), context, &mut made);
    add_format(request.output_config, &mut made, &mut dropped);
    if is_marked {
        made.insert("prompt_cache_options".to_owned(), json!({ "mode": "explicit" }));
    }
    if let Some(most) = request.max_tokens {
        made.insert("max_output_tokens".to_owned(), most.max(MAX_OUTPUT_TOKENS_MIN).into());
    }
    for (name, value) in [("temperature", request.temperature), ("top_p", request.top_p)] {
        let Some(value) = value else { continue };
        if context.traits.sampling {
            made.insert(name.to_owned(), Value::Number(value));
        } else {
            dropped.add(name);
        }
    }
    match request.service_tier.as_deref() {
        None => {}
        Some("standard_only") => _ = made.insert("service_tier".to_owned(), "default".into()),
        Some(_) => _ = made.insert("service_tier".to_owned(), "auto".into()),
    }
    dropped.add_if(request.top_k.is_some(), "top_k");
    dropped.add_if(request.stop_sequences.is_some_and(|all| !all.is_empty()), "stop_sequences");
    dropped.add_if(request.mcp_servers.is_some_and(|all| !all.is_empty()), "mcp_servers");
    // A compaction made there could not be carried back here.
    dropped.add_if(request.context_management.is_some_and(|all| !all.edits.is_empty()), "context_management");
    dropped.add_if(request.container.is_some(), "container");
    dropped.add_if(request.fallbacks.is_some(), "fallbacks");
    dropped.add_if(request.speed.is_some(), "speed");
    dropped.add_if(request.inference_geo.is_some(), "inference_geo");
    Ok(Made { body: made, dropped, names, is_stream: request.stream == Some(true) })
}

/// What an answer is asked for with, beside.
pub(super) fn add_ways_of_answering(made: &mut Made, context: &RequestContext<'_>) {
    let Made { body, is_stream, .. } = made;
    body.insert("store".to_owned(), false.into());
    body.insert("include".to_owned(), json!(["reasoning.encrypted_content"]));
    if let Some(conversation) = context.conversation {
        body.insert("prompt_cache_key".to_owned(), conversation.into());
    }
    if *is_stream {
        body.insert("stream".to_owned(), true.into());
    }
}

fn add_system(system: Option<Text>, made: &mut Map<String, Value>, items: &mut Items) {
    let blocks = system.map(Text::blocks).unwrap_or_default();
    if blocks.is_empty() {
        return;
    }
    if blocks.iter().any(|block| block.cache_control.is_some()) {
        items.push(text_message("developer", blocks));
    } else {
        let text = blocks.into_iter().map(|block| block.text).collect::<Vec<_>>().join("\n\n");
        made.insert("instructions".to_owned(), text.into());
    }
}

fn text_message(role: &str, blocks: Vec<TextBlock>) -> Value {
    let parts = blocks.into_iter().map(|block| {
        content::marked(json!({ "type": "input_text", "text": block.text }), block.cache_control)
    });
    json!({ "type": "message", "role": role, "content": parts.collect::<Vec<_>>() })
}

/// The items of `input`, in the making.
#[derive(Default)]
struct Items {
    made: Vec<Value>,
    /// Calls that have no output yet, in their order.
    open_calls: Vec<String>,
}

impl Items {
    fn push(&mut self, item: Value) {
        self.made.push(item);
    }

    fn add(
        &mut self,
        message: Message,
        names: &mut ToolNames,
        dropped: &mut Dropped,
    ) -> Result<(), NotConverted> {
        match message.role {
            Role::Assistant => {
                for block in message.content.blocks() {
                    self.add_said(block, names, dropped);
                }
                Ok(())
            }
            Role::User => self.add_asked(message.content, "user", dropped),
            Role::System => self.add_asked(message.content, "developer", dropped),
        }
    }

    /// What the model has said, and called.
    fn add_said(&mut self, block: Block, names: &mut ToolNames, dropped: &mut Dropped) {
        match block {
            Block::Text { text, .. } if text.is_empty() => {}
            Block::Text { text, .. } => {
                self.push(json!({ "type": "message", "role": "assistant", "content": text }));
            }
            Block::ToolUse { id, name, input } => {
                let call_id = bounded(&id);
                self.push(json!({
                    "type": "function_call",
                    "call_id": call_id,
                    "name": names.sent(&name),
                    "arguments": input.to_string(),
                }));
                self.open_calls.push(call_id);
            }
            Block::Thinking { signature, .. } => {
                // Another's reasoning means nothing here.
                let ours =
                    signature.and_then(|carrier| carrier::unpack::<Reasoning>(Api::Responses, &carrier));
                if let Some(reasoning) = ours {
                    self.push(reasoning_item(&reasoning));
                }
            }
            // What Anthropic's own tools found is told again in the text behind.
            Block::RedactedThinking { .. }
            | Block::ServerToolUse { .. }
            | Block::WebSearchToolResult { .. } => {}
            Block::Image { .. }
            | Block::Document { .. }
            | Block::SearchResult { .. }
            | Block::ToolResult { .. }
            | Block::Other => dropped.add("messages.content"),
        }
    }

    /// What the caller asks, and the outputs of calls; those come first.
    fn add_asked(&mut self, asked: Content, role: &str, dropped: &mut Dropped) -> Result<(), NotConverted> {
        let (results, others): (Vec<Block>, Vec<Block>) =
            asked.blocks().into_iter().partition(|block| matches!(block, Block::ToolResult { .. }));
        let mut answered = BTreeSet::new();
        for block in results {
            let Block::ToolResult { tool_use_id, content, is_error, cache_control } = block else { continue };
            let call_id = bounded(&tool_use_id);
            // One output for each call; the first stands.
            if !answered.insert(call_id.clone()) {
                continue;
            }
            self.open_calls.retain(|open| *open != call_id);
            let output = content::output(content, is_error == Some(true), cache_control, dropped)?;
            self.push(json!({ "type": "function_call_output", "call_id": call_id, "output": output }));
        }
        for call_id in std::mem::take(&mut self.open_calls) {
            self.push(json!({ "type": "function_call_output", "call_id": call_id, "output": INTERRUPTED }));
        }
        let mut parts = Vec::new();
        for block in others {
            parts.extend(content::part(block, Place::Message, dropped)?);
        }
        if !parts.is_empty() {
            self.push(json!({ "type": "message", "role": role, "content": parts }));
        }
        Ok(())
    }

    /// Whether the end of a prefix that is to be cached is marked. More marks than the API writes are no harm: the
    /// latest count.
    fn is_marked(&mut self) -> bool {
        self.made.iter_mut().flat_map(content::parts_of).any(|part| part.get(content::BREAKPOINT).is_some())
    }

    /// Takes the marks away, for models that do not know them.
    fn unmark(&mut self) {
        for part in self.made.iter_mut().flat_map(content::parts_of) {
            part.as_object_mut().map(|part| part.shift_remove(content::BREAKPOINT));
        }
    }
}

fn reasoning_item(reasoning: &Reasoning) -> Value {
    let summary = reasoning.summary.iter().map(|part| json!({ "type": "summary_text", "text": part.text }));
    let mut item = Map::new();
    item.insert("type".to_owned(), "reasoning".into());
    if let Some(id) = &reasoning.id {
        item.insert("id".to_owned(), id.as_str().into());
    }
    item.insert("summary".to_owned(), summary.collect());
    if !reasoning.content.is_empty() {
        let content =
            reasoning.content.iter().map(|part| json!({ "type": "reasoning_text", "text": part.text }));
        item.insert("content".to_owned(), content.collect());
    }
    if let Some(encrypted) = &reasoning.encrypted_content {
        item.insert("encrypted_content".to_owned(), encrypted.as_str().into());
    }
    Value::Object(item)
}

fn add_reasoning(
    thinking: Option<&Thinking>,
    output: Option<&OutputConfig>,
    context: &RequestContext<'_>,
    made: &mut Map<String, Value>,
) {
    if context.traits.reasoning == model_traits::Reasoning::None {
        return;
    }
    let named = output.and_then(|output| Effort::parse(output.effort.as_deref()?));
    let asked = match thinking.map(|thinking| (thinking.kind, thinking.budget_tokens)) {
        Some((ThinkingKind::Disabled | ThinkingKind::BetweenTools, _)) => Some(Effort::None),
        Some((ThinkingKind::Enabled, Some(budget))) => named.or(Some(Effort::of_budget(budget))),
        _ => named,
    };
    let effort = asked.and_then(|asked| context.traits.reasoning.nearest(asked));
    let is_shown = thinking.is_some_and(|thinking| {
        matches!(thinking.kind, ThinkingKind::Enabled | ThinkingKind::Adaptive)
            && thinking.display.as_deref() != Some("omitted")
    });
    let mut reasoning = Map::new();
    if let Some(effort) = effort {
        reasoning.insert("effort".to_owned(), effort.as_str().into());
    }
    if is_shown {
        reasoning.insert("summary".to_owned(), "auto".into());
    }
    if !reasoning.is_empty() {
        made.insert("reasoning".to_owned(), Value::Object(reasoning));
    }
}

fn add_format(output: Option<OutputConfig>, made: &mut Map<String, Value>, dropped: &mut Dropped) {
    let Some(output) = output else { return };
    dropped.add_if(output.task_budget.is_some(), "output_config.task_budget");
    let Some(format) = output.format else { return };
    if let Some(schema) = format.schema.filter(|_| format.kind == "json_schema") {
        let strict = tools::is_strict(&schema);
        let format = json!({ "type": "json_schema", "name": "answer", "schema": schema, "strict": strict });
        made.insert("text".to_owned(), json!({ "format": format }));
    } else {
        dropped.add("output_config.format");
    }
}
