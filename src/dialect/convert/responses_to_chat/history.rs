//! The items of a conversation of Responses, one after another, as messages of Chat Completions.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::dialect::convert::chat_target::call_ids::CallIds;
use crate::dialect::convert::chat_target::conversation::{Call, Conversation, Outcome, Part, Turn};
use crate::dialect::convert::chat_target::reasoning;
use crate::dialect::convert::contract::{Dropped, NotConverted, RequestContext};
use crate::dialect::convert::responses::{Item, Part as OwnPart, Role};
use crate::dialect::convert::responses_settings::other_item;
use crate::dialect::convert::responses_tools::{Output, Turn as OwnTurn};

/// Makes messages of items. Neighbours of one role become one message.
pub(super) struct History<'c> {
    context: &'c RequestContext<'c>,
    dropped: &'c mut Dropped,
    ids: &'c mut CallIds,
    conversation: Conversation,
    /// What the system says before anybody else does.
    system: Vec<String>,
    has_begun: bool,
    /// What the assistant says, and the places of its calls.
    turn: Turn,
    calls: Vec<usize>,
    /// What comes back.
    parts: Vec<Part>,
    is_answered: bool,
    /// What each call has come to, by its place: what belongs behind a call may come later.
    outcomes: HashMap<usize, Outcome>,
}

/// Whose part it is: what a tool has read is said not to be readable, where what the user sends is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Users,
    Tools,
}

impl<'c> History<'c> {
    pub(super) fn new(
        context: &'c RequestContext<'c>,
        dropped: &'c mut Dropped,
        ids: &'c mut CallIds,
    ) -> Self {
        Self {
            context,
            dropped,
            ids,
            conversation: Conversation::new(context.model),
            system: Vec::new(),
            has_begun: false,
            turn: Turn::default(),
            calls: Vec::new(),
            parts: Vec::new(),
            is_answered: false,
            outcomes: HashMap::new(),
        }
    }

    /// An item of `instructions`, whose roles do not matter.
    pub(super) fn instruct(&mut self, item: Item) -> Result<(), NotConverted> {
        match item {
            Item::Message { content, .. } => {
                for part in content.parts() {
                    self.system.push(words(part)?);
                }
                Ok(())
            }
            _ => Err(NotConverted::unsupported("instructions", "it has other items than messages")),
        }
    }

    /// The whole conversation.
    pub(super) fn messages(mut self, turns: Vec<OwnTurn>) -> Result<Vec<serde_json::Value>, NotConverted> {
        let mut orphans = self.find_outcomes(&turns)?;
        for (at, turn) in turns.into_iter().enumerate() {
            match turn {
                OwnTurn::Call(call) => {
                    self.begin_assistant();
                    self.calls.push(at);
                    let arguments = serde_json::Value::Object(call.arguments).to_string();
                    let id = self.ids.sent(&call.id);
                    self.turn.calls.push(Call { id, name: call.name, arguments });
                }
                OwnTurn::Output(_) => {
                    self.begin_answer();
                    if let Some(Outcome { id, text, media }) = orphans.remove(&at) {
                        self.parts
                            .push(Part::Text(format!("From the result of the tool call {id}:\n{text}")));
                        self.parts.extend(media);
                    }
                }
                OwnTurn::Item(item) => self.item(item)?,
            }
        }
        self.begin();
        self.end_turn();
        Ok(self.conversation.finish())
    }

    /// Finds what each call has come to: the last output behind it counts. Outputs without a call come back.
    fn find_outcomes(&mut self, turns: &[OwnTurn]) -> Result<HashMap<usize, Outcome>, NotConverted> {
        let mut orphans = HashMap::new();
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (at, turn) in turns.iter().enumerate() {
            match turn {
                OwnTurn::Call(call) => {
                    last.insert(&call.id, at);
                }
                OwnTurn::Output(output) => {
                    let outcome = self.outcome(output)?;
                    match last.get(output.call_id.as_str()) {
                        Some(call) => self.outcomes.insert(*call, outcome),
                        None => orphans.insert(at, outcome),
                    };
                }
                OwnTurn::Item(_) => {}
            }
        }
        Ok(orphans)
    }

    fn outcome(&mut self, output: &Output) -> Result<Outcome, NotConverted> {
        let (mut texts, mut media) = (Vec::new(), Vec::new());
        for part in &output.parts {
            match self.part(part, Whose::Tools)? {
                Part::Text(text) => texts.push(text),
                part => media.push(part),
            }
        }
        let mut text = texts.join("\n");
        if output.is_error {
            text = format!("Error: {text}");
        }
        Ok(Outcome { id: self.ids.sent(&output.call_id), text, media })
    }

    fn item(&mut self, item: Item) -> Result<(), NotConverted> {
        match item {
            Item::Message { role: Role::User, content } => {
                self.begin_answer();
                for part in content.parts() {
                    let part = self.part(&part, Whose::Users)?;
                    self.parts.push(part);
                }
            }
            Item::Message { role: Role::Assistant, content } => {
                self.begin_assistant();
                for part in content.parts() {
                    self.turn.texts.push(words(part)?);
                }
            }
            Item::Message { role: Role::System | Role::Developer, content } => {
                let texts = content.parts().into_iter().map(words).collect::<Result<Vec<_>, _>>()?;
                self.system_says(texts);
            }
            Item::Reasoning { encrypted_content, .. } => {
                let packed = encrypted_content.unwrap_or_default();
                match reasoning::unpack(self.context.model, &packed) {
                    Some(carried) => {
                        self.begin_assistant();
                        self.turn.reasoning.push(carried);
                    }
                    None => self.dropped.add("input.reasoning"),
                }
            }
            Item::Other(kind) => other_item(&kind, self.dropped)?,
            // Taken before, or run by the provider, whose models have read it.
            _ => {}
        }
        Ok(())
    }

