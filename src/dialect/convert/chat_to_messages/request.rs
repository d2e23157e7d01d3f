//! A request of Chat Completions as one of Messages.

use serde_json::{Map, Value, json};

use super::super::chat::{
    Content, Custom, Message, NamedToolChoice, Part, ReasoningDetail, Request, Role, Tool, ToolChoice,
};
use super::super::chat_settings::{dropped, is_said, parts, refuse, words};
use super::super::contract::{Dropped, NotConverted, RequestContext};
use super::super::responses::FunctionTool;
use super::super::responses_tools::{custom_description, custom_parameters, read_arguments};
use super::super::to_messages::{
    Choice, Conversation, Settings, document, image, input_schema, mark, max_tokens, output_format, text,
    thinks_in_turn, unpack, web_search,
};
use super::super::tool_names::bounded;
use super::answer::Names;
use crate::domain::model_traits::{Effort, ModelTraits};

pub struct Made {
    pub body: Value,
    pub dropped: Dropped,
    pub names: Names,
    /// Whether a stream's last chunk is to say what was used.
    pub includes_usage: bool,
}

pub fn convert(mut request: Request, context: &RequestContext<'_>) -> Result<Made, NotConverted> {
    refuse(&request)?;
    let mut dropped = dropped(&request);
    dropped.add_if(request.seed.is_some(), "seed");
    let mut reader = Reader {
        traits: context.traits,
        system: Vec::new(),
        conversation: Conversation::default(),
        dropped: &mut dropped,
    };
    for message in std::mem::take(&mut request.messages) {
        reader.message(message)?;
    }
    let Reader { mut system, mut conversation, .. } = reader;

    let mut format = None;
    if let Some(asked) = request.response_format.take() {
        match asked.kind.as_str() {
            "text" => {}
            "json_schema" => {
                format = asked.json_schema.and_then(|schema| schema.schema).map(output_format);
            }
            "json_object" => system.push(text("Answer with one JSON object, and nothing else.")),
            kind => {
                return Err(NotConverted::unsupported("response_format", format!("`{kind}` is not known")));
            }
        }
    }
    if conversation.is_empty() {
        // Somebody has to ask.
        let asked = system.pop().ok_or_else(|| NotConverted::Unreadable("`messages` is empty".to_owned()))?;
        conversation.user(asked);
    }

    let mut tools = Tools::default();
    for tool in request.tools.take().into_iter().flatten() {
        tools.add(tool, &mut dropped)?;
    }
    let mut choice = tools.choose(request.tool_choice.take())?;
    let Tools { mut sent, names } = tools;
    if let Some(options) = request.web_search_options.take() {
        let location = options.user_location.and_then(|location| location.approximate);
        sent.insert(0, web_search(None, None, location.as_ref()));
    }
    let called = conversation.called();
    if sent.is_empty() && !called.is_empty() {
        // Calls of tools that are not defined would be refused.
        let define = |name| json!({ "name": name, "input_schema": { "type": "object", "properties": {} } });
        sent = called.into_iter().map(define).collect();
        choice = Choice::None;
    }

    let is_cached = request.prompt_cache_key.is_some() || !sent.is_empty() || conversation.has_answers();
    let mut messages = conversation.messages();
    let effort = request.reasoning_effort.as_deref().and_then(Effort::parse);
    let max_tokens = max_tokens(request.max_completion_tokens.or(request.max_tokens), context.traits);
    let settings = Settings {
        traits: context.traits,
        max_tokens,
        has_tools: !sent.is_empty(),
        choice,
        is_parallel: request.parallel_tool_calls.unwrap_or(true),
        effort,
        wants_thoughts: effort.is_some(),
        thinks_in_turn: thinks_in_turn(&messages),
        temperature: request.temperature.as_ref(),
        top_p: request.top_p.as_ref(),
        format,
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
    settings.write(&mut body, &mut dropped, "reasoning_effort")?;
    if let Some(stop) = request.stop.take() {
        let mut sequences = stop.sequences();
        let all = sequences.len();
        // Anthropic refuses those that are blank.
        sequences.retain(|sequence| !sequence.trim().is_empty());
        dropped.add_if(sequences.len() < all, "stop");
        if !sequences.is_empty() {
            body.insert("stop_sequences".to_owned(), sequences.into());
        }
    }
    if request.stream == Some(true) {
        body.insert("stream".to_owned(), true.into());
    }
    let includes_usage = request.stream_options.is_some_and(|options| options.include_usage == Some(true));
    Ok(Made { body: body.into(), dropped, names, includes_usage })
}

struct Reader<'r> {
    traits: &'r ModelTraits,
    system: Vec<Value>,
    conversation: Conversation,
    dropped: &'r mut Dropped,
}

