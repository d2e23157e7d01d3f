//! A request of Responses as one of Chat Completions.

use serde_json::json;

use super::answer::Answering;
use super::history::History;
use crate::dialect::convert::chat_target::call_ids::CallIds;
use crate::dialect::convert::chat_target::request::{
    Request as Chat, choice_of, function, invented_id, schema_format,
};
use crate::dialect::convert::contract::{ConvertedRequest, Dropped, NotConverted, RequestContext};
use crate::dialect::convert::responses::{Input, Item, Request, TextFormat};
use crate::dialect::convert::responses_settings::{Choice, choose, dropped, hosted_field, refuse, update};
use crate::dialect::convert::responses_tools::Tools;
use crate::dialect::convert::responses_writer::{Echo, ResponsesWriter};
use crate::domain::model_traits::Effort;

/// Makes a request of Responses one of Chat Completions.
///
/// # Errors
/// [`NotConverted`].
pub fn request(body: &[u8], context: &RequestContext<'_>) -> Result<ConvertedRequest, NotConverted> {
    let echo: Echo = serde_json::from_slice(body)?;
    let mut request: Request = serde_json::from_slice(body)?;
    refuse(&request)?;
    let mut dropped = dropped(&request);
    let mut items = std::mem::take(&mut request.input).items();
    let mut tools = Tools::new(request.tools.take(), &mut items);
    let mut ids = CallIds::default();
    let mut chat = Chat::new(context, request.stream == Some(true));

    let mut history = History::new(context, &mut dropped, &mut ids);
    for item in request.instructions.take().map(Input::items).into_iter().flatten() {
        history.instruct(item)?;
    }
    let mut turns = Vec::new();
    for item in items {
        if let Item::ConfigurationUpdate { reasoning, text } = item {
            update(&mut request, reasoning, text);
        } else {
            turns.push(tools.turn(item));
        }
    }
    chat.messages = history.messages(turns)?;
    if chat.messages.is_empty() {
        return Err(NotConverted::Unreadable("`input` is empty".to_owned()));
    }

    let choice = choose(request.tool_choice.take(), &mut tools)?;
    tools_of(&mut chat, &tools, &choice, context, &mut dropped)?;
    if request.parallel_tool_calls == Some(false) && !chat.tools.is_empty() {
        chat.parallel_tool_calls = Some(false);
    }
    chat.limit(request.max_output_tokens, context);
    let effort = request.reasoning.as_ref().and_then(|reasoning| Effort::parse(reasoning.effort.as_deref()?));
    if let Some(asked) = effort {
        chat.think(asked, "reasoning.effort", context, &mut dropped);
    }
    if let Some(format) = request.text.as_mut().and_then(|text| text.format.take()) {
        chat.response_format = response_format(&format)?;
    }
    if context.traits.sampling {
        (chat.temperature, chat.top_p) = (request.temperature.take(), request.top_p.take());
    }
    dropped.add_if(request.temperature.is_some(), "temperature");
    dropped.add_if(request.top_p.is_some(), "top_p");

    let answering = Answering {
        model: context.model.to_owned(),
        input_estimate: context.input_tokens_estimate,
        invented_id: invented_id(body),
        ids,
        writer: ResponsesWriter::new(echo, tools, context.now),
    };
    chat.converted(dropped, answering.converter())
}

fn tools_of(
    chat: &mut Chat,
    tools: &Tools,
    choice: &Choice,
    context: &RequestContext<'_>,
    dropped: &mut Dropped,
) -> Result<(), NotConverted> {
    for tool in &tools.functions {
        let is_strict = tool.strict == Some(true);
        chat.tools.push(function(
            &tool.name,
            tool.description.as_deref(),
            tool.parameters.as_ref(),
            is_strict,
        ));
    }
    dropped.add_if(tools.web_search.is_some(), "tools.web_search");
    for kind in &tools.hosted {
        dropped.add(hosted_field(kind));
    }
    if !chat.tools.is_empty() && !context.traits.tools {
        return Err(NotConverted::unsupported("tools", "the model calls no tools"));
    }
    let has_none = || NotConverted::unsupported("tool_choice", "the target has none of the tools");
    chat.tool_choice = match choice {
        Choice::WebSearch => return Err(has_none()),
        Choice::Required | Choice::Tool(_) if chat.tools.is_empty() => return Err(has_none()),
        _ if chat.tools.is_empty() => None,
        Choice::Auto => Some("auto".into()),
        Choice::None => Some("none".into()),
        Choice::Required => Some("required".into()),
        Choice::Tool(name) => Some(choice_of(name)),
    };
    Ok(())
}

fn response_format(format: &TextFormat) -> Result<Option<serde_json::Value>, NotConverted> {
    match (format.kind.as_str(), &format.schema) {
        ("text", _) => Ok(None),
        ("json_object", _) => Ok(Some(json!({"type": "json_object"}))),
        ("json_schema", Some(schema)) => {
            let mut made = schema_format(format.name.as_deref().unwrap_or("answer"), schema);
            if let Some(strict) = format.strict {
                made["json_schema"]["strict"] = json!(strict);
            }
            if let Some(description) = &format.description {
                made["json_schema"]["description"] = json!(description);
            }
            Ok(Some(made))
        }
        (kind, _) => Err(NotConverted::unsupported("text.format", format!("`{kind}` is not known"))),
    }
}
