//! A request of Responses as one of Messages.

use serde_json::{Map, Value, json};

use super::super::contract::{Dropped, NotConverted, RequestContext};
use super::super::responses::{Input, Item, Part, Request, Role};
use super::super::responses_settings::{
    Choice as Chosen, choose, dropped, hosted_field, other_item, refuse, update,
};
use super::super::responses_tools::{Tools, Turn, WebSearch};
use super::super::to_messages::{
    Choice, Conversation, Settings, WEB_SEARCH, document, image, input_schema, mark, max_tokens,
    output_format, text, thinks_in_turn, unpack, web_search,
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

    let mut choice = match choose(request.tool_choice.take(), &mut tools)? {
        Chosen::Auto => Choice::Auto,
        Chosen::Required => Choice::Any,
        Chosen::None => Choice::None,
        Chosen::Tool(name) => Choice::Tool(name),
        Chosen::WebSearch => Choice::Tool(WEB_SEARCH.to_owned()),
    };
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
    settings.write(&mut body, &mut dropped, "reasoning.effort")?;
    if request.stream == Some(true) {
        body.insert("stream".to_owned(), true.into());
    }
    Ok(Made { body: body.into(), dropped, tools })
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
            Item::Other(kind) => other_item(&kind, self.dropped)?,
            // Taken before, or run by the provider, whose models have read it.
            _ => {}
        }
        Ok(())
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
            let WebSearch { allowed_domains, blocked_domains, user_location } = search;
            let domains = (allowed_domains.as_deref(), blocked_domains.as_deref());
            sent.push(web_search(domains.0, domains.1, user_location.as_ref()));
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
        dropped.add(hosted_field(hosted));
    }
    sent
}
