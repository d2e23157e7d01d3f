//! A request of Messages as one of Gemini.

use serde_json::{Map, Value};

use super::answer::Answering;
use super::content;
use crate::dialect::convert::chat_target::request::invented_id;
use crate::dialect::convert::contract::{Dropped, NotConverted, RequestContext};
use crate::dialect::convert::gemini_target::conversation::Conversation;
use crate::dialect::convert::gemini_target::request::{
    Choice, Format, Settings, add_system, add_tools, function, reminder,
};
use crate::dialect::convert::gemini_target::signature::{Carried, wants_signatures};
use crate::dialect::convert::messages::{
    Block, Content, Message, Request, Role, Text, Thinking, ThinkingKind, Tool, ToolChoice, ToolChoiceKind,
};
use crate::dialect::convert::tool_names::ToolNames;
use crate::domain::model_traits::Effort;

/// A request's body, and what its answer has to be read with.
pub(super) struct Made {
    pub(super) body: Map<String, Value>,
    pub(super) dropped: Dropped,
    pub(super) is_stream: bool,
    pub(super) answering: Answering,
}

pub(super) fn make(body: &[u8], context: &RequestContext<'_>) -> Result<Made, NotConverted> {
    let mut request: Request = serde_json::from_slice(body)?;
    let mut dropped = dropped(&request);
    let mut names = ToolNames::default();
    let settings = settings(&mut request, &mut dropped);
    let wants_thoughts = settings.wants_thoughts;

    let mut turns = Turns {
        conversation: Conversation::new(wants_signatures(context.model)),
        names: &mut names,
        dropped: &mut dropped,
    };
    for message in std::mem::take(&mut request.messages) {
        turns.add(message)?;
    }
    let conversation = turns.conversation;
    let tools = Tools::read(&mut request, &mut names, &mut dropped)?;

    let mut made = Map::new();
    let (config, told) = settings.write(context, !tools.functions.is_empty(), "stop_sequences", &mut dropped);
    let system = request.system.map(Text::blocks).unwrap_or_default().into_iter().map(|block| block.text);
    add_system(&mut made, system.chain(told).collect());
    made.insert("contents".to_owned(), conversation.contents());
    add_tools(&mut made, &tools.functions, tools.searches, &tools.choice);
    if !config.is_empty() {
        made.insert("generationConfig".to_owned(), config.into());
    }
    let answering = Answering {
        model: context.model.to_owned(),
        input_estimate: context.input_tokens_estimate,
        invented_id: invented_id(body),
        names,
        wants_thoughts,
    };
    Ok(Made { body: made, dropped, is_stream: request.stream == Some(true), answering })
}

/// What only tunes.
fn dropped(request: &Request) -> Dropped {
    let mut dropped = Dropped::default();
    let has_edits = request.context_management.as_ref().is_some_and(|all| !all.edits.is_empty());
    dropped.add_if(has_edits, "context_management");
    dropped.add_if(request.mcp_servers.as_ref().is_some_and(|all| !all.is_empty()), "mcp_servers");
    dropped.add_if(request.container.is_some(), "container");
    dropped.add_if(request.fallbacks.is_some(), "fallbacks");
    dropped.add_if(request.speed.is_some(), "speed");
    dropped.add_if(request.inference_geo.is_some(), "inference_geo");
    let is_single = request.tool_choice.as_ref().and_then(|choice| choice.disable_parallel_tool_use);
    dropped.add_if(is_single == Some(true), "tool_choice.disable_parallel_tool_use");
    dropped
}

fn settings(request: &mut Request, dropped: &mut Dropped) -> Settings {
    let output = request.output_config.take();
    dropped.add_if(
        output.as_ref().is_some_and(|output| output.task_budget.is_some()),
        "output_config.task_budget",
    );
    let named = output.as_ref().and_then(|output| Effort::parse(output.effort.as_deref()?));
    let format = output.and_then(|output| output.format).and_then(|format| {
        dropped.add_if(format.kind != "json_schema" || format.schema.is_none(), "output_config.format");
        format.schema.filter(|_| format.kind == "json_schema").map(|schema| Format(Some(schema)))
    });
    let thinking = request.thinking.as_ref();
    let (effort, budget) = match thinking.map(|thinking| (thinking.kind, thinking.budget_tokens)) {
        Some((ThinkingKind::Disabled | ThinkingKind::BetweenTools, _)) => (Some(Effort::None), None),
        Some((ThinkingKind::Enabled, budget)) => (named, budget),
        _ => (named, None),
    };
    Settings {
        max_tokens: request.max_tokens,
        stop_sequences: request.stop_sequences.take().unwrap_or_default(),
        temperature: request.temperature.take(),
        top_p: request.top_p.take(),
        top_k: request.top_k.take(),
        effort,
        budget,
        wants_thoughts: thinking.is_some_and(is_shown),
        format,
    }
}

