//! A request of Responses as one of Messages.

use serde_json::{Map, Value, json};

use super::super::contract::{Dropped, NotConverted, RequestContext};
use super::super::responses::{
    Input, Item, NamedToolChoice, Part, Reasoning, Request, Role, TextConfig, ToolChoice,
};
use super::super::responses_tools::{Tools, Turn, WebSearch};
use super::super::to_messages::{
    Choice, Conversation, Settings, document, image, input_schema, mark, max_tokens, output_format, text,
    thinks_in_turn, unpack,
};
use crate::domain::model_traits::{Effort, ModelTraits};

pub struct Made {
    pub body: Value,
    pub dropped: Dropped,
    pub tools: Tools,
}

pub fn convert(mut request: Request, context: &RequestContext<'_>) -> Result<Made, NotConverted> {
    refuse(&request)?;
    let mut dropped = dropped(&request);
    let mut items = std::mem::take(&mut request.input).items();
    let mut tools = Tools::new(request.tools.take(), &mut items);
    let mut reader = Reader {
        traits: context.traits,
        system: Vec::new(),
        conversation: Conversation::default(),
        dropped: &mut dropped,
    };
    for item in request.instructions.take().map(Input::items).into_iter().flatten() {
        reader.instruction(item)?;
    }
    for item in items {
        if let Item::ConfigurationUpdate { reasoning, text } = item {
            update(&mut request, reasoning, text);
        } else {
            reader.turn(tools.turn(item))?;
        }
    }
    let Reader { mut system, mut conversation, .. } = reader;

    let format = request.text.as_mut().and_then(|text| text.format.take());
    let mut schema = None;
    match format.as_ref().map(|format| format.kind.as_str()) {
        None | Some("text") => {}
        Some("json_schema") => schema = format.and_then(|format| format.schema).map(output_format),
        Some("json_object") => system.push(text("Answer with one JSON object, and nothing else.")),
        Some(kind) => return Err(NotConverted::unsupported("text.format", format!("`{kind}` is not known"))),
    }
    if conversation.is_empty() {
        // Somebody has to ask.
        let asked = system.pop().ok_or_else(|| NotConverted::Unreadable("`input` is empty".to_owned()))?;
        conversation.user(asked);
    }

    let mut choice = choose(request.tool_choice.take(), &mut tools)?;
    let called = conversation.called();
    let is_cached =
        request.prompt_cache_key.is_some() || !tools.functions.is_empty() || conversation.has_answers();
    let mut messages = conversation.messages();
    let mut sent = sent_tools(&tools, &mut dropped);
    if sent.is_empty() && !called.is_empty() {
        // Calls of tools that are not defined would be refused.
        sent = called
            .into_iter()
            .map(|name| json!({ "name": name, "input_schema": { "type": "object", "properties": {} } }))
            .collect();
        choice = Choice::None;
    }
    let reasoning = request.reasoning.take();
    let effort = reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_deref()).and_then(Effort::parse);
    let max_tokens = max_tokens(request.max_output_tokens, context.traits);
    let settings = Settings {
        traits: context.traits,
        max_tokens,
        has_tools: !sent.is_empty(),
        choice,
        is_parallel: request.parallel_tool_calls.unwrap_or(true),
        effort,
        wants_thoughts: reasoning.is_some_and(|reasoning| reasoning.summary.is_some()),
        thinks_in_turn: thinks_in_turn(&messages),
        temperature: request.temperature.as_ref(),
        top_p: request.top_p.as_ref(),
        format: schema,
    };
    if is_cached {
        mark(&mut sent, &mut system, &mut messages);
    }

    let mut body = Map::new();
    body.insert("model".to_owned(), context.model.into());
    body.insert("max_tokens".to_owned(), max_tokens.into());
    if !system.is_empty() {
        body.insert("system".to_owned(), system.into());
    }
    body.insert("messages".to_owned(), messages.into());
    if !sent.is_empty() {
        body.insert("tools".to_owned(), sent.into());
    }
    settings.write(&mut body, &mut dropped, "reasoning.effort");
    if request.stream == Some(true) {
        body.insert("stream".to_owned(), true.into());
    }
    Ok(Made { body: body.into(), dropped, tools })
}

