//! How an answer is made: how long it may be, which tools it may or has to call, how much is thought before, how freely
//! words are chosen; and which of them Anthropic takes together.

use serde_json::{Map, Number, Value, json};

use super::super::contract::{Dropped, NotConverted};
use crate::domain::model_traits::{Effort, ModelTraits, Reasoning};

/// The longest answer where neither the caller nor the catalogue says one.
const MAX_TOKENS: u64 = 32_000;
/// The least that a model may be told to think.
const BUDGET_MIN: u64 = 1_024;

/// Which tools are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Auto,
    /// Some tool.
    Any,
    Tool(String),
    None,
}

/// What the caller asks for, in whatever words.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Settings<'s> {
    pub traits: &'s ModelTraits,
    pub max_tokens: u64,
    pub has_tools: bool,
    pub choice: Choice,
    pub is_parallel: bool,
    /// None where the caller says nothing of it.
    pub effort: Option<Effort>,
    /// Whether the caller wants to read what is thought.
    pub wants_thoughts: bool,
    /// Whether it has thought before its last calls, if there are any.
    pub thinks_in_turn: bool,
    pub temperature: Option<&'s Number>,
    pub top_p: Option<&'s Number>,
    /// `output_config.format`.
    pub format: Option<Value>,
}

/// How long the answer may be.
#[must_use]
pub fn max_tokens(asked: Option<u64>, traits: &ModelTraits) -> u64 {
    match (asked, traits.max_output_tokens) {
        (Some(asked), Some(most)) => asked.min(most),
        (Some(asked), None) => asked,
        (None, most) => most.unwrap_or(MAX_TOKENS),
    }
}

impl Settings<'_> {
    /// Adds what is asked for to the request; `effort` is what the caller calls how much is thought.
    ///
    /// # Errors
    /// The model takes no such request.
    pub fn write(
        self,
        request: &mut Map<String, Value>,
        dropped: &mut Dropped,
        effort: &'static str,
    ) -> Result<(), NotConverted> {
        let is_forced = self.has_tools && matches!(self.choice, Choice::Any | Choice::Tool(_));
        if is_forced && self.traits.always_thinks {
            let reason = "the model always thinks, and chooses by itself which tool it calls: ask for `auto`";
            return Err(NotConverted::unsupported("tool_choice", reason));
        }
        dropped.add_if(self.effort == Some(Effort::None) && self.traits.always_thinks, effort);
        if self.has_tools {
            self.write_choice(request);
        }
        let (thinking, taken) = self.thinking(is_forced);
        if self.effort.is_some_and(|effort| effort != Effort::None) && thinking.is_none() && taken.is_none() {
            dropped.add(effort);
        }
        let thinks = thinking.as_ref().is_some_and(|thinking| thinking["type"] != "disabled");
        let mut output = Map::new();
        if let Some(taken) = taken {
            output.insert("effort".to_owned(), taken.as_str().into());
        }
        if let Some(thinking) = thinking {
            request.insert("thinking".to_owned(), thinking);
        }
        if let Some(format) = self.format {
            output.insert("format".to_owned(), format);
        }
        if !output.is_empty() {
            request.insert("output_config".to_owned(), output.into());
        }
        sampling(request, self.temperature, self.top_p, self.traits.sampling && !thinks, dropped);
        Ok(())
    }

    fn write_choice(&self, request: &mut Map<String, Value>) {
        let mut choice = match &self.choice {
            Choice::Auto => json!({ "type": "auto" }),
            Choice::Any => json!({ "type": "any" }),
            Choice::Tool(name) => json!({ "type": "tool", "name": name }),
            Choice::None => json!({ "type": "none" }),
        };
        if !self.is_parallel && self.choice != Choice::None {
            choice["disable_parallel_tool_use"] = true.into();
        }
        request.insert("tool_choice".to_owned(), choice);
    }

    /// Where a tool has to be called, nothing may be thought.
    fn thinking(&self, is_forced: bool) -> (Option<Value>, Option<Effort>) {
        let always = self.traits.always_thinks;
        let adaptive = || {
            let mut thinking = json!({ "type": "adaptive" });
            // One that always thinks says between two tools in its thoughts what it is about.
            if self.wants_thoughts || always {
                thinking["display"] = "summarized".into();
            }
            (!is_forced).then_some(thinking)
        };
        match (&self.traits.reasoning, self.effort) {
            (Reasoning::None, _) | (Reasoning::Budget | Reasoning::Unknown, None) => (None, None),
            (_, Some(Effort::None)) if always => (adaptive(), None),
            (_, Some(Effort::None)) => (Some(json!({ "type": "disabled" })), None),
            // It wants to read thoughts, and leaves it to the model how many.
            (Reasoning::Effort(_), None) => ((self.wants_thoughts || always).then(adaptive).flatten(), None),
            (Reasoning::Effort(_) | Reasoning::Unknown, Some(asked)) => {
                let taken = self.traits.reasoning.nearest(asked).map(|effort| effort.max(Effort::Low));
                (adaptive(), taken)
            }
            (Reasoning::Budget, Some(asked)) => {
                // What is thought counts as output, and something has to be left to say.
                let budget = asked.budget().min(self.max_tokens.saturating_sub(1));
                let is_possible = !is_forced && self.thinks_in_turn && budget >= BUDGET_MIN;
                (is_possible.then(|| json!({ "type": "enabled", "budget_tokens": budget })), None)
            }
        }
    }
}

/// Anthropic's scale ends at 1, its newer models have none, and none takes both values, or any while it thinks.
fn sampling(
    request: &mut Map<String, Value>,
    temperature: Option<&Number>,
    top_p: Option<&Number>,
    is_taken: bool,
    dropped: &mut Dropped,
) {
    if let Some(temperature) = temperature {
        if is_taken {
            let is_more = temperature.as_f64().is_some_and(|temperature| temperature > 1.0);
            dropped.add_if(is_more, "temperature");
            let temperature = if is_more { 1.into() } else { Value::Number(temperature.clone()) };
            request.insert("temperature".to_owned(), temperature);
        } else {
            dropped.add("temperature");
        }
    }
    if let Some(top_p) = top_p {
        if is_taken && temperature.is_none() {
            request.insert("top_p".to_owned(), Value::Number(top_p.clone()));
        } else {
            dropped.add("top_p");
        }
    }
}
