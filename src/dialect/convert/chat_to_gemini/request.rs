//! A request of Chat Completions as one of Gemini.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::answer::Answering;
use crate::dialect::convert::chat::{
    Content, Custom, Message, NamedToolChoice, Part, ReasoningDetail, Request, Role, Tool, ToolCall,
    ToolChoice,
};
use crate::dialect::convert::chat_settings::{dropped, is_said, parts, refuse, words};
use crate::dialect::convert::chat_target::request::invented_id;
use crate::dialect::convert::contract::{Dropped, NotConverted, RequestContext};
use crate::dialect::convert::gemini_target::conversation::{Conversation, Output};
use crate::dialect::convert::gemini_target::media;
use crate::dialect::convert::gemini_target::request::{
    Choice, Format, Settings, add_system, add_tools, function, reminder,
};
use crate::dialect::convert::gemini_target::signature::{Carried, Of, wants_signatures};
use crate::dialect::convert::responses::FunctionTool;
use crate::dialect::convert::responses_tools::{custom_description, custom_parameters, read_arguments};
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
    refuse(&request)?;
    let mut dropped = dropped(&request);
    dropped.add_if(request.parallel_tool_calls == Some(false), "parallel_tool_calls");
    let mut turns = Turns {
        system: Vec::new(),
        conversation: Conversation::new(wants_signatures(context.model)),
        names: ToolNames::default(),
        dropped: &mut dropped,
    };
    for message in std::mem::take(&mut request.messages) {
        turns.add(message)?;
    }
    let Turns { mut system, mut conversation, names, .. } = turns;
    if conversation.is_empty() {
        // Somebody has to ask.
        let asked = system.pop().ok_or_else(|| NotConverted::Unreadable("`messages` is empty".to_owned()))?;
        conversation.user(json!({ "text": asked }));
    }
    let mut tools = Tools { functions: Vec::new(), names, custom: HashSet::new() };
    for tool in request.tools.take().into_iter().flatten() {
        tools.add(tool, &mut dropped)?;
    }
    let choice = tools.choose(request.tool_choice.take())?;
    let searches = request.web_search_options.take();
    let has_functions = !tools.functions.is_empty();
    dropped.add_if(searches.is_some() && has_functions, "web_search_options");
    let has_place = searches.as_ref().is_some_and(|search| search.user_location.is_some());
    dropped.add_if(has_place && !has_functions, "web_search_options.user_location");

    let seed = request.seed.take();
    let settings = settings(&mut request)?;
    let (mut config, told) = settings.write(context, has_functions, "stop", &mut dropped);
    if let Some(seed) = seed {
        config.insert("seed".to_owned(), seed.into());
    }
    let mut made = Map::new();
    system.extend(told);
    add_system(&mut made, system);
    made.insert("contents".to_owned(), conversation.contents());
    add_tools(&mut made, &tools.functions, searches.is_some(), &choice);
    if !config.is_empty() {
        made.insert("generationConfig".to_owned(), config.into());
    }
    let answering = Answering {
        model: context.model.to_owned(),
        invented_id: invented_id(body),
        names: tools.names,
        custom: tools.custom,
        now: context.now,
        includes_usage: request.stream_options.is_some_and(|options| options.include_usage == Some(true)),
    };
    Ok(Made { body: made, dropped, is_stream: request.stream == Some(true), answering })
}

fn settings(request: &mut Request) -> Result<Settings, NotConverted> {
    let format = match request.response_format.take() {
        None => None,
        Some(asked) => match asked.kind.as_str() {
            "text" => None,
            "json_object" => Some(Format(None)),
            "json_schema" => Some(Format(asked.json_schema.and_then(|schema| schema.schema))),
            kind => {
                return Err(NotConverted::unsupported("response_format", format!("`{kind}` is not known")));
            }
        },
    };
    let effort = request.reasoning_effort.as_deref().and_then(Effort::parse);
    Ok(Settings {
        max_tokens: request.max_completion_tokens.or(request.max_tokens),
        stop_sequences: request.stop.take().map(super::super::chat::Stop::sequences).unwrap_or_default(),
        temperature: request.temperature.take(),
        top_p: request.top_p.take(),
        top_k: None,
        effort,
        budget: None,
        wants_thoughts: effort.is_some_and(|effort| effort != Effort::None),
        format,
    })
}

