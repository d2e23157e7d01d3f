//! Codex' catalogue of models: an entry for each model that somebody may use at the gateway (`ModelInfo` in openai/codex).
//! What Codex knows itself stays as it is; of the others it learns what the gateway knows.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::model_name::canonical;

/// What a model is told that Codex has no instructions for.
const INSTRUCTIONS: &str = include_str!("codex_instructions.md");
/// The window of a model that nobody knows one of: Codex' own guess.
const USUAL_WINDOW: u64 = 272_000;
/// The efforts that every version of Codex knows.
const USUAL_EFFORTS: [&str; 3] = ["low", "medium", "high"];
/// Places in Codex' list after those of its own.
const FIRST_PLACE: usize = 100;
/// What of Codex' own entries holds for their models alone, and must not be filled in for another.
const OF_ONE_MODEL: [&str; 18] = [
    "model_messages",
    "default_service_tier",
    "available_access_programs",
    "auto_compact_token_limit",
    "comp_hash",
    "tool_mode",
    "multi_agent_version",
    "multi_agent_reasoning_effort",
    "model_specialty",
    "guardian",
    "auto_review_model_override",
    "node_repl_auto_review_required",
    "node_repl_disabled",
    "supports_reasoning_effort_updates",
    "supports_experimental_context",
    "use_responses_lite",
    "minimal_client_version",
    "prefer_websockets",
];

/// A model of `/me/models`.
#[derive(Clone, Debug, Deserialize)]
pub struct GatewayModel {
    pub id: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    context_tokens: Option<u64>,
    #[serde(default)]
    max_output_tokens: Option<u64>,
    tools: bool,
    images: bool,
    reasoning: String,
    #[serde(default)]
    efforts: Vec<String>,
    apis: Vec<ReachedIn>,
}

#[derive(Clone, Debug, Deserialize)]
struct ReachedIn {
    api: String,
    converted: bool,
}

/// What Codex knows without anybody's help.
#[derive(Debug, Default)]
pub struct Known(Vec<Map<String, Value>>);

impl GatewayModel {
    /// Whether its calls are converted from the Responses API; none: it is not reached in it.
    fn is_converted(&self) -> Option<bool> {
        self.apis.iter().find(|reached| reached.api == "openai-responses").map(|reached| reached.converted)
    }

    /// Whether Codex can work with it: it does nothing without tools.
    fn is_of_use(&self) -> bool {
        self.tools && self.is_converted().is_some()
    }
}

impl Known {
    /// The catalogue that Codex prints; none if it is none, or an empty one.
    pub fn read(printed: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Printed {
            models: Vec<Map<String, Value>>,
        }
        let Printed { models } = serde_json::from_slice(printed).ok()?;
        let all_named = models.iter().all(|entry| entry.get("slug").is_some_and(Value::is_string));
        (all_named && !models.is_empty()).then_some(Self(models))
    }

    /// Whether there is an entry for a model.
    pub fn has(&self, slug: &str) -> bool {
        self.0.iter().any(|entry| slug_of(entry) == slug)
    }

    /// Codex' entry for a model: by its name, by its maker's name for it, or by that without a date.
    fn find(&self, model: &GatewayModel) -> Option<&Map<String, Value>> {
        let by_name = |name: &str| self.0.iter().find(|entry| slug_of(entry) == name);
        by_name(&model.id).or_else(|| {
            // By another name it is certain to be that model only where it is called as Codex calls it.
            let own = canonical(&model.id);
            let found = || by_name(&own).or_else(|| by_name(without_date(&own)?));
            (model.is_converted() == Some(false)).then(found)?
        })
    }

    fn efforts(&self) -> HashSet<&str> {
        let levels = self.0.iter().filter_map(|entry| entry.get("supported_reasoning_levels")?.as_array());
        let levels = levels.flatten();
        let efforts = levels.filter_map(|level| level.get("effort")?.as_str());
        efforts.chain(USUAL_EFFORTS).collect()
    }
}

