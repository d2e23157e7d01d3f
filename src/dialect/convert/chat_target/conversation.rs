//! The messages of a request of Chat Completions, in the order that all servers take: what was thought, said and called
//! in one assistant's message, every call answered right behind it, then what the user says.

use serde_json::{Map, Value, json};

use super::reasoning::{self, Carried};
use super::request::{is_openai, needs_reasoning};
use crate::dialect::convert::tool_names;

/// The messages so far.
#[derive(Debug)]
pub struct Conversation {
    /// Servers of other models than `OpenAI`'s are many: for them texts are one text, since some take nothing else; what
    /// the system says later the user says, and whatever users say in a row is one message, since templates refuse
    /// anything else. All that it costs is that an interrupted turn's last message is longer in the next one.
    is_openai: bool,
    needs_reasoning: bool,
    messages: Vec<Value>,
    /// What users have said since.
    said: Vec<Part>,
    /// Calls that wait for their answer.
    open: Vec<String>,
}

/// What a user sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    /// A URL, which may hold the image itself.
    Image(String),
    /// The same, to be looked at as closely as is said.
    DetailedImage {
        url: String,
        detail: &'static str,
    },
    /// A PDF file, in a URL that holds it.
    File {
        name: String,
        data: String,
    },
}

/// What an assistant has said in one turn.
#[derive(Debug, Default)]
pub struct Turn {
    pub reasoning: Vec<Carried>,
    pub texts: Vec<String>,
    pub calls: Vec<Call>,
}

#[derive(Debug)]
pub struct Call {
    pub id: String,
    /// At the target.
    pub name: String,
    /// JSON.
    pub arguments: String,
}

/// What a call has come to.
#[derive(Debug)]
pub struct Outcome {
    pub id: String,
    pub text: String,
    /// What a tool's message cannot hold.
    pub media: Vec<Part>,
}

/// The answer to a call that has none.
const INTERRUPTED: &str = "The call was interrupted: it has no result.";

impl Conversation {
    #[must_use]
    pub fn new(model: &str) -> Self {
        Self {
            is_openai: is_openai(model),
            needs_reasoning: needs_reasoning(model),
            messages: Vec::new(),
            said: Vec::new(),
            open: Vec::new(),
        }
    }

    pub fn system(&mut self, texts: Vec<String>) {
        self.close();
        let texts: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        if texts.is_empty() {
            return;
        }
        if self.is_openai || (self.messages.is_empty() && self.said.is_empty()) {
            self.end_user();
            let content = self.content(&texts.into_iter().map(Part::Text).collect::<Vec<_>>());
            self.messages.push(json!({"role": "system", "content": content}));
        } else {
            self.said.push(Part::Text(reminder(&texts)));
        }
    }

    pub fn assistant(&mut self, turn: Turn) {
        self.close();
        let texts: Vec<String> = turn.texts.into_iter().filter(|text| !text.trim().is_empty()).collect();
        let mut thought = reasoning::members(&turn.reasoning);
        if texts.is_empty() && turn.calls.is_empty() && thought.is_empty() {
            return;
        }
        self.end_user();
        let mut message = Map::new();
        message.insert("role".to_owned(), json!("assistant"));
        let content =
            if texts.is_empty() && !turn.calls.is_empty() { None } else { Some(texts.join("\n\n")) };
        message.insert("content".to_owned(), json!(content));
        if thought.is_empty() && self.needs_reasoning {
            // Empty is refused as well.
            thought.insert("reasoning_content".to_owned(), json!(" "));
        }
        message.extend(thought);
        let calls: Vec<Value> = turn.calls.iter().map(Call::written).collect();
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), json!(calls));
        }
        self.open.extend(turn.calls.into_iter().map(|call| call.id));
        self.messages.push(Value::Object(message));
    }

    /// What comes back from the user's side in one turn: the outcome of calls, and what the user says.
    pub fn user(&mut self, outcomes: Vec<Outcome>, parts: Vec<Part>) {
        if self.is_openai {
            self.end_user();
        }
        let mut said = Vec::new();
        for Outcome { id, text, media } in outcomes {
            let of_call = format!("From the result of the tool call {id}:");
            if let Some(at) = self.open.iter().position(|open| *open == id) {
                self.open.remove(at);
                self.messages.push(answer_to(&id, &text));
                if !media.is_empty() {
                    said.push(Part::Text(of_call));
                }
            } else {
                // A tool's message is refused where its call is not right before it.
                said.push(Part::Text(format!("{of_call}\n{text}")));
            }
            said.extend(media);
        }
        self.close();
        said.extend(
            parts.into_iter().filter(|part| !matches!(part, Part::Text(text) if text.trim().is_empty())),
        );
        self.said.append(&mut said);
    }

    fn end_user(&mut self) {
        let said = std::mem::take(&mut self.said);
        if !said.is_empty() {
            let content = self.content(&said);
            self.messages.push(json!({"role": "user", "content": content}));
        }
    }

    /// Answers the calls that were left without an answer.
    fn close(&mut self) {
        for id in std::mem::take(&mut self.open) {
            self.messages.push(answer_to(&id, INTERRUPTED));
        }
    }

    fn content(&self, parts: &[Part]) -> Value {
        let texts: Option<Vec<&str>> = parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        match texts.as_deref() {
            Some([text]) => json!(text),
            Some(texts) if !self.is_openai => json!(texts.join("\n\n")),
            _ => parts.iter().map(Part::written).collect(),
        }
    }

    #[must_use]
    pub fn finish(mut self) -> Vec<Value> {
        self.close();
        self.end_user();
        self.messages
    }
}