/// What means something else without it.
fn refuse(request: &Request) -> Result<(), NotConverted> {
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
fn dropped(request: &Request) -> Dropped {
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

fn update(request: &mut Request, reasoning: Option<Reasoning>, text: Option<TextConfig>) {
    if let Some(effort) = reasoning.and_then(|reasoning| reasoning.effort) {
        let reasoning = request.reasoning.get_or_insert(Reasoning { effort: None, summary: None });
        reasoning.effort = Some(effort);
    }
    if let Some(format) = text.and_then(|text| text.format) {
        let text = request.text.get_or_insert(TextConfig { format: None, verbosity: None });
        text.format = Some(format);
    }
}

struct Reader<'r> {
    traits: &'r ModelTraits,
    system: Vec<Value>,
    conversation: Conversation,
    dropped: &'r mut Dropped,
}

impl Reader<'_> {
    /// An item of `instructions`, whose roles do not matter.
    fn instruction(&mut self, item: Item) -> Result<(), NotConverted> {
        match item {
            Item::Message { content, .. } => self.system(content.parts()),
            _ => Err(NotConverted::unsupported("instructions", "it has other items than messages")),
        }
    }

    fn system(&mut self, parts: Vec<Part>) -> Result<(), NotConverted> {
        for part in parts {
            let said = words(part)?;
            if !said.trim().is_empty() {
                self.system.push(text(&said));
            }
        }
        Ok(())
    }

    fn turn(&mut self, turn: Turn) -> Result<(), NotConverted> {
        match turn {
            Turn::Call(call) => self.conversation.call(call.id, call.name, call.arguments),
            Turn::Output(output) => {
                let blocks = output.parts.into_iter().map(|part| self.block(part));
                let blocks = blocks.collect::<Result<_, _>>()?;
                self.conversation.output(output.call_id, blocks, output.is_error);
            }
            Turn::Item(item) => self.item(item)?,
        }
        Ok(())
    }

    fn item(&mut self, item: Item) -> Result<(), NotConverted> {
        match item {
            Item::Message { role: Role::User, content } => {
                for part in content.parts() {
                    let block = self.block(part)?;
                    self.conversation.user(block);
                }
            }
            Item::Message { role: Role::Assistant, content } => {
                for part in content.parts() {
                    self.conversation.assistant(text(&words(part)?));
                }
            }
            Item::Message { role: Role::System | Role::Developer, content } => {
                if self.conversation.is_empty() {
                    return self.system(content.parts());
                }
                // What comes later stays where it is: the system prompt is what caches begin with.
                for part in content.parts() {
                    let said = words(part)?;
                    if !said.trim().is_empty() {
                        let reminder = format!("<system-reminder>\n{said}\n</system-reminder>");
                        self.conversation.user(text(&reminder));
                    }
                }
            }
            Item::Reasoning { encrypted_content, .. } => match encrypted_content {
                Some(carrier) => match unpack(&carrier) {
                    Some(block) => self.conversation.assistant(block),
                    None => self.dropped.add("input.reasoning"),
                },
                None => self.dropped.add("input.reasoning"),
            },
            Item::Other(kind) => self.other(&kind)?,
            // Taken before, or run by the provider, whose models have read it.
            _ => {}
        }
        Ok(())
    }

    fn other(&mut self, kind: &str) -> Result<(), NotConverted> {
        let reason = match kind {
            "web_search_call" => {
                self.dropped.add("input.web_search_call");
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
                self.dropped.add("input.other");
                return Ok(());
            }
        };
        Err(NotConverted::unsupported(format!("input.{kind}"), reason))
    }

    /// A part of what the user, or a tool, says.
    fn block(&mut self, part: Part) -> Result<Value, NotConverted> {
        const FILE_ID: &str = "files that its own provider keeps cannot be read there: send its content";
        match part {
            Part::InputImage { image_url: Some(url), detail, .. } => {
                self.dropped.add_if(detail.is_some_and(|detail| detail != "auto"), "input_image.detail");
                image(&url, self.traits, "input_image.image_url")
            }
            Part::InputImage { .. } => Err(NotConverted::unsupported("input_image.file_id", FILE_ID)),
            Part::InputFile { file_data: Some(data), filename, .. } => {
                let is_bare_pdf = !data.starts_with("data:")
                    && filename.as_deref().is_some_and(|name| name.to_ascii_lowercase().ends_with(".pdf"));
                let url = if is_bare_pdf { format!("data:application/pdf;base64,{data}") } else { data };
                document(&url, filename.as_deref(), self.traits, "input_file.file_data")
            }
            Part::InputFile { file_url: Some(url), filename, .. } => {
                document(&url, filename.as_deref(), self.traits, "input_file.file_url")
            }
            Part::InputFile { .. } => Err(NotConverted::unsupported("input_file.file_id", FILE_ID)),
            part => Ok(text(&words(part)?)),
        }
    }
}