struct Turns<'t> {
    system: Vec<String>,
    conversation: Conversation,
    names: ToolNames,
    dropped: &'t mut Dropped,
}

impl Turns<'_> {
    fn add(&mut self, message: Message) -> Result<(), NotConverted> {
        match message.role {
            Role::System | Role::Developer => self.add_system(message.content),
            Role::User => {
                for part in parts(message.content) {
                    if let Some(part) = self.part(part)? {
                        self.conversation.user(part);
                    }
                }
                Ok(())
            }
            Role::Assistant => self.add_said(message),
            Role::Tool => {
                let mut output = Output { text: String::new(), is_error: false, media: Vec::new() };
                for part in parts(message.content) {
                    let Some(part) = self.part(part)? else { continue };
                    match part.get("text").and_then(Value::as_str) {
                        Some(text) => output.text.push_str(text),
                        None => output.media.push(part),
                    }
                }
                self.conversation.output(&message.tool_call_id.unwrap_or_default(), output);
                Ok(())
            }
            Role::Function => {
                Err(NotConverted::unsupported("messages.role", "send `tool`, which has replaced `function`"))
            }
        }
    }

    fn add_system(&mut self, content: Option<Content>) -> Result<(), NotConverted> {
        for part in parts(content) {
            let Some(said) = words(part)?.filter(|said| !said.trim().is_empty()) else { continue };
            if self.conversation.is_empty() {
                self.system.push(said);
            } else {
                // What comes later stays where it is: what is cached begins with what is first.
                self.conversation.user(reminder(&said));
            }
        }
        Ok(())
    }

    fn add_said(&mut self, message: Message) -> Result<(), NotConverted> {
        if message.function_call.is_some() {
            return Err(NotConverted::unsupported(
                "messages.function_call",
                "send `tool_calls`, which have replaced it",
            ));
        }
        let details = message.reasoning_details.unwrap_or_default();
        let kept: Vec<Carried> = details.iter().filter_map(kept).collect();
        let has_words =
            message.reasoning_content.is_some_and(is_said) || message.reasoning.is_some_and(is_said);
        let is_foreign = (!details.is_empty() || has_words) && kept.is_empty();
        let is_signed = message.tool_calls.iter().flatten().any(|call| call.signature().is_some());
        self.dropped.add_if(is_foreign && !is_signed, "messages.reasoning");
        let mut of_calls = HashMap::new();
        let mut behind = Vec::new();
        for mut carried in kept {
            match carried.of {
                Of::Thought => {
                    let text = carried.text.take().unwrap_or_default();
                    self.conversation.thought(carried, &text);
                }
                Of::Text | Of::Empty => behind.push(Carried { of: Of::Empty, ..carried }),
                Of::Call => {
                    if let Some(call) = carried.call.take() {
                        of_calls.insert(call, carried.signature);
                    }
                }
            }
        }
        for part in parts(message.content) {
            if let Some(said) = words(part)? {
                self.conversation.said(&said);
            }
        }
        if let Some(refusal) = message.refusal {
            self.conversation.said(&refusal);
        }
        for carried in behind {
            self.conversation.thought(carried, "");
        }
        for call in message.tool_calls.into_iter().flatten() {
            let signature = call.signature().or_else(|| of_calls.remove(&call.id).flatten());
            let (name, arguments) = if let Some(function) = call.function {
                (function.name, read_arguments(&function.arguments))
            } else if let Some(custom) = call.custom {
                (custom.name, Map::from_iter([("input".to_owned(), Value::String(custom.input))]))
            } else {
                continue;
            };
            let name = self.names.sent_with_letter(&name);
            self.conversation.called(call.id, name, &arguments, signature);
        }
        Ok(())
    }

    /// A part of what the user, or a tool, says; none of one that means nothing here.
    fn part(&mut self, part: Part) -> Result<Option<Value>, NotConverted> {
        match part {
            Part::ImageUrl { image_url } => {
                self.dropped.add_if(
                    image_url.detail.is_some_and(|detail| detail != "auto"),
                    "messages.image_url.detail",
                );
                media::of_url(&image_url.url, "image/jpeg")
                    .map(Some)
                    .map_err(|reason| NotConverted::unsupported("image_url", reason))
            }
            Part::File { file } => {
                let data = file.file_data.ok_or_else(|| {
                    NotConverted::unsupported(
                        "file.file_id",
                        "files that its own provider keeps cannot be read there: send its content",
                    )
                })?;
                media::of_url(&data, "application/pdf")
                    .map(Some)
                    .map_err(|reason| NotConverted::unsupported("file.file_data", reason))
            }
            part => Ok(words(part)?.filter(|said| !said.is_empty()).map(|said| json!({ "text": said }))),
        }
    }
}