/// What the system says, where only the user can say it.
fn reminder(texts: &[String]) -> String {
    format!("<system-reminder>\n{}\n</system-reminder>", texts.join("\n\n"))
}

fn answer_to(id: &str, text: &str) -> Value {
    json!({"role": "tool", "tool_call_id": sent_id(id), "content": text})
}

/// The id of a call as servers take it: any characters, of which some think something, but not too many.
fn sent_id(id: &str) -> String {
    if id.len() <= 64 { id.to_owned() } else { tool_names::bounded(id) }
}

impl Part {
    fn written(&self) -> Value {
        match self {
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::Image(url) => json!({"type": "image_url", "image_url": {"url": url}}),
            Self::DetailedImage { url, detail } => {
                json!({"type": "image_url", "image_url": {"url": url, "detail": detail}})
            }
            Self::File { name, data } => {
                json!({"type": "file", "file": {"filename": name, "file_data": data}})
            }
        }
    }
}

impl Call {
    fn written(&self) -> Value {
        json!({
            "id": sent_id(&self.id),
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Call {
        Call { id: id.to_owned(), name: "f".to_owned(), arguments: "{}".to_owned() }
    }

    fn outcome(id: &str, media: Vec<Part>) -> Outcome {
        Outcome { id: id.to_owned(), text: "done".to_owned(), media }
    }

    #[test]
    fn every_call_is_answered_right_behind_it_and_nothing_else_is() {
        let mut conversation = Conversation::new("qwen3");
        conversation.system(vec!["a".to_owned(), "b".to_owned()]);
        conversation.assistant(Turn { calls: vec![call("1"), call("2")], ..Turn::default() });
        let image = Part::Image("data:image/png;base64,AA==".to_owned());
        let rest = vec![Part::Text("and".to_owned())];
        conversation.user(vec![outcome("2", vec![image]), outcome("9", vec![])], rest);
        conversation.assistant(Turn { calls: vec![call(&"3".repeat(65))], ..Turn::default() });
        conversation.system(vec!["c".to_owned()]);
        let messages = conversation.finish();
        let roles: Vec<&str> = messages.iter().filter_map(|message| message["role"].as_str()).collect();
        assert_eq!(roles, ["system", "assistant", "tool", "tool", "user", "assistant", "tool", "user"]);
        assert_eq!(messages[0]["content"], "a\n\nb");
        assert_eq!(messages[1]["content"], Value::Null);
        assert_eq!(
            (&messages[2]["tool_call_id"], &messages[3]["content"]),
            (&json!("2"), &json!(INTERRUPTED))
        );
        assert_eq!(
            messages[4]["content"],
            json!([
                {"type": "text", "text": "From the result of the tool call 2:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "text", "text": "From the result of the tool call 9:\ndone"},
                {"type": "text", "text": "and"},
            ])
        );
        assert_eq!(messages[5]["tool_calls"][0]["id"], messages[6]["tool_call_id"]);
        assert!(messages[6]["tool_call_id"].as_str().is_some_and(|id| id.len() <= 64));
        assert_eq!(messages[7]["content"], "<system-reminder>\nc\n</system-reminder>");
    }

    #[test]
    fn borders_between_texts_stay_where_the_server_knows_them() {
        let texts = || vec!["a".to_owned(), "b".to_owned()];
        let mut conversation = Conversation::new("gpt-5.6");
        conversation.system(texts());
        conversation.user(vec![], texts().into_iter().map(Part::Text).collect());
        conversation.system(texts());
        let two = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        assert_eq!(
            conversation.finish(),
            [
                json!({"role": "system", "content": two}),
                json!({"role": "user", "content": two}),
                json!({"role": "system", "content": two}),
            ]
        );
    }

    #[test]
    fn what_users_say_in_a_row_is_one_message_where_templates_want_it() {
        let said = |model: &str| {
            let mut conversation = Conversation::new(model);
            conversation.user(vec![], vec![Part::Text("a".to_owned())]);
            conversation.system(vec!["b".to_owned()]);
            conversation.user(vec![], vec![Part::Text("c".to_owned())]);
            conversation.assistant(Turn { texts: vec!["d".to_owned()], ..Turn::default() });
            conversation.user(vec![], vec![Part::Text("e".to_owned())]);
            let messages = conversation.finish().into_iter();
            messages.map(|message| format!("{} {}", message["role"], message["content"])).collect::<Vec<_>>()
        };
        assert_eq!(
            said("devstral"),
            [
                r#""user" "a\n\n<system-reminder>\nb\n</system-reminder>\n\nc""#,
                r#""assistant" "d""#,
                r#""user" "e""#
            ]
        );
        assert_eq!(
            said("gpt-4.1"),
            [r#""user" "a""#, r#""system" "b""#, r#""user" "c""#, r#""assistant" "d""#, r#""user" "e""#]
        );
    }

    #[test]
    fn a_server_that_wants_back_what_was_thought_gets_something_where_another_model_has_thought() {
        let said = |model: &str| {
            let mut conversation = Conversation::new(model);
            conversation.assistant(Turn { texts: vec!["a".to_owned()], ..Turn::default() });
            conversation.finish()
        };
        assert_eq!(
            said("kimi-k2.5"),
            [json!({"role": "assistant", "content": "a", "reasoning_content": " "})]
        );
        assert_eq!(said("qwen3"), [json!({"role": "assistant", "content": "a"})]);
    }
}
