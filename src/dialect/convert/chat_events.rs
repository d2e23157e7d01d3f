//! An answer of Chat Completions, whole or in chunks, as far as conversions act on it: `OpenAI`'s, and what those who
//! imitate it make of it. <https://platform.openai.com/docs/api-reference/chat>

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::upstream_error::UpstreamError;
use crate::domain::tokens::Tokens;

/// A whole answer, or a chunk of a stream.
#[derive(Debug, Default, Deserialize)]
pub struct Answer {
    #[serde(default, deserialize_with = "loose_text")]
    pub id: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub model: Option<String>,
    pub choices: Option<Vec<Choice>>,
    usage: Option<Value>,
    /// Groq's place for the usage of a stream.
    x_groq: Option<XGroq>,
    error: Option<Value>,
    #[serde(default, deserialize_with = "loose_text")]
    object: Option<String>,
}

#[derive(Debug, Deserialize)]
struct XGroq {
    usage: Option<Value>,
    error: Option<Value>,
}

impl Answer {
    /// The first choice: no caller can have asked for more.
    pub fn take_choice(&mut self) -> Option<Choice> {
        self.choices.take()?.into_iter().find(|choice| choice.index.is_none_or(|index| index == 0))
    }

    /// What was used so far; none where it is not said, or cannot be true.
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        let in_groq = self.x_groq.as_ref().and_then(|groq| groq.usage.as_ref());
        tokens(self.usage.as_ref().filter(|usage| usage.is_object()).or(in_groq)?)
    }

    /// The error that it is, if it is one: some servers have nothing but this way to say it when they have begun.
    #[must_use]
    pub fn error(&self, data: &str) -> Option<UpstreamError> {
        let says_so = |error: &Option<Value>| {
            error.as_ref().is_some_and(|error| !error.is_null() && error.as_str() != Some(""))
        };
        let in_groq = self.x_groq.as_ref().filter(|groq| says_so(&groq.error));
        if let Some(error) = in_groq.and_then(|groq| groq.error.as_ref()) {
            return Some(UpstreamError::of_value(None, error));
        }
        let is_error = says_so(&self.error) || self.object.as_deref() == Some("error");
        is_error.then(|| UpstreamError::read(None, data.as_bytes()))
    }
}

#[derive(Debug, Deserialize)]
pub struct Choice {
    index: Option<u64>,
    /// Of a chunk.
    delta: Option<Delta>,
    /// Of a whole answer; some servers have it in chunks, too.
    message: Option<Delta>,
    finish_reason: Option<String>,
    /// vLLM's: the sequence that the answer stopped at.
    stop_reason: Option<Value>,
}

impl Choice {
    pub fn take_delta(&mut self) -> Option<Delta> {
        self.delta.take().or_else(|| self.message.take())
    }

    /// Why the model stopped, once it has.
    #[must_use]
    pub fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_deref().filter(|reason| !reason.is_empty())
    }

    /// The sequence that it stopped at, where the server says so.
    #[must_use]
    pub fn stop_sequence(&self) -> Option<&str> {
        self.stop_reason.as_ref()?.as_str()
    }
}

/// What a chunk adds; a whole message has the same members.
#[derive(Debug, Default, Deserialize)]
pub struct Delta {
    pub content: Option<Content>,
    /// `DeepSeek`'s name of what the model thinks, and that of most servers.
    reasoning_content: Option<Value>,
    /// `OpenRouter`'s, Groq's, Ollama's, and vLLM's newer one.
    reasoning: Option<Value>,
    /// `OpenRouter`'s, of which parts may be readable to their provider alone.
    pub reasoning_details: Option<Vec<Value>>,
    pub refusal: Option<String>,
    pub tool_calls: Option<Vec<CallDelta>>,
    /// What calls were before there could be several.
    pub function_call: Option<FunctionDelta>,
}

/// The members in which servers say what the model thinks.
pub const REASONING_FIELDS: [&str; 2] = ["reasoning_content", "reasoning"];