    fn system_says(&mut self, texts: Vec<String>) {
        if self.has_begun {
            self.end_turn();
            self.conversation.system(texts);
        } else {
            self.system.extend(texts);
        }
    }

    /// Somebody else than the system says something.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.conversation.system(std::mem::take(&mut self.system));
        }
    }

    fn begin_assistant(&mut self) {
        self.begin();
        if self.is_answered {
            self.end_turn();
        }
    }

    fn begin_answer(&mut self) {
        self.begin();
        self.is_answered = true;
    }

    fn end_turn(&mut self) {
        self.is_answered = false;
        self.conversation.assistant(std::mem::take(&mut self.turn));
        let calls = std::mem::take(&mut self.calls);
        let outcomes = calls.into_iter().filter_map(|call| self.outcomes.remove(&call)).collect();
        self.conversation.user(outcomes, std::mem::take(&mut self.parts));
    }

    /// A part of what the user, or a tool, says.
    fn part(&mut self, part: &OwnPart, whose: Whose) -> Result<Part, NotConverted> {
        const FILE_ID: &str = "files that its own provider keeps cannot be read there: send its content";
        let read = match part {
            OwnPart::InputText { text } => return Ok(Part::Text(text.clone())),
            OwnPart::InputImage { .. } if !self.context.traits.images => {
                Err(("input_image", "the model reads no images"))
            }
            OwnPart::InputImage { image_url: Some(url), detail, .. } => {
                Ok(self.image(url.clone(), detail.as_deref()))
            }
            OwnPart::InputImage { .. } => Err(("input_image.file_id", FILE_ID)),
            OwnPart::InputFile { file_data: Some(data), filename, .. } => {
                self.file(data, filename.as_deref()).map_err(|reason| ("input_file.file_data", reason))
            }
            OwnPart::InputFile { file_url: Some(_), .. } => {
                Err(("input_file.file_url", "send the file itself"))
            }
            OwnPart::InputFile { .. } => Err(("input_file.file_id", FILE_ID)),
            OwnPart::Refusal { refusal } => return Ok(Part::Text(refusal.clone())),
            OwnPart::InputAudio => Err(("input_audio", "its models do not hear")),
            OwnPart::Other => Err(("input.content", "a part of it is of an unknown type")),
        };
        match read {
            Ok(part) => Ok(part),
            Err((field, reason)) if whose == Whose::Users => Err(NotConverted::unsupported(field, reason)),
            // The conversation could not go on for what a tool has found.
            Err((field, _)) => {
                self.dropped.add("input.output");
                let what = field.split('.').next().unwrap_or(field);
                Ok(Part::Text(format!("[The result has here a part of type `{what}` that cannot be read.]")))
            }
        }
    }

    /// `auto` is what is done anyway, and need not be known to a server.
    fn image(&mut self, url: String, detail: Option<&str>) -> Part {
        match detail {
            None | Some("auto") => Part::Image(url),
            Some("low") => Part::DetailedImage { url, detail: "low" },
            Some("high") => Part::DetailedImage { url, detail: "high" },
            Some(_) => {
                self.dropped.add("input_image.detail");
                Part::Image(url)
            }
        }
    }

    fn file(&self, data: &str, name: Option<&str>) -> Result<Part, &'static str> {
        let (media_type, base64) =
            match data.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
                Some(read) => read,
                None if name.is_some_and(|name| name.to_ascii_lowercase().ends_with(".pdf")) => {
                    ("application/pdf", data)
                }
                None => return Err("it is no `data:` in base64"),
            };
        let media_type = media_type.split(';').next().unwrap_or(media_type);
        if media_type.starts_with("text/") || media_type == "application/json" {
            let text = STANDARD.decode(base64).ok().and_then(|text| String::from_utf8(text).ok());
            let text = text.ok_or("it is not text in UTF-8")?;
            let head = name.map(|name| format!("{name}\n\n")).unwrap_or_default();
            return Ok(Part::Text(format!("{head}{text}")));
        }
        if media_type != "application/pdf" {
            return Err("only PDF files and text are taken");
        }
        if !self.context.traits.documents {
            return Err("the model reads no PDF files");
        }
        Ok(Part::File {
            name: name.unwrap_or("document.pdf").to_owned(),
            data: format!("data:{media_type};base64,{base64}"),
        })
    }
}

/// What can only be words.
fn words(part: OwnPart) -> Result<String, NotConverted> {
    match part {
        OwnPart::InputText { text } => Ok(text),
        OwnPart::Refusal { refusal } => Ok(refusal),
        OwnPart::InputImage { .. } => {
            Err(NotConverted::unsupported("input_image", "only the user can show one"))
        }
        OwnPart::InputFile { .. } => {
            Err(NotConverted::unsupported("input_file", "only the user can send one"))
        }
        OwnPart::InputAudio => Err(NotConverted::unsupported("input_audio", "its models do not hear")),
        OwnPart::Other => {
            Err(NotConverted::unsupported("input.content", "a part of it is of an unknown type"))
        }
    }
}
