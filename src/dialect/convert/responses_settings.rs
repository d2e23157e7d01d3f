//! What a request of Responses asks for beside its conversation: what no other API has, what only tunes, and which of its
//! tools are to be called.

use super::contract::{Dropped, NotConverted};
use super::responses::{NamedToolChoice, Reasoning, Request, TextConfig, ToolChoice};
use super::responses_tools::Tools;

/// Refuses what means something else without it.
///
/// # Errors
/// There is such a thing.
pub fn refuse(request: &Request) -> Result<(), NotConverted> {
    const NO_STATE: &str = "nothing is kept there between calls: send the whole conversation as `input`";
    let wants_logprobs = request.include.iter().flatten().any(|name| name == "message.output_text.logprobs");
    for (is_there, field, reason) in [
        (request.previous_response_id.is_some(), "previous_response_id", NO_STATE),
        (request.conversation.is_some(), "conversation", NO_STATE),
        (request.background == Some(true), "background", "answers are not kept there"),
        (request.prompt.is_some(), "prompt", "templates are not kept there"),
        (
            wants_logprobs || request.top_logprobs.is_some_and(|count| count > 0),
            "top_logprobs",
            "its models do not tell probabilities",
        ),
    ] {
        if is_there {
            return Err(NotConverted::unsupported(field, reason));
        }
    }
    Ok(())
}

/// What only tunes.
#[must_use]
pub fn dropped(request: &Request) -> Dropped {
    let mut dropped = Dropped::default();
    let is_tier = |tier: &str| !matches!(tier, "auto" | "default");
    dropped.add_if(request.max_tool_calls.is_some(), "max_tool_calls");
    dropped.add_if(request.store == Some(true), "store");
    dropped.add_if(request.prompt_cache_retention.is_some(), "prompt_cache_retention");
    dropped.add_if(request.prompt_cache_options.is_some(), "prompt_cache_options");
    dropped.add_if(request.service_tier.as_deref().is_some_and(is_tier), "service_tier");
    dropped.add_if(request.truncation.as_deref() == Some("auto"), "truncation");
    dropped.add_if(request.context_management.is_some(), "context_management");
    dropped.add_if(request.moderation.is_some(), "moderation");
    dropped.add_if(request.text.as_ref().is_some_and(|text| text.verbosity.is_some()), "text.verbosity");
    dropped
}

/// Takes the settings of an item, which hold from there on: of several the last ones count.
pub fn update(request: &mut Request, reasoning: Option<Reasoning>, text: Option<TextConfig>) {
    if let Some(effort) = reasoning.and_then(|reasoning| reasoning.effort) {
        let reasoning = request.reasoning.get_or_insert(Reasoning { effort: None, summary: None });
        reasoning.effort = Some(effort);
    }
    if let Some(format) = text.and_then(|text| text.format) {
        let text = request.text.get_or_insert(TextConfig { format: None, verbosity: None });
        text.format = Some(format);
    }
}

/// What a tool that only the caller's own provider runs is called when it is left out.
#[must_use]
pub fn hosted_field(kind: &str) -> &'static str {
    match kind {
        "web_search" => "tools.web_search",
        "file_search" => "tools.file_search",
        "code_interpreter" => "tools.code_interpreter",
        "image_generation" => "tools.image_generation",
        "mcp" => "tools.mcp",
        "shell" => "tools.shell",
        "computer" | "computer_use_preview" => "tools.computer",
        _ => "tools.other",
    }
}

/// An item of the history that is neither said nor called.
///
/// # Errors
/// The conversation is another one without it.
pub fn other_item(kind: &str, dropped: &mut Dropped) -> Result<(), NotConverted> {
    let reason = match kind {
        "web_search_call" => {
            dropped.add("input.web_search_call");
            return Ok(());
        }
        "item_reference" => "nothing is kept there between calls: send the item itself",
        "compaction" | "compaction_summary" | "compaction_trigger" | "context_compaction" => {
            "only its own provider can read or make it: compact the conversation yourself"
        }
        "computer_call"
        | "computer_call_output"
        | "mcp_approval_request"
        | "mcp_approval_response"
        | "program"
        | "program_output" => "there is nothing like it",
        _ => {
            dropped.add("input.other");
            return Ok(());
        }
    };
    Err(NotConverted::unsupported(format!("input.{kind}"), reason))
}

/// Which tools are to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Auto,
    /// Any, but one.
    Required,
    None,
    /// By the name at the target.
    Tool(String),
    /// The target's own search, where there is one.
    WebSearch,
}

/// Reads which tools are to be called; those that may not be are taken out.
///
/// # Errors
/// A tool has to be called that cannot be sent.
pub fn choose(choice: Option<ToolChoice>, tools: &mut Tools) -> Result<Choice, NotConverted> {
    const WEB_SEARCH: &str = "web_search";
    match choice {
        None => Ok(Choice::Auto),
        Some(ToolChoice::Mode(mode)) => mode_of(&mode),
        Some(ToolChoice::Named(NamedToolChoice { kind, mode, tools: allowed, .. }))
            if kind == "allowed_tools" =>
        {
            let names: Vec<String> = allowed.iter().filter_map(|choice| tools.chosen(choice)).collect();
            tools.functions.retain(|function| names.contains(&function.name));
            if !allowed.iter().any(|choice| choice.kind.starts_with(WEB_SEARCH)) {
                tools.web_search = None;
            }
            mode_of(mode.as_deref().unwrap_or("auto"))
        }
        Some(ToolChoice::Named(choice))
            if choice.kind.starts_with(WEB_SEARCH) && tools.web_search.is_some() =>
        {
            Ok(Choice::WebSearch)
        }
        Some(ToolChoice::Named(choice)) => tools.chosen(&choice).map(Choice::Tool).ok_or_else(|| {
            let name = choice.name.as_deref().unwrap_or(&choice.kind);
            let reason = format!("`{name}` is none of the tools that can be sent");
            NotConverted::unsupported("tool_choice", reason)
        }),
    }
}

fn mode_of(mode: &str) -> Result<Choice, NotConverted> {
    match mode {
        "auto" => Ok(Choice::Auto),
        "required" => Ok(Choice::Required),
        "none" => Ok(Choice::None),
        _ => Err(NotConverted::unsupported("tool_choice", format!("`{mode}` is not known"))),
    }
}