impl Delta {
    /// What the model thinks, and the member that says so.
    #[must_use]
    pub fn reasoning(&self) -> Option<(&'static str, &str)> {
        let [content, plain] = REASONING_FIELDS;
        [(content, &self.reasoning_content), (plain, &self.reasoning)].into_iter().find_map(
            |(name, value)| {
                let text = value.as_ref()?.as_str()?;
                (!text.is_empty()).then_some((name, text))
            },
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Content {
    Plain(String),
    /// Mistral's.
    Parts(Vec<Part>),
    Other(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
pub struct Part {
    pub text: Option<String>,
    /// What the model thinks.
    pub thinking: Option<Vec<Part>>,
}

#[derive(Debug, Default, Deserialize)]
pub struct CallDelta {
    pub index: Option<u64>,
    #[serde(default, deserialize_with = "loose_text")]
    pub id: Option<String>,
    pub function: Option<FunctionDelta>,
}

#[derive(Debug, Default, Deserialize)]
pub struct FunctionDelta {
    pub name: Option<String>,
    arguments: Option<Value>,
}

impl FunctionDelta {
    /// The arguments' text: some servers send the object that it should be the text of.
    #[must_use]
    pub fn arguments(&self) -> String {
        match &self.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

/// What a usage says by all the names that the meter reads in such an answer, and as it counts them: a part that is
/// larger than its whole lies beside it, and what no name explains of a total is output. No prompt at all is no report.
fn tokens(usage: &Value) -> Option<Tokens> {
    let members = |names: &[&str], counts: &[&str]| {
        let objects = names.iter().filter_map(|name| usage.get(name));
        objects
            .flat_map(|object| counts.iter().filter_map(|name| object.get(name)))
            .map(count)
            .max()
            .unwrap_or(0)
    };
    let own =
        |counts: &[&str]| counts.iter().filter_map(|name| usage.get(name)).map(count).max().unwrap_or(0);
    let of_input = |counts: &[&str]| members(&["prompt_tokens_details", "input_tokens_details"], counts);
    let of_output =
        |counts: &[&str]| members(&["completion_tokens_details", "output_tokens_details"], counts);

    // The bare names are Moonshot's and Together's, and DeepSeek's; `cache_creation…` are Qwen's and those of relays.
    let cache_read = of_input(&["cached_tokens"]).max(own(&["cached_tokens", "prompt_cache_hit_tokens"]));
    let cache_write = of_input(&[
        "cache_write_tokens",
        "cache_creation_input_tokens",
        "cache_creation_tokens",
        "cached_creation_tokens",
    ]);
    let mut input = own(&["prompt_tokens", "input_tokens"]);
    if cache_read.saturating_add(cache_write) > input {
        input = input.saturating_add(cache_read).saturating_add(cache_write);
    }
    if input == 0 {
        return None;
    }
    let output =
        own(&["completion_tokens", "output_tokens"]).max(own(&["total_tokens"]).saturating_sub(input));
    let reasoning = of_output(&["reasoning_tokens"]).max(own(&["reasoning_tokens"])).min(output);
    Some(Tokens { input, output, cache_read, cache_write, reasoning, ..Tokens::default() })
}

/// A count; whatever is none is 0.
fn count(value: &Value) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
    let rounded = |number: f64| number as u64;
    value.as_u64().or_else(|| value.as_f64().map(rounded)).unwrap_or(0)
}

/// A text, or a number that stands for one.
fn loose_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(usage: &Value) -> Option<(u64, u64, u64, u64, u64)> {
        let answer: Answer = serde_json::from_value(json!({"id": 7, "usage": usage})).unwrap();
        let tokens = answer.tokens()?;
        Some((tokens.input, tokens.cache_read, tokens.cache_write, tokens.output, tokens.reasoning))
    }

    #[test]
    fn usage_is_read_by_the_names_of_all_servers() {
        for (usage, expected) in [
            (
                json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
                    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 12}}),
                Some((100, 60, 10, 20, 12)),
            ),
            (
                json!({"prompt_tokens": 100, "completion_tokens": 20.0, "total_tokens": 120,
                    "prompt_cache_hit_tokens": 64, "prompt_tokens_details": null}),
                Some((100, 64, 0, 20, 0)),
            ),
            // xAI's reasoning lies beside the output.
            (
                json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 150,
                    "completion_tokens_details": {"reasoning_tokens": 30}}),
                Some((100, 0, 0, 50, 30)),
            ),
            (json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}), None),
            (json!(null), None),
        ] {
            assert_eq!(tokens(&usage), expected, "{usage}");
        }
        let groq = r#"{"id":"a","choices":[],"x_groq":{"id":"r","usage":{"prompt_tokens":5,"completion_tokens":1}}}"#;
        let answer: Answer = serde_json::from_str(groq).unwrap();
        assert_eq!(answer.tokens().map(|tokens| (tokens.input, tokens.output)), Some((5, 1)));
    }

    #[test]
    fn an_error_is_found_wherever_a_server_says_it() {
        for (data, expected) in [
            (r#"{"error":{"message":"no memory","type":"server_error"}}"#, Some("no memory")),
            (
                r#"{"object":"error","message":"too many","type":"BadRequestError","code":400}"#,
                Some("too many"),
            ),
            (r#"{"id":"1","choices":[],"x_groq":{"error":"over capacity"}}"#, Some("over capacity")),
            (r#"{"id":"1","choices":[],"error":null}"#, None),
        ] {
            let answer: Answer = serde_json::from_str(data).unwrap();
            assert_eq!(answer.error(data).map(|error| error.message).as_deref(), expected, "{data}");
        }
    }
}