/// What Gemini itself has thought.
fn kept(detail: &ReasoningDetail) -> Option<Carried> {
    [&detail.data, &detail.signature, &detail.text]
        .into_iter()
        .flatten()
        .find_map(|kept| Carried::unpack(kept))
}

impl ToolCall {
    /// Where Google's own endpoint has it; a client may have put there what it got of us.
    fn signature(&self) -> Option<String> {
        let google = self.extra_content.as_ref()?.google.as_ref()?;
        let signature = google.thought_signature.as_ref().filter(|signature| !signature.is_empty())?;
        match Carried::unpack(signature) {
            Some(carried) => carried.signature,
            None => Some(signature.clone()),
        }
    }
}

struct Tools {
    functions: Vec<Value>,
    names: ToolNames,
    custom: HashSet<String>,
}

impl Tools {
    fn add(&mut self, tool: Tool, dropped: &mut Dropped) -> Result<(), NotConverted> {
        match tool {
            Tool::Function { function: FunctionTool { name, description, parameters, strict } } => {
                dropped.add_if(strict == Some(true), "tools.strict");
                let name = self.names.sent_with_letter(&name);
                self.functions.push(function(name, description, parameters.as_ref()));
            }
            Tool::Custom { custom: Custom { name, description, format } } => {
                let name = self.names.sent_with_letter(&name);
                self.custom.insert(name.clone());
                let grammar = format.and_then(|format| format.grammar);
                let grammar =
                    grammar.as_ref().map(|grammar| (grammar.syntax.as_str(), grammar.definition.as_str()));
                let description = Some(custom_description(description, grammar));
                self.functions.push(function(name, description, Some(&custom_parameters())));
            }
            Tool::Other => {
                return Err(NotConverted::unsupported("tools", "one of them is of an unknown type"));
            }
        }
        Ok(())
    }

    fn choose(&mut self, choice: Option<ToolChoice>) -> Result<Choice, NotConverted> {
        let known = |name: &String| self.functions.iter().any(|function| function["name"] == name.as_str());
        match choice {
            None => Ok(Choice::Free),
            Some(ToolChoice::Mode(mode)) => mode_of(&mode),
            Some(ToolChoice::Named(NamedToolChoice { allowed_tools: Some(allowed), .. })) => {
                let names = allowed.tools.iter().filter_map(NamedToolChoice::name);
                let names: Vec<String> =
                    names.map(|name| self.names.sent_with_letter(name)).filter(known).collect();
                match mode_of(&allowed.mode)? {
                    _ if names.is_empty() => Ok(Choice::None),
                    choice => Ok(Choice::Of { names, must: choice == Choice::Any }),
                }
            }
            Some(ToolChoice::Named(choice)) => {
                let name = self.names.sent_with_letter(choice.name().unwrap_or_default());
                if known(&name) {
                    return Ok(Choice::Of { names: vec![name], must: true });
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