fn words(part: Part) -> Result<String, NotConverted> {
    match part {
        Part::InputText { text } => Ok(text),
        Part::Refusal { refusal } => Ok(refusal),
        Part::InputImage { .. } => {
            Err(NotConverted::unsupported("input_image", "only the user can show one"))
        }
        Part::InputFile { .. } => Err(NotConverted::unsupported("input_file", "only the user can send one")),
        Part::InputAudio => Err(NotConverted::unsupported("input_audio", "its models do not hear")),
        Part::Other => Err(NotConverted::unsupported("input.content", "a part of it is of an unknown type")),
    }
}

fn sent_tools(tools: &Tools, dropped: &mut Dropped) -> Vec<Value> {
    let mut sent: Vec<Value> = Vec::new();
    // First, as functions may come to be more.
    if let Some(search) = &tools.web_search {
        if tools.functions.iter().any(|function| function.name == WEB_SEARCH) {
            dropped.add("tools.web_search");
        } else {
            sent.push(web_search(search));
        }
    }
    for function in &tools.functions {
        dropped.add_if(function.strict == Some(true), "tools.strict");
        let mut description = function.description.clone();
        let schema = input_schema(function.parameters.clone(), &mut description);
        let mut tool = json!({ "name": function.name });
        if let Some(description) = description.filter(|description| !description.is_empty()) {
            tool["description"] = description.into();
        }
        tool["input_schema"] = schema;
        sent.push(tool);
    }
    for hosted in &tools.hosted {
        dropped.add(match hosted.as_str() {
            "web_search" => "tools.web_search",
            "file_search" => "tools.file_search",
            "code_interpreter" => "tools.code_interpreter",
            "image_generation" => "tools.image_generation",
            "mcp" => "tools.mcp",
            "shell" => "tools.shell",
            "computer" | "computer_use_preview" => "tools.computer",
            _ => "tools.other",
        });
    }
    sent
}

/// The name that Anthropic's own search has to have.
const WEB_SEARCH: &str = "web_search";

fn web_search(search: &WebSearch) -> Value {
    let mut tool = json!({ "type": "web_search_20250305", "name": WEB_SEARCH });
    if let Some(domains) = &search.allowed_domains {
        tool["allowed_domains"] = json!(domains);
    } else if let Some(domains) = &search.blocked_domains {
        tool["blocked_domains"] = json!(domains);
    }
    if let Some(Value::Object(location)) = &search.user_location {
        let mut sent = json!({ "type": "approximate" });
        for (name, value) in location.iter().filter(|(_, value)| !value.is_null()) {
            sent[name] = value.clone();
        }
        tool["user_location"] = sent;
    }
    tool
}

fn choose(choice: Option<ToolChoice>, tools: &mut Tools) -> Result<Choice, NotConverted> {
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
            Ok(Choice::Tool(WEB_SEARCH.to_owned()))
        }
        Some(ToolChoice::Named(choice)) => tools.chosen(&choice).map(Choice::Tool).ok_or_else(|| {
            let name = choice.name.as_deref().unwrap_or(&choice.kind);
            NotConverted::unsupported(
                "tool_choice",
                format!("`{name}` is none of the tools that can be sent"),
            )
        }),
    }
}

fn mode_of(mode: &str) -> Result<Choice, NotConverted> {
    match mode {
        "auto" => Ok(Choice::Auto),
        "required" => Ok(Choice::Any),
        "none" => Ok(Choice::None),
        _ => Err(NotConverted::unsupported("tool_choice", format!("`{mode}` is not known"))),
    }
}
