//! A request of Messages as one of Chat Completions.

use super::answer::Answering;
use super::content::Reader;
use crate::dialect::convert::chat_target::call_ids::CallIds;
use crate::dialect::convert::chat_target::conversation::Conversation;
use crate::dialect::convert::chat_target::request::{
    Request as Chat, choice_of, function, invented_id, is_closed, is_openai, schema_format,
};
use crate::dialect::convert::contract::{ConvertedRequest, Dropped, NotConverted, RequestContext};
use crate::dialect::convert::messages::{
    OutputFormat, Request, Role, ThinkingKind, Tool, ToolChoice, ToolChoiceKind,
};
use crate::dialect::convert::tool_names::ToolNames;
use crate::domain::model_traits::Effort;

/// Makes a request of Messages one of Chat Completions.
///
/// # Errors
/// [`NotConverted`].
pub fn request(body: &[u8], context: &RequestContext<'_>) -> Result<ConvertedRequest, NotConverted> {
    let mut request: Request = serde_json::from_slice(body)?;
    let mut dropped = only_tuning(&request);
    let (mut names, mut ids) = (ToolNames::default(), CallIds::default());
    let mut chat = Chat::new(context, request.stream == Some(true));

    let tools = request.tools.take().unwrap_or_default();
    tools_of(&mut chat, tools, request.tool_choice.as_ref(), context, &mut names, &mut dropped)?;

    let mut reader = Reader { context, dropped: &mut dropped, names: &mut names, ids: &mut ids };
    let mut conversation = Conversation::new(context.model);
    if let Some(system) = request.system.take() {
        let texts = reader.texts(system.blocks());
        conversation.system(texts);
    }
    for message in std::mem::take(&mut request.messages) {
        match message.role {
            Role::System => {
                let texts = reader.system(message.content)?;
                conversation.system(texts);
            }
            Role::User => {
                let (outcomes, parts) = reader.user(message.content)?;
                conversation.user(outcomes, parts);
            }
            Role::Assistant => conversation.assistant(reader.assistant(message.content)?),
        }
    }
    chat.messages = conversation.finish();

    chat.limit(request.max_tokens, context);
    if let Some((asked, field)) = effort(&request) {
        chat.think(asked, field, context, &mut dropped);
    }
    if let Some(format) = request.output_config.as_mut().and_then(|config| config.format.take()) {
        chat.response_format = Some(response_format(&format)?);
    }
    let stops = request.stop_sequences.take().unwrap_or_default();
    chat.stop_at(stops.clone(), "stop_sequences", context, &mut dropped);
    if context.traits.sampling {
        (chat.temperature, chat.top_p) = (request.temperature.take(), request.top_p.take());
    }
    dropped.add_if(request.temperature.is_some(), "temperature");
    dropped.add_if(request.top_p.is_some(), "top_p");
    match request.service_tier.as_deref() {
        Some(tier) if is_openai(context.model) => {
            chat.service_tier = Some(if tier == "standard_only" { "default" } else { "auto" });
        }
        tier => dropped.add_if(tier.is_some(), "service_tier"),
    }

    let thinking = request.thinking.as_ref();
    let answering = Answering {
        model: context.model.to_owned(),
        input_estimate: context.input_tokens_estimate,
        invented_id: invented_id(body),
        names,
        ids,
        stops,
        // Without tools nobody needs to give back what was thought, and whoever has not asked for it may take the first
        // block for the answer.
        is_thinking_said: !chat.tools.is_empty()
            || thinking.is_some_and(|thinking| thinking.kind != ThinkingKind::Disabled),
        is_thinking_shown: thinking.and_then(|thinking| thinking.display.as_deref()) != Some("omitted"),
    };
    chat.converted(dropped, answering.converter())
}

