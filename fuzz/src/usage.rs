//! What each dialect says of usage: an object of counts, as a document and as a stream of each dialect that has one.
//!
//! Both are counted alike, and it matters neither where a body is cut nor how it is compressed nor which member of the
//! object stands first.

use serde_json::Value;
use sproxy::metering::{AnswerHead, MeterResult};

use super::coded::{READ_CODINGS, coded};
use super::input::Input;
use super::json::members;
use super::meter::head;
use super::reading::{read, read_alike};

/// 40 bytes.
const CONTENT: [&str; 2] = ["01234567890123456789", "01234567890123456789"];

/// In whose words an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Chat,
    Responses,
    Messages,
    Gemini,
    Ollama,
    Embeddings,
}

pub const SHAPES: [Shape; 6] =
    [Shape::Chat, Shape::Responses, Shape::Messages, Shape::Gemini, Shape::Ollama, Shape::Embeddings];

/// An answer before and behind its usage.
type Around = (String, String);

impl Shape {
    fn document(self) -> Around {
        let content = CONTENT.concat();
        let (before, behind) = match self {
            Self::Chat => (
                format!(
                    r#"{{"model":"m","choices":[{{"message":{{"content":"{content}"}},"finish_reason":"stop"}}],"usage":"#
                ),
                "}",
            ),
            Self::Responses => (
                format!(
                    r#"{{"model":"m","status":"completed","error":null,"output":[{{"type":"message","content":[{{"type":"output_text","text":"{content}"}}]}}],"usage":"#
                ),
                "}",
            ),
            Self::Messages => (
                format!(
                    r#"{{"model":"m","type":"message","content":[{{"type":"text","text":"{content}"}}],"stop_reason":"end_turn","usage":"#
                ),
                "}",
            ),
            Self::Gemini => (
                format!(
                    r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{content}"}}]}},"finishReason":"STOP"}}],"usageMetadata":"#
                ),
                r#","modelVersion":"m"}"#,
            ),
            Self::Ollama => (
                format!(
                    r#"{{"model":"m","message":{{"role":"assistant","content":"{content}"}},"done":true,"#
                ),
                "}",
            ),
            Self::Embeddings => (r#"{"model":"m","data":[{"embedding":[0.5]}],"usage":"#.to_owned(), "}"),
        };
        (before, behind.to_owned())
    }

    /// None where the dialect has no such stream.
    fn stream(self) -> Option<Around> {
        let [one, two] = CONTENT;
        let (before, behind) = match self {
            Self::Chat => {
                let delta = |text, more| {
                    format!(
                        "data: {{\"model\":\"m\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}{more}}}],\"usage\":null}}\n\n"
                    )
                };
                (
                    format!(
                        "{}{}data: {{\"model\":\"m\",\"choices\":[],\"usage\":",
                        delta(one, ""),
                        delta(two, r#","finish_reason":"stop""#)
                    ),
                    "}\n\ndata: [DONE]\n\n",
                )
            }
            Self::Responses => {
                let delta = |text| {
                    format!("data: {{\"type\":\"response.output_text.delta\",\"delta\":\"{text}\"}}\n\n")
                };
                (
                    format!(
                        "data: {{\"type\":\"response.created\",\"response\":{{\"model\":\"m\",\"usage\":null}}}}\n\n{}{}data: {{\"type\":\"response.completed\",\"response\":{{\"model\":\"m\",\"status\":\"completed\",\"usage\":",
                        delta(one),
                        delta(two)
                    ),
                    "}}\n\n",
                )
            }
            Self::Messages => {
                let delta = |text| {
                    format!(
                        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
                    )
                };
                (
                    format!(
                        "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"model\":\"m\",\"usage\":{{\"output_tokens\":1}}}}}}\n\n{}{}event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":",
                        delta(one),
                        delta(two)
                    ),
                    "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
                )
            }
            Self::Gemini => {
                let chunk = |text| {
                    format!(
                        "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}]}}}}],\"modelVersion\":\"m\"}}\n\n"
                    )
                };
                (
                    format!(
                        "{}{}data: {{\"candidates\":[{{\"finishReason\":\"STOP\"}}],\"usageMetadata\":",
                        chunk(one),
                        chunk(two)
                    ),
                    "}\n\n",
                )
            }
            Self::Ollama => {
                let line = |text| {
                    format!("{{\"model\":\"m\",\"message\":{{\"content\":\"{text}\"}},\"done\":false}}\n")
                };
                (
                    format!(
                        "{}{}{{\"model\":\"m\",\"message\":{{\"content\":\"\"}},\"done\":true,",
                        line(one),
                        line(two)
                    ),
                    "}\n",
                )
            }
            Self::Embeddings => return None,
        };
        Some((before, behind.to_owned()))
    }

    /// The usage as it stands between: Ollama's counts are members of the answer itself.
    fn usage(self, members: &str) -> String {
        if self == Self::Ollama { members.to_owned() } else { format!("{{{members}}}") }
    }

    fn stream_type(self) -> &'static str {
        if self == Self::Ollama { "application/x-ndjson" } else { "text/event-stream" }
    }
}

/// A letter for the shape, one for the coding, and what stands in the usage's braces.
pub fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let shape = input.choice(&SHAPES);
    let coding = input.choice(&READ_CODINGS);
    let Ok(pieces) = input.pieces().into_iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>()
    else {
        return;
    };
    let document = head(Some("application/json"), None);
    let stream = head(Some(shape.stream_type()), None);
    let counted = counted(&document, &shape.document(), &brace(shape, &pieces), coding);
    let streamed =
        shape.stream().map(|around| self::counted(&stream, &around, &brace(shape, &pieces), coding));
    let object = format!("{{{}}}", pieces.concat());
    let Some(listed) = members(object.as_bytes()) else { return };
    // A line of a stream is all that it has.
    if object.contains(['\n', '\r']) {
        return;
    }
    if let Some(streamed) = streamed
        && !speaks_of_the_answer(shape, &listed)
    {
        assert_eq!(streamed, counted, "as a stream and as a document");
    }
    // Of a count that is there twice the last one holds.
    if has_no_two_of_a_name(&listed) && !listed.iter().any(|(name, _)| name == "usage") {
        let turned: Vec<String> = listed
            .iter()
            .rev()
            .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
            .collect();
        let body = [shape.document().0, shape.usage(&turned.join(",")), shape.document().1].concat();
        let turned = read(&document, [body.as_bytes()]);
        assert_eq!(turned.whole().tokens, counted.tokens, "in another order");
    }
}