impl Reader<'_> {
    fn message(&mut self, message: Message) -> Result<(), NotConverted> {
        match message.role {
            Role::System | Role::Developer => self.system(message.content),
            Role::User => {
                for part in parts(message.content) {
                    if let Some(block) = self.block(part)? {
                        self.conversation.user(block);
                    }
                }
                Ok(())
            }
            Role::Assistant => self.assistant(message),
            Role::Tool => {
                let mut blocks = Vec::new();
                for part in parts(message.content) {
                    blocks.extend(self.block(part)?);
                }
                self.conversation.output(message.tool_call_id.unwrap_or_default(), blocks, false);
                Ok(())
            }
            Role::Function => {
                Err(NotConverted::unsupported("messages.role", "send `tool`, which has replaced `function`"))
            }
        }
    }

    fn system(&mut self, content: Option<Content>) -> Result<(), NotConverted> {
        for part in parts(content) {
            let Some(said) = words(part)?.filter(|said| !said.trim().is_empty()) else { continue };
            if self.conversation.is_empty() {
                self.system.push(text(&said));
            } else {
                // What comes later stays where it is: the system prompt is what caches begin with.
                let reminder = format!("<system-reminder>\n{said}\n</system-reminder>");
                self.conversation.user(text(&reminder));
            }
        }
        Ok(())
    }

    fn assistant(&mut self, message: Message) -> Result<(), NotConverted> {
        if message.function_call.is_some() {
            return Err(NotConverted::unsupported(
                "messages.function_call",
                "send `tool_calls`, which have replaced it",
            ));
        }
        let details = message.reasoning_details.unwrap_or_default();
        let has_details = !details.is_empty();
        let mut has_own = false;
        for block in details.iter().filter_map(thought) {
            has_own = true;
            self.conversation.assistant(block);
        }
        let has_words =
            message.reasoning_content.is_some_and(is_said) || message.reasoning.is_some_and(is_said);
        self.dropped.add_if((has_details || has_words) && !has_own, "messages.reasoning");
        for part in parts(message.content) {
            if let Some(said) = words(part)? {
                self.conversation.assistant(text(&said));
            }
        }
        if let Some(refusal) = message.refusal {
            self.conversation.assistant(text(&refusal));
        }
        for call in message.tool_calls.into_iter().flatten() {
            if let Some(function) = call.function {
                let arguments = read_arguments(&function.arguments);
                self.conversation.call(call.id, bounded(&function.name), arguments);
            } else if let Some(custom) = call.custom {
                let arguments = Map::from_iter([("input".to_owned(), Value::String(custom.input))]);
                self.conversation.call(call.id, bounded(&custom.name), arguments);
            }
        }
        Ok(())
    }

    /// A part of what the user, or a tool, says; none of one that means nothing here.
    fn block(&mut self, part: Part) -> Result<Option<Value>, NotConverted> {
        match part {
            Part::ImageUrl { image_url } => {
                self.dropped.add_if(
                    image_url.detail.is_some_and(|detail| detail != "auto"),
                    "messages.image_url.detail",
                );
                image(&image_url.url, self.traits, "image_url").map(Some)
            }
            Part::File { file } => {
                let data = file.file_data.ok_or_else(|| {
                    NotConverted::unsupported(
                        "file.file_id",
                        "files that its own provider keeps cannot be read there: send its content",
                    )
                })?;
                document(&data, file.filename.as_deref(), self.traits, "file.file_data").map(Some)
            }
            part => Ok(words(part)?.map(|said| text(&said))),
        }
    }
}

/// What Anthropic's own model has thought.
fn thought(detail: &ReasoningDetail) -> Option<Value> {
    [&detail.data, &detail.signature, &detail.text].into_iter().flatten().find_map(|carrier| unpack(carrier))
}

#[derive(Default)]
struct Tools {
    sent: Vec<Value>,
    names: Names,
}

impl Tools {
    fn add(&mut self, tool: Tool, dropped: &mut Dropped) -> Result<(), NotConverted> {
        let (name, mut description, parameters) = match tool {
            Tool::Function { function: FunctionTool { name, description, parameters, strict } } => {
                dropped.add_if(strict == Some(true), "tools.strict");
                (self.names.names.sent(&name), description, parameters)
            }
            Tool::Custom { custom: Custom { name, description, format } } => {
                let name = self.names.names.sent(&name);
                self.names.custom.insert(name.clone());
                let grammar = format.and_then(|format| format.grammar);
                let grammar =
                    grammar.as_ref().map(|grammar| (grammar.syntax.as_str(), grammar.definition.as_str()));
                (name, Some(custom_description(description, grammar)), Some(custom_parameters()))
            }
            Tool::Other => {
                return Err(NotConverted::unsupported("tools", "one of them is of an unknown type"));
            }
        };
        let schema = input_schema(parameters, &mut description);
        let mut sent = json!({ "name": name });
        if let Some(description) = description.filter(|description| !description.is_empty()) {
            sent["description"] = description.into();
        }
        sent["input_schema"] = schema;
        self.sent.push(sent);
        Ok(())
    }

    fn choose(&mut self, choice: Option<ToolChoice>) -> Result<Choice, NotConverted> {
        match choice {
            None => Ok(Choice::Auto),
            Some(ToolChoice::Mode(mode)) => mode_of(&mode),
            Some(ToolChoice::Named(NamedToolChoice { allowed_tools: Some(allowed), .. })) => {
                let names: Vec<String> =
                    allowed.tools.iter().filter_map(NamedToolChoice::name).map(bounded).collect();
                self.sent.retain(|tool| names.iter().any(|name| tool["name"] == name.as_str()));
                mode_of(&allowed.mode)
            }
            Some(ToolChoice::Named(choice)) => {
                let name = bounded(choice.name().unwrap_or_default());
                if self.sent.iter().any(|tool| tool["name"] == name.as_str()) {
                    return Ok(Choice::Tool(name));
                }
                Err(NotConverted::unsupported("tool_choice", format!("`{name}` is none of the tools")))
            }
        }
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
