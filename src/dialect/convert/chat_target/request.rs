//! A request of Chat Completions as it is written: for `OpenAI` as it wants it, for those who imitate it such that they
//! all take it.

use serde::Serialize;
use serde_json::{Value, json};

use crate::crypto::secret_text::sha256;
use crate::dialect::convert::contract::{
    AnswerConverter, ConvertedRequest, Dropped, NotConverted, RequestContext,
};
use crate::domain::model_name::canonical;
use crate::domain::model_traits::{Effort, Reasoning};

/// The most sequences that `stop` takes.
const STOPS_MAX: usize = 4;

/// The members in the order that they are written in; the conversation is the last of what prompt caches begin with.
#[derive(Debug, Default, Serialize)]
pub struct Request {
    model: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
    pub messages: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<Effort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
}

impl Request {
    #[must_use]
    pub fn new(context: &RequestContext<'_>, stream: bool) -> Self {
        let conversation = context.conversation.filter(|_| is_openai(context.model));
        Self {
            model: context.model.to_owned(),
            prompt_cache_key: conversation.map(str::to_owned),
            stream: stream.then_some(true),
            stream_options: stream.then(|| json!({"include_usage": true})),
            ..Self::default()
        }
    }

    /// `OpenAI`'s newer models refuse `max_tokens`; Mistral and others refuse its successor, and others again pass it over
    /// and would answer without a bound.
    pub fn limit(&mut self, max_tokens: Option<u64>, context: &RequestContext<'_>) {
        let most = context.traits.max_output_tokens.unwrap_or(u64::MAX);
        let max_tokens = max_tokens.map(|tokens| tokens.min(most));
        if is_openai(context.model) {
            self.max_completion_tokens = max_tokens;
        } else {
            self.max_tokens = max_tokens;
        }
    }

    /// How much the model is to think; `field` is left out where it takes none such word.
    ///
    /// Of a model that nobody knows only the words are used that all servers have: it thinks as it does by itself rather
    /// than be told `none`, which many refuse.
    pub fn think(
        &mut self,
        asked: Effort,
        field: &'static str,
        context: &RequestContext<'_>,
        dropped: &mut Dropped,
    ) {
        let is_strange = context.traits.reasoning == Reasoning::Unknown && !is_openai(context.model);
        self.reasoning_effort = match asked {
            Effort::None if is_strange => None,
            asked if is_strange => Some(asked.clamp(Effort::Low, Effort::High)),
            asked => context.traits.reasoning.nearest(asked),
        };
        dropped.add_if(self.reasoning_effort.is_none() && asked != Effort::None, field);
    }

    /// At most as many as are taken; a model of `OpenAI`'s that reasons takes none.
    pub fn stop_at(
        &mut self,
        stops: Vec<String>,
        field: &'static str,
        context: &RequestContext<'_>,
        dropped: &mut Dropped,
    ) {
        let most = if is_openai(context.model) && !context.traits.sampling { 0 } else { STOPS_MAX };
        dropped.add_if(stops.len() > most, field);
        self.stop = stops;
        self.stop.truncate(most);
    }

    /// The request as it is sent.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn converted(
        &self,
        dropped: Dropped,
        answer: Box<dyn AnswerConverter>,
    ) -> Result<ConvertedRequest, NotConverted> {
        let path_and_query = "/v1/chat/completions".to_owned();
        Ok(ConvertedRequest { path_and_query, body: serde_json::to_vec(self)?, dropped, answer })
    }
}

/// The id of an answer whose server gives it none.
#[must_use]
pub fn invented_id(body: &[u8]) -> String {
    let digest = sha256(body).first_chunk().copied().map_or(0, u64::from_be_bytes);
    format!("{digest:016x}")
}

/// Whether it is one of `OpenAI`'s own models, which it serves by its own rules; the open ones are served by others.
#[must_use]
pub fn is_openai(model: &str) -> bool {
    let name = canonical(model);
    let is_numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    (name.starts_with("gpt-") && !name.starts_with("gpt-oss"))
        || name.starts_with("chatgpt-")
        || name.starts_with("codex-")
        || name.strip_prefix('o').is_some_and(is_numbered)
}

/// Whether a server of the model refuses an assistant's message without what was thought before it, also where another
/// model has said it.
#[must_use]
pub fn needs_reasoning(model: &str) -> bool {
    let name = canonical(model);
    name.contains("deepseek") || name.contains("kimi")
}

/// A tool. `strict` is said in any case: servers differ in what they take for said.
#[must_use]
pub fn function(name: &str, description: Option<&str>, parameters: Option<&Value>, strict: bool) -> Value {
    let mut function = json!({"name": name});
    if let Some(description) = description.filter(|description| !description.is_empty()) {
        function["description"] = json!(description);
    }
    let none = || json!({"type": "object", "properties": {}});
    function["parameters"] = parameters.filter(|schema| schema.is_object()).cloned().unwrap_or_else(none);
    function["strict"] = json!(strict);
    json!({"type": "function", "function": function})
}

/// The choice of one tool.
#[must_use]
pub fn choice_of(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name}})
}

/// An answer of a schema. `strict` only where the schema is one that it can be asked of.
#[must_use]
pub fn schema_format(name: &str, schema: &Value) -> Value {
    let json_schema = json!({"name": name, "schema": schema, "strict": is_closed(schema)});
    json!({"type": "json_schema", "json_schema": json_schema})
}

/// Whether every object in a schema has all of its properties and no others: `OpenAI` refuses any other as strict.
#[must_use]
pub fn is_closed(schema: &Value) -> bool {
    let own = schema.as_object().is_none_or(|schema| {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return schema.get("type").and_then(Value::as_str) != Some("object");
        };
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        schema.get("additionalProperties") == Some(&Value::Bool(false))
            && properties.keys().all(|name| required.contains(&name.as_str()))
    });
    let inner = match schema {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| *name != "enum" && *name != "const")
            .all(|(_, value)| is_closed(value)),
        Value::Array(items) => items.iter().all(is_closed),
        _ => true,
    };
    own && inner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openais_own_models_are_told_by_their_names() {
        for (name, expected) in [
            ("gpt-5.6", true),
            ("openai/gpt-4o-mini", true),
            ("o3-mini", true),
            ("chatgpt-4o-latest", true),
            ("gpt-oss-120b", false),
            ("openai/gpt-oss:20b", false),
            ("olmo-3", false),
            ("deepseek-v4", false),
            ("qwen3-coder", false),
        ] {
            assert_eq!(is_openai(name), expected, "{name}");
        }
        assert!(needs_reasoning("moonshotai/Kimi-K2.5") && !needs_reasoning("qwen3"));
    }

    #[test]
    fn a_schema_is_strict_where_it_says_everything() {
        let closed = json!({"type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}},
            "required": ["a"], "additionalProperties": false});
        let open = json!({"type": "array", "items": {"type": "object", "properties": {"a": closed},
            "additionalProperties": false}});
        for (schema, strict) in [(closed, true), (open, false), (json!({"type": "object"}), false)] {
            assert_eq!(schema_format("n", &schema)["json_schema"]["strict"], strict, "{schema}");
        }
    }
}