fn is_shown(thinking: &Thinking) -> bool {
    matches!(thinking.kind, ThinkingKind::Enabled | ThinkingKind::Adaptive)
        && thinking.display.as_deref() != Some("omitted")
}

struct Turns<'t> {
    conversation: Conversation,
    names: &'t mut ToolNames,
    dropped: &'t mut Dropped,
}

impl Turns<'_> {
    fn add(&mut self, message: Message) -> Result<(), NotConverted> {
        match message.role {
            Role::Assistant => {
                for block in message.content.blocks() {
                    self.add_said(block);
                }
                Ok(())
            }
            Role::User => self.add_asked(message.content),
            Role::System => {
                for block in message.content.blocks() {
                    for part in content::parts(block, self.dropped)? {
                        let part = match part.get("text").and_then(Value::as_str) {
                            Some(text) => reminder(text),
                            None => part,
                        };
                        self.conversation.user(part);
                    }
                }
                Ok(())
            }
        }
    }

    fn add_said(&mut self, block: Block) {
        match block {
            Block::Text { text, .. } => self.conversation.said(&text),
            Block::ToolUse { id, name, input } => {
                let arguments = match input {
                    Value::Object(arguments) => arguments,
                    Value::Null => Map::new(),
                    other => Map::from_iter([("input".to_owned(), other)]),
                };
                self.conversation.called(id, self.names.sent_with_letter(&name), &arguments, None);
            }
            Block::Thinking { thinking, signature } => {
                // Another's means nothing here.
                if let Some(carried) = signature.and_then(|signature| Carried::unpack(&signature)) {
                    self.conversation.thought(carried, &thinking);
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
            | Block::Other => self.dropped.add("messages.content"),
        }
    }

    fn add_asked(&mut self, asked: Content) -> Result<(), NotConverted> {
        for block in asked.blocks() {
            if let Block::ToolResult { tool_use_id, content, is_error, .. } = block {
                let output = content::output(content, is_error == Some(true), self.dropped)?;
                self.conversation.output(&tool_use_id, output);
                continue;
            }
            for part in content::parts(block, self.dropped)? {
                self.conversation.user(part);
            }
        }
        Ok(())
    }
}

struct Tools {
    functions: Vec<Value>,
    searches: bool,
    choice: Choice,
}

impl Tools {
    fn read(
        request: &mut Request,
        names: &mut ToolNames,
        dropped: &mut Dropped,
    ) -> Result<Self, NotConverted> {
        let asked = request.tool_choice.take();
        let forced = asked.as_ref().and_then(|choice| choice.name.clone());
        let mut functions = Vec::new();
        let mut search = None;
        for tool in request.tools.take().unwrap_or_default() {
            if tool.is_custom() {
                dropped.add_if(tool.strict == Some(true), "tools.strict");
                functions.push(function(
                    names.sent_with_letter(&tool.name),
                    tool.description,
                    tool.input_schema.as_ref(),
                ));
            } else if tool.is_web_search() {
                search = Some(tool);
            } else if forced.as_ref() == Some(&tool.name) {
                let kind = tool.kind.unwrap_or_default();
                return Err(NotConverted::unsupported(
                    "tool_choice",
                    format!("`{kind}` is a tool that Anthropic alone has"),
                ));
            } else {
                dropped.add("tools.type");
            }
        }
        let is_forced = search.as_ref().is_some_and(|search| Some(&search.name) == forced.as_ref());
        if is_forced {
            // Nothing else is to be called.
            functions.clear();
        }
        let searches = search.is_some() && functions.is_empty();
        match search {
            Some(_) if !searches => dropped.add("tools.web_search"),
            Some(search) => drop_limits(&search, dropped),
            None => {}
        }
        Ok(Self { functions, searches, choice: choice(asked, names) })
    }
}

fn drop_limits(search: &Tool, dropped: &mut Dropped) {
    let is_some = |domains: &Option<Vec<String>>| domains.as_ref().is_some_and(|domains| !domains.is_empty());
    dropped.add_if(is_some(&search.allowed_domains), "tools.allowed_domains");
    dropped.add_if(is_some(&search.blocked_domains), "tools.blocked_domains");
    dropped.add_if(search.user_location.as_ref().is_some_and(Value::is_object), "tools.user_location");
}

fn choice(asked: Option<ToolChoice>, names: &mut ToolNames) -> Choice {
    let Some(asked) = asked else { return Choice::Free };
    match (asked.kind, asked.name) {
        (ToolChoiceKind::Any, _) => Choice::Any,
        (ToolChoiceKind::None, _) => Choice::None,
        (ToolChoiceKind::Tool, Some(name)) => {
            Choice::Of { names: vec![names.sent_with_letter(&name)], must: true }
        }
        (ToolChoiceKind::Auto | ToolChoiceKind::Tool, _) => Choice::Auto,
    }
}