fn brace(shape: Shape, pieces: &[&str]) -> Vec<String> {
    if shape == Shape::Ollama {
        return pieces.iter().map(|piece| (*piece).to_owned()).collect();
    }
    let mut pieces: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
    pieces.insert(0, "{".to_owned());
    pieces.push("}".to_owned());
    pieces
}

/// The result of an answer whose usage is in these pieces, whatever way it comes.
fn counted(head: &AnswerHead<'_>, (before, behind): &Around, usage: &[String], coding: &str) -> MeterResult {
    let mut pieces = vec![before.as_bytes()];
    pieces.extend(usage.iter().map(String::as_bytes));
    pieces.push(behind.as_bytes());
    let plain = read_alike(head, &pieces);
    let body = coded(coding, &pieces.concat());
    let packed = read_alike(&AnswerHead { content_encoding: Some(coding), ..*head }, &[&*body]);
    assert_eq!(packed, plain, "in {coding}");
    plain.results[0].clone()
}

/// Ollama's counts stand where an answer says other things, which a document says once and a stream in each line.
fn speaks_of_the_answer(shape: Shape, listed: &[(String, Value)]) -> bool {
    shape == Shape::Ollama
        && listed.iter().any(|(name, _)| !name.ends_with("_count") && !name.ends_with("_duration"))
}

fn has_no_two_of_a_name(listed: &[(String, Value)]) -> bool {
    let names: std::collections::BTreeSet<&str> = listed.iter().map(|(name, _)| name.as_str()).collect();
    names.len() == listed.len()
}
