//! What a request of Gemini has beside its conversation: tools, how much to think, how to answer, and where it is sent.
//! <https://ai.google.dev/api/generate-content>

use serde_json::{Map, Number, Value, json};

use super::schema;
use super::signature::generation;
use crate::cloud::percent;
use crate::dialect::convert::contract::{Dropped, NotConverted, RequestContext};
use crate::domain::model_traits::{Effort, ModelTraits, Reasoning};

/// How many sequences may end an answer.
const STOP_SEQUENCES_MAX: usize = 5;
/// The generation since which functions go together with answers by a schema.
const FORMAT_BESIDE_FUNCTIONS_SINCE: u32 = 3;
/// The most tokens of thoughts that a model may be told to take: one called `pro`, and another.
const BUDGETS_MAX: [u64; 2] = [32_768, 24_576];
/// The fewest of a model that cannot do without.
const PRO_BUDGET_MIN: u64 = 128;

/// What a call is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Document,
    Stream,
    Count,
}

/// Path and query of a call. A model's name is one segment, whatever is in it: callers choose names.
///
/// # Errors
/// No model can have that name.
pub fn path_and_query(model: &str, wanted: Wanted) -> Result<String, NotConverted> {
    let (collection, name) = match model.strip_prefix("tunedModels/") {
        Some(name) => ("tunedModels", name),
        None => ("models", model.strip_prefix("models/").unwrap_or(model)),
    };
    if matches!(name, "" | "." | "..") {
        return Err(NotConverted::unsupported("model", "no model has such a name"));
    }
    let name = percent::encode(name.as_bytes(), b"@");
    let verb = match wanted {
        Wanted::Document => "generateContent",
        Wanted::Stream => "streamGenerateContent?alt=sse",
        Wanted::Count => "countTokens",
    };
    Ok(format!("/v1beta/{collection}/{name}:{verb}"))
}

/// How a model is to answer.
#[derive(Debug, Default)]
pub struct Settings {
    pub max_tokens: Option<u64>,
    pub stop_sequences: Vec<String>,
    pub temperature: Option<Number>,
    pub top_p: Option<Number>,
    pub top_k: Option<Number>,
    pub effort: Option<Effort>,
    /// Tokens of thoughts.
    pub budget: Option<u64>,
    pub wants_thoughts: bool,
    pub format: Option<Format>,
}

/// An answer has to be JSON, and satisfy the schema, if there is one.
#[derive(Debug)]
pub struct Format(pub Option<Value>);

impl Settings {
    /// `generationConfig`. What the model is to be told instead comes back. `stop`: the caller's name for
    /// `stopSequences`.
    pub fn write(
        self,
        context: &RequestContext<'_>,
        has_functions: bool,
        stop: &'static str,
        dropped: &mut Dropped,
    ) -> (Map<String, Value>, Option<String>) {
        let mut config = Map::new();
        if let Some(most) = self.max_tokens {
            let most = context.traits.max_output_tokens.map_or(most, |limit| most.min(limit));
            config.insert("maxOutputTokens".to_owned(), most.into());
        }
        for (name, field, value) in [
            ("temperature", "temperature", &self.temperature),
            ("topP", "top_p", &self.top_p),
            ("topK", "top_k", &self.top_k),
        ] {
            let Some(value) = value else { continue };
            if context.traits.sampling {
                config.insert(name.to_owned(), value.clone().into());
            } else {
                dropped.add(field);
            }
        }
        let mut sequences = self.stop_sequences.clone();
        sequences.retain(|sequence| !sequence.is_empty());
        dropped.add_if(sequences.len() > STOP_SEQUENCES_MAX, stop);
        sequences.truncate(STOP_SEQUENCES_MAX);
        if !sequences.is_empty() {
            config.insert("stopSequences".to_owned(), sequences.into());
        }
        if let Some(thinking) = self.thinking(context.model, context.traits) {
            config.insert("thinkingConfig".to_owned(), thinking);
        }
        let told = self.format.and_then(|format| format.write(context.model, has_functions, &mut config));
        (config, told)
    }

    fn thinking(&self, model: &str, traits: &ModelTraits) -> Option<Value> {
        let asked = self.effort.or_else(|| self.budget.map(Effort::of_budget));
        let budget = || self.budget.or_else(|| self.effort.map(Effort::budget));
        let mut thinking = Map::new();
        let mut set = |name: &str, value: Value| _ = thinking.insert(name.to_owned(), value);
        match &traits.reasoning {
            Reasoning::None => return None,
            Reasoning::Budget => {
                if let Some(budget) = budget() {
                    set("thinkingBudget", bounded_budget(model, budget).into());
                }
            }
            Reasoning::Unknown if self.effort.is_none() => {
                if let Some(budget) = self.budget {
                    set("thinkingBudget", budget.into());
                }
            }
            reasoning => match asked.and_then(|asked| reasoning.nearest(asked)) {
                Some(Effort::None) => set("thinkingBudget", 0.into()),
                Some(effort) => set("thinkingLevel", level(effort).into()),
                None => {}
            },
        }
        if self.wants_thoughts {
            set("includeThoughts", true.into());
        }
        (!thinking.is_empty()).then(|| thinking.into())
    }
}

fn level(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        // It is the highest that the API has.
        Effort::High | Effort::Xhigh | Effort::Max => "HIGH",
    }
}

fn bounded_budget(model: &str, budget: u64) -> u64 {
    let [most_of_pro, most] = BUDGETS_MAX;
    if model.contains("-pro") { budget.clamp(PRO_BUDGET_MIN, most_of_pro) } else { budget.min(most) }
}