/// The fields that only tune, and have no place in Chat Completions.
fn only_tuning(request: &Request) -> Dropped {
    let mut dropped = Dropped::default();
    dropped.add_if(request.top_k.is_some(), "top_k");
    dropped.add_if(request.context_management.is_some(), "context_management");
    dropped.add_if(request.mcp_servers.as_ref().is_some_and(|servers| !servers.is_empty()), "mcp_servers");
    dropped.add_if(request.container.is_some(), "container");
    dropped.add_if(request.fallbacks.is_some(), "fallbacks");
    dropped.add_if(request.speed.is_some(), "speed");
    dropped.add_if(request.inference_geo.is_some(), "inference_geo");
    let task_budget = request.output_config.as_ref().and_then(|config| config.task_budget.as_ref());
    dropped.add_if(task_budget.is_some(), "output_config.task_budget");
    dropped
}

fn tools_of(
    chat: &mut Chat,
    tools: Vec<Tool>,
    choice: Option<&ToolChoice>,
    context: &RequestContext<'_>,
    names: &mut ToolNames,
    dropped: &mut Dropped,
) -> Result<(), NotConverted> {
    let forced =
        choice.filter(|choice| choice.kind == ToolChoiceKind::Tool).and_then(|choice| choice.name.as_deref());
    for tool in tools {
        if !tool.is_custom() {
            if forced == Some(tool.name.as_str()) {
                let reason = format!("the target has no `{}` of its own", tool.name);
                return Err(NotConverted::unsupported("tool_choice", reason));
            }
            dropped.add(if tool.is_web_search() { "tools.web_search" } else { "tools" });
            continue;
        }
        dropped.add_if(tool.cache_control.is_some(), "tools.cache_control");
        dropped.add_if(tool.defer_loading == Some(true), "tools.defer_loading");
        // Anthropic takes open schemas, too.
        let is_strict = tool.strict == Some(true) && tool.input_schema.as_ref().is_some_and(is_closed);
        dropped.add_if(tool.strict == Some(true) && !is_strict, "tools.strict");
        chat.tools.push(function(
            &names.sent(&tool.name),
            tool.description.as_deref(),
            tool.input_schema.as_ref(),
            is_strict,
        ));
    }
    if !chat.tools.is_empty() && !context.traits.tools {
        return Err(NotConverted::unsupported("tools", "the model calls no tools"));
    }
    let Some(choice) = choice else { return Ok(()) };
    if chat.tools.is_empty() {
        let is_forced = matches!(choice.kind, ToolChoiceKind::Any | ToolChoiceKind::Tool);
        return if is_forced {
            Err(NotConverted::unsupported("tool_choice", "the target has none of the tools"))
        } else {
            Ok(())
        };
    }
    chat.tool_choice = Some(match (choice.kind, &choice.name) {
        (ToolChoiceKind::Auto, _) => "auto".into(),
        (ToolChoiceKind::None, _) => "none".into(),
        (ToolChoiceKind::Tool, Some(name)) => choice_of(&names.sent(name)),
        (ToolChoiceKind::Any | ToolChoiceKind::Tool, _) => "required".into(),
    });
    if choice.disable_parallel_tool_use == Some(true) {
        chat.parallel_tool_calls = Some(false);
    }
    Ok(())
}

/// How much the model is to think, and what says so.
fn effort(request: &Request) -> Option<(Effort, &'static str)> {
    let named = request.output_config.as_ref().and_then(|config| Effort::parse(config.effort.as_deref()?));
    let named = named.map(|effort| (effort, "output_config.effort"));
    let Some(thinking) = &request.thinking else { return named };
    match thinking.kind {
        ThinkingKind::Disabled | ThinkingKind::BetweenTools => Some((Effort::None, "thinking")),
        ThinkingKind::Enabled => {
            named.or_else(|| Some((Effort::of_budget(thinking.budget_tokens?), "thinking.budget_tokens")))
        }
        ThinkingKind::Adaptive => named,
    }
}

fn response_format(format: &OutputFormat) -> Result<serde_json::Value, NotConverted> {
    match (format.kind.as_str(), &format.schema) {
        ("json_schema", Some(schema)) => Ok(schema_format("answer", schema)),
        (kind, _) => {
            let reason = format!("there is no format `{kind}` of an answer");
            Err(NotConverted::unsupported("output_config.format", reason))
        }
    }
}