/// The catalogue, and for how many models of the gateway's; none if there is no model for Codex. `fill`: what entries have
/// that this Codex knows, and that are not made here, is taken from one of its own.
pub fn catalogue(known: &Known, models: &[GatewayModel], fill: bool) -> Option<(Value, usize)> {
    let usable: Vec<&GatewayModel> = models.iter().filter(|model| model.is_of_use()).collect();
    if usable.is_empty() {
        return None;
    }
    let names: HashSet<&str> = usable.iter().map(|model| model.id.as_str()).collect();
    let efforts = known.efforts();
    // Rather one whose API everybody has.
    let is_plain = |entry: &&Map<String, Value>| entry.get("use_responses_lite") != Some(&json!(true));
    let template = known.0.iter().find(is_plain).or(known.0.first()).filter(|_| fill);
    let mut entries: HashMap<&str, Map<String, Value>> = HashMap::new();
    for (place, model) in usable.iter().enumerate() {
        let entry = match known.find(model) {
            Some(known) => as_known(known, model, &names),
            None => of_unknown(model, FIRST_PLACE + place, &efforts, template),
        };
        entries.insert(&model.id, entry);
    }
    let mut all = Vec::new();
    for entry in &known.0 {
        // What Codex knows of a model goes on to hold, but only what can be used is offered.
        let hidden = || {
            let mut entry = entry.clone();
            entry.insert("visibility".to_owned(), "hide".into());
            entry
        };
        all.push(Value::Object(entries.remove(slug_of(entry)).unwrap_or_else(hidden)));
    }
    let rest = usable.iter().filter_map(|model| entries.remove(model.id.as_str()));
    all.extend(rest.map(Value::Object));
    Some((json!({ "models": all }), usable.len()))
}

/// What Codex knows of a model, under its name here.
fn as_known(known: &Map<String, Value>, model: &GatewayModel, names: &HashSet<&str>) -> Map<String, Value> {
    let mut entry = known.clone();
    if slug_of(known) != model.id {
        entry.insert("slug".to_owned(), model.id.clone().into());
        entry.insert("display_name".to_owned(), shown(model).into());
    }
    let upgrade = known.get("upgrade").and_then(|upgrade| upgrade.get("model")).and_then(Value::as_str);
    if upgrade.is_some_and(|upgrade| !names.contains(upgrade)) {
        entry.insert("upgrade".to_owned(), Value::Null);
    }
    entry
}

/// Everything that any version of Codex asks for.
fn of_unknown(
    model: &GatewayModel,
    place: usize,
    known_efforts: &HashSet<&str>,
    template: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let efforts: Vec<&str> = match model.reasoning.as_str() {
        "effort" => model.efforts.iter().map(String::as_str).collect(),
        // The gateway makes a budget of an effort.
        "budget" => USUAL_EFFORTS.to_vec(),
        _ => Vec::new(),
    };
    let efforts: Vec<&str> = efforts.into_iter().filter(|effort| known_efforts.contains(effort)).collect();
    let usual = efforts.iter().find(|effort| **effort == "medium").or(efforts.first());
    let levels: Vec<Value> = efforts
        .iter()
        .map(|effort| json!({ "effort": effort, "description": description(effort) }))
        .collect();
    let modalities = if model.images { json!(["text", "image"]) } else { json!(["text"]) };
    // The gateway makes a function of a tool that takes text; of servers that nobody has asked that is not certain.
    let apply_patch = if model.is_converted() == Some(true) { json!("freeform") } else { Value::Null };
    let window = window(model.context_tokens, model.max_output_tokens);
    let fields = json!({
        "slug": model.id,
        "display_name": shown(model),
        "description": null,
        "default_reasoning_level": usual,
        "supported_reasoning_levels": levels,
        // An older version's word, which newer ones know.
        "shell_type": "shell_command",
        "visibility": "list",
        "supported_in_api": true,
        "priority": place,
        "additional_speed_tiers": [],
        "service_tiers": [],
        "include_apps_usage_instructions": false,
        "availability_nux": null,
        "upgrade": null,
        "base_instructions": INSTRUCTIONS,
        "supports_reasoning_summaries": !efforts.is_empty(),
        "default_reasoning_summary": "auto",
        "support_verbosity": false,
        "default_verbosity": null,
        "apply_patch_tool_type": apply_patch,
        "web_search_tool_type": "text",
        "truncation_policy": { "mode": "tokens", "limit": 10_000 },
        "supports_parallel_tool_calls": true,
        "supports_image_detail_original": false,
        "context_window": window,
        "max_context_window": model.context_tokens.unwrap_or(window),
        "effective_context_window_percent": 95,
        "experimental_supported_tools": [],
        "input_modalities": modalities,
        "supports_search_tool": false,
    });
    let Value::Object(mut entry) = fields else { return Map::new() };
    for (key, value) in template.into_iter().flatten() {
        if !OF_ONE_MODEL.contains(&key.as_str()) && !entry.contains_key(key) {
            entry.insert(key.clone(), value.clone());
        }
    }
    if let Some(shell) = template.and_then(|template| template.get("shell_type")) {
        entry.insert("shell_type".to_owned(), shell.clone());
    }
    entry
}