impl Format {
    /// Into `generationConfig`; for a model that cannot have that, it comes back in words.
    fn write(self, model: &str, has_functions: bool, config: &mut Map<String, Value>) -> Option<String> {
        if has_functions && generation(model).is_some_and(|number| number < FORMAT_BESIDE_FUNCTIONS_SINCE) {
            const JSON: &str = "Answer with one JSON value, and nothing else.";
            return Some(match self.0 {
                Some(schema) => format!("{JSON} It has to satisfy this schema: {schema}"),
                None => JSON.to_owned(),
            });
        }
        config.insert("responseMimeType".to_owned(), "application/json".into());
        if let Some(schema) = self.0 {
            config.insert("responseJsonSchema".to_owned(), schema::cleaned(&schema));
        }
        None
    }
}

/// A function's declaration. `name`: as it is sent.
#[must_use]
pub fn function(name: String, description: Option<String>, parameters: Option<&Value>) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), name.into());
    if let Some(description) = description.filter(|description| !description.is_empty()) {
        function.insert("description".to_owned(), description.into());
    }
    if let Some(parameters) = parameters.and_then(schema::parameters) {
        function.insert("parametersJsonSchema".to_owned(), parameters);
    }
    function.into()
}

/// Which functions are to be called.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing is said of it.
    Free,
    Auto,
    None,
    Any,
    /// One of these, by the names as they are sent; `must`: and no words instead.
    Of {
        names: Vec<String>,
        must: bool,
    },
}

/// `tools` and `toolConfig`. A search of the web is possible without functions alone: together they ask for calls of
/// the search to be sent back, which callers of other APIs do not keep.
pub fn add_tools(body: &mut Map<String, Value>, functions: &[Value], searches: bool, choice: &Choice) {
    if !functions.is_empty() {
        body.insert("tools".to_owned(), json!([{ "functionDeclarations": functions }]));
        let config = match choice {
            Choice::Free => return,
            Choice::Auto => json!({ "mode": "AUTO" }),
            Choice::None => json!({ "mode": "NONE" }),
            Choice::Any => json!({ "mode": "ANY" }),
            Choice::Of { names, must: true } => json!({ "mode": "ANY", "allowedFunctionNames": names }),
            Choice::Of { names, must: false } => {
                json!({ "mode": "VALIDATED", "allowedFunctionNames": names })
            }
        };
        body.insert("toolConfig".to_owned(), json!({ "functionCallingConfig": config }));
    } else if searches {
        body.insert("tools".to_owned(), json!([{ "googleSearch": {} }]));
    }
}

/// What the model is told before everything else.
pub fn add_system(body: &mut Map<String, Value>, texts: Vec<String>) {
    if !texts.is_empty() {
        let parts: Vec<Value> = texts.into_iter().map(|text| json!({ "text": text })).collect();
        body.insert("systemInstruction".to_owned(), json!({ "parts": parts }));
    }
}

/// What is said in the middle of a conversation by whoever runs it.
#[must_use]
pub fn reminder(text: &str) -> Value {
    json!({ "text": format!("<system-reminder>\n{text}\n</system-reminder>") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_model_is_one_segment_of_the_path() {
        let path = |model| path_and_query(model, Wanted::Count).unwrap_or_default();
        for (model, expected) in [
            ("gemini-3-pro", "/v1beta/models/gemini-3-pro:countTokens"),
            ("models/gemini-3-pro", "/v1beta/models/gemini-3-pro:countTokens"),
            ("tunedModels/mine", "/v1beta/tunedModels/mine:countTokens"),
            ("x/../../files?key=é:", "/v1beta/models/x%2F..%2F..%2Ffiles%3Fkey%3D%C3%A9%3A:countTokens"),
            ("..", ""),
            ("models/", ""),
        ] {
            assert_eq!(path(model), expected, "{model}");
        }
    }

    #[test]
    fn a_model_is_told_how_much_to_think_in_its_own_way() {
        let efforts = Reasoning::Effort(vec![Effort::Low, Effort::Medium, Effort::High]);
        let (effort, budget) = (|effort| (Some(effort), None), |budget| (None, Some(budget)));
        for (model, reasoning, (effort, budget), expected) in [
            ("gemini-3-pro", &efforts, effort(Effort::Max), json!({ "thinkingLevel": "HIGH" })),
            ("gemini-3-pro", &efforts, effort(Effort::None), json!({ "thinkingLevel": "LOW" })),
            ("gemini-3-pro", &efforts, budget(5_000), json!({ "thinkingLevel": "MEDIUM" })),
            ("gemini-2.5-flash", &Reasoning::Budget, budget(30_000), json!({ "thinkingBudget": 24_576 })),
            ("gemini-2.5-flash", &Reasoning::Budget, effort(Effort::None), json!({ "thinkingBudget": 0 })),
            ("gemini-2.5-pro", &Reasoning::Budget, effort(Effort::None), json!({ "thinkingBudget": 128 })),
            ("gemini-2.5-pro", &Reasoning::Budget, effort(Effort::Low), json!({ "thinkingBudget": 2_048 })),
            ("tuned", &Reasoning::Unknown, budget(777), json!({ "thinkingBudget": 777 })),
            ("tuned", &Reasoning::Unknown, effort(Effort::Xhigh), json!({ "thinkingLevel": "HIGH" })),
            ("gemini-2.0-flash", &Reasoning::None, effort(Effort::High), Value::Null),
            ("gemini-3-pro", &efforts, (None, None), Value::Null),
        ] {
            let traits = ModelTraits { reasoning: reasoning.clone(), ..ModelTraits::default() };
            let settings = Settings { effort, budget, ..Settings::default() };
            assert_eq!(settings.thinking(model, &traits).unwrap_or_default(), expected, "{model}");
        }
    }
}