/// What Codex takes for its input: of a window that input and output share, what the longest answer leaves; but half of it,
/// as hardly an answer is that long.
fn window(context: Option<u64>, output: Option<u64>) -> u64 {
    let Some(context) = context else { return USUAL_WINDOW };
    context.saturating_sub(output.unwrap_or(0)).max(context / 2)
}

fn shown(model: &GatewayModel) -> &str {
    model.display_name.as_deref().unwrap_or(&model.id)
}

fn slug_of(entry: &Map<String, Value>) -> &str {
    entry.get("slug").and_then(Value::as_str).unwrap_or_default()
}

/// `gpt-5.5-2026-04-23` → `gpt-5.5`.
fn without_date(name: &str) -> Option<&str> {
    let (rest, date) = name.split_at_checked(name.len().checked_sub("-2026-04-23".len())?)?;
    let is_date = date.bytes().enumerate().all(|(at, byte)| match at {
        0 | 5 | 8 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    is_date.then_some(rest)
}

fn description(effort: &str) -> &'static str {
    match effort {
        "none" => "No reasoning",
        "minimal" => "Hardly any reasoning",
        "low" => "Little reasoning, quick answers",
        "medium" => "As much reasoning as most tasks need",
        "high" => "More reasoning, for hard tasks",
        "xhigh" => "Much reasoning, for very hard tasks",
        _ => "As much reasoning as the model can do",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(id: &str, more: &Value) -> GatewayModel {
        let mut model = json!({
            "id": id, "tools": true, "images": true, "reasoning": "unknown", "efforts": [],
            "apis": [{ "api": "openai-responses", "converted": true }],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            model[key] = value.clone();
        }
        serde_json::from_value(model).expect("a model")
    }

    fn known() -> Known {
        let entries = json!({ "models": [
            { "slug": "gpt-lite", "use_responses_lite": true, "visibility": "list", "new": "lite",
              "upgrade": { "model": "gpt-9" } },
            { "slug": "gpt-plain", "visibility": "list", "new": "plain", "shell_type": "their_word", "comp_hash": "1",
              "upgrade": { "model": "gpt-lite" }, "supported_reasoning_levels": [{ "effort": "xhigh" }] },
            { "slug": "review", "visibility": "hide" },
        ] });
        Known::read(entries.to_string().as_bytes()).expect("a catalogue")
    }

    fn made(known: &Known, models: &[GatewayModel], fill: bool) -> HashMap<String, Value> {
        let (catalogue, _) = catalogue(known, models, fill).expect("a catalogue");
        let entries = catalogue["models"].as_array().expect("entries").clone();
        entries.into_iter().map(|entry| (entry["slug"].as_str().expect("a slug").to_owned(), entry)).collect()
    }

    #[test]
    fn what_codex_knows_stays_and_what_nobody_may_use_is_not_offered() {
        let as_it_is = json!({ "apis": [{ "api": "openai-responses", "converted": false }] });
        let models = [
            model("gpt-lite", &json!({ "context_tokens": 5 })),
            model("openai/gpt-plain", &as_it_is),
            model("gpt-plain-2026-04-23", &as_it_is),
        ];
        let made = made(&known(), &models, false);
        let entry = |slug: &str| &made[slug];
        assert_eq!(made.len(), 5);
        let mut lite = json!(known().0[0]);
        // To where nobody can follow, nobody is led.
        lite["upgrade"] = Value::Null;
        assert_eq!(*entry("gpt-lite"), lite);
        assert_eq!(entry("openai/gpt-plain")["upgrade"], json!({ "model": "gpt-lite" }));
        assert_eq!(entry("openai/gpt-plain")["display_name"], "openai/gpt-plain");
        assert_eq!(entry("gpt-plain-2026-04-23")["new"], "plain");
        assert_eq!(
            (&entry("gpt-plain")["visibility"], &entry("gpt-plain")["new"]),
            (&json!("hide"), &json!("plain"))
        );
        assert_eq!(entry("review")["visibility"], "hide");
    }

    #[test]
    fn of_a_model_that_codex_does_not_know_it_learns_what_the_gateway_knows() {
        let models = [
            model(
                "a",
                &json!({
                    "display_name": "A", "context_tokens": 200_000, "max_output_tokens": 32_000, "images": false,
                    "reasoning": "effort", "efforts": ["low", "medium", "xhigh", "max"],
                }),
            ),
            model(
                "b",
                &json!({ "reasoning": "budget", "context_tokens": 10, "max_output_tokens": 8,
                "apis": [{ "api": "openai-responses", "converted": false }] }),
            ),
            model("c", &json!({})),
        ];
        let made = made(&known(), &models, false);
        let efforts = |slug: &str| -> Vec<&str> {
            let levels = made[slug]["supported_reasoning_levels"].as_array().expect("levels");
            levels.iter().map(|level| level["effort"].as_str().expect("an effort")).collect()
        };
        // `max` is none of this Codex'.
        assert_eq!(efforts("a"), ["low", "medium", "xhigh"]);
        assert_eq!(efforts("b"), ["low", "medium", "high"]);
        assert!(efforts("c").is_empty() && made["c"]["default_reasoning_level"].is_null());
        let field = |slug: &str, field: &str| made[slug][field].clone();
        assert_eq!(field("a", "display_name"), "A");
        assert_eq!(field("c", "display_name"), "c");
        assert_eq!(["a", "b", "c"].map(|slug| field(slug, "context_window")), [168_000, 5, 272_000]);
        assert_eq!(["a", "b", "c"].map(|slug| field(slug, "max_context_window")), [200_000, 10, 272_000]);
        assert_eq!(
            (field("a", "input_modalities"), field("b", "input_modalities")),
            (json!(["text"]), json!(["text", "image"]))
        );
        assert_eq!(
            (field("a", "apply_patch_tool_type"), field("b", "apply_patch_tool_type")),
            (json!("freeform"), Value::Null)
        );
        assert_eq!(field("a", "default_reasoning_level"), "medium");
        assert!(field("a", "new").is_null());
    }

    #[test]
    fn what_only_a_newer_codex_asks_for_is_filled_in_from_its_own_entries() {
        let made = made(&known(), &[model("a", &json!({}))], true);
        assert_eq!((&made["a"]["new"], &made["a"]["shell_type"]), (&json!("plain"), &json!("their_word")));
        assert!(made["a"].get("comp_hash").is_none() && made["a"]["visibility"] == "list");
    }

    #[test]
    fn without_a_model_for_codex_there_is_no_catalogue() {
        let elsewhere = json!({ "apis": [{ "api": "gemini", "converted": false }] });
        let models = [model("a", &json!({ "tools": false })), model("b", &elsewhere)];
        assert!(catalogue(&known(), &models, false).is_none());
        assert!(Known::read(b"{\"models\":[]}").is_none() && Known::read(b"no").is_none());
        let (alone, count) =
            catalogue(&Known::default(), &[model("a", &json!({}))], true).expect("a catalogue");
        assert_eq!((alone["models"].as_array().map(Vec::len), count), (Some(1), 1));
    }
}
