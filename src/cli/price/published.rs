//! A published price list, in the form that LiteLLM keeps its own in: a JSON object of models, each with what a token of
//! each class costs in USD, under names that end in `_cost` or `_per_token`, with a suffix for a tier.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::price::{Entry, Factor, LongContext, Price, Rates, Source, pico_per_token};

/// Where a price has the rate of a class.
type Rate = fn(&mut Rates) -> &mut u64;

/// The classes: by its name in the list, and in a price.
const CLASSES: [(&str, Rate); 5] = [
    ("input_cost_per_token", |rates| &mut rates.input),
    ("output_cost_per_token", |rates| &mut rates.output),
    ("cache_read_input_token_cost", |rates| &mut rates.cache_read),
    ("cache_creation_input_token_cost", |rates| &mut rates.cache_write),
    ("cache_creation_input_token_cost_above_1hr", |rates| &mut rates.cache_write_1h),
];
/// Suffixes of the classes for a service tier, and what it is called here.
const TIERS: [(&str, &str); 3] = [("_batches", "batch"), ("_flex", "flex"), ("_priority", "priority")];
const MILLION: f64 = 1e6;

/// What the list says of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// With the model's name for a glob.
    pub entry: Entry,
    pub provider: String,
    /// What it says beside that and costs something, which no entry here can say.
    pub not_taken: Vec<String>,
}

/// The models that cost something by the token.
///
/// # Errors
/// In words: it is no such list, or a price in it is none.
pub fn read(text: &str) -> Result<BTreeMap<String, Published>, String> {
    let list: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| format!("it is no list of prices, which is a JSON object of models: {error}"))?;
    let mut models = BTreeMap::new();
    for (name, fields) in &list {
        // The list begins with an example that explains its fields.
        let Some(fields) = fields.as_object().filter(|_| name != "sample_spec") else { continue };
        let costs_by_token = |class: &str| fields.get(class).and_then(Value::as_f64).is_some();
        if costs_by_token("input_cost_per_token") || costs_by_token("output_cost_per_token") {
            let model = model(name, fields).map_err(|reason| format!("{name}: {reason}"))?;
            models.insert(name.clone(), model);
        }
    }
    if models.is_empty() {
        return Err("it names no model that costs anything by the token".to_owned());
    }
    Ok(models)
}

fn model(name: &str, fields: &Map<String, Value>) -> Result<Published, String> {
    let base = rates(fields, "", None)?;
    let base = base.ok_or("it says neither what input costs nor what output costs")?;
    let mut taken: Vec<String> = CLASSES.iter().map(|(class, _)| (*class).to_owned()).collect();
    let mut long_context = None;
    if let Some(above) = smallest_tier(fields) {
        let suffix = format!("_above_{above}k_tokens");
        taken.extend(CLASSES.iter().map(|(class, _)| format!("{class}{suffix}")));
        let rates = rates(fields, &suffix, Some(base))?;
        long_context =
            rates.map(|rates| LongContext { above_input_tokens: above.saturating_mul(1_000), rates });
    }
    let mut multipliers = Vec::new();
    for (suffix, tier) in TIERS {
        let named = CLASSES.iter().map(|(class, _)| format!("{class}{suffix}"));
        let named: Vec<String> = named.filter(|class| fields.contains_key(class)).collect();
        if let Some(millionths) = factor(fields, suffix) {
            multipliers.push(Factor { name: tier.to_owned(), millionths });
            taken.extend(named);
        }
    }
    let costs = |(field, value): (&String, &Value)| {
        let is_cost = field.contains("cost") && value.as_f64().is_some_and(|cost| cost != 0.0);
        (is_cost && !taken.contains(field)).then(|| field.clone())
    };
    let price = Price { base, long_context, glob: name.to_owned(), factors: Vec::new() };
    Ok(Published {
        entry: Entry { price: Arc::new(price), multipliers, source: Source::File },
        provider: fields.get("litellm_provider").and_then(Value::as_str).unwrap_or_default().to_owned(),
        not_taken: fields.iter().filter_map(costs).collect(),
    })
}

/// The rates with a suffix. A class that is not named costs what it costs otherwise, by `else_by`, or as input does. `None`
/// if neither input nor output is named.
fn rates(fields: &Map<String, Value>, suffix: &str, else_by: Option<Rates>) -> Result<Option<Rates>, String> {
    let named = |class: &str| match fields.get(&format!("{class}{suffix}")) {
        None | Some(Value::Null) => Ok(None),
        Some(cost) => {
            let pico = cost.as_f64().and_then(|usd| pico_per_token(usd * MILLION));
            pico.map(Some).ok_or_else(|| format!("`{class}{suffix}` is no price: {cost}"))
        }
    };
    if named("input_cost_per_token")?.is_none() && named("output_cost_per_token")?.is_none() {
        return Ok(None);
    }
    let mut rates = else_by.unwrap_or_default();
    let input = named("input_cost_per_token")?;
    for (class, rate) in CLASSES {
        match (named(class)?, else_by) {
            (Some(pico), _) => *rate(&mut rates) = pico,
            (None, None) if class != "output_cost_per_token" => {
                *rate(&mut rates) = input.unwrap_or_default();
            }
            (None, _) => {}
        }
    }
    // Where only the shorter of the two is named, an hour costs 1.6 of it, as in [prices].
    if named("cache_creation_input_token_cost_above_1hr")?.is_none()
        && let Some(write) = named("cache_creation_input_token_cost")?
    {
        rates.cache_write_1h = write.saturating_mul(16) / 10;
    }
    Ok(Some(rates))
}

/// The least number of thousands of tokens above which other rates hold.
fn smallest_tier(fields: &Map<String, Value>) -> Option<u64> {
    let tiers = fields.keys().filter_map(|field| {
        let (_, rest) = field.split_once("_above_")?;
        rest.strip_suffix("k_tokens")?.parse().ok()
    });
    tiers.min()
}

/// What a tier makes of the price, in millionths, if it makes the same of input and output.
fn factor(fields: &Map<String, Value>, suffix: &str) -> Option<u32> {
    let share = |class: &str| {
        let of = |name: &str| fields.get(name).and_then(Value::as_f64).filter(|cost| *cost > 0.0);
        Some((of(&format!("{class}{suffix}"))? / of(class)? * MILLION).round())
    };
    let (input, output) = (share("input_cost_per_token")?, share("output_cost_per_token")?);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in these bounds")]
    ((input - output).abs() <= 1.0 && (1.0..=1e8).contains(&input)).then_some(input as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::prices::toml_line;

    #[test]
    fn an_entry_says_what_the_list_says() {
        let list = r#"{
            "sample_spec": { "input_cost_per_token": "the cost", "mode": "one of: chat, embedding" },
            "claude-x": { "litellm_provider": "anthropic", "mode": "chat", "max_tokens": 8192,
                "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
                "cache_read_input_token_cost": 3e-07, "cache_creation_input_token_cost": 3.75e-06,
                "cache_creation_input_token_cost_above_1hr": 6e-06,
                "input_cost_per_token_above_200k_tokens": 6e-06, "output_cost_per_token_above_200k_tokens": 2.25e-05,
                "input_cost_per_token_batches": 1.5e-06, "output_cost_per_token_batches": 7.5e-06,
                "search_context_cost_per_query": { "search_context_size_low": 0.01 },
                "output_cost_per_image": 0.04, "supports_vision": true },
            "short": { "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
                "cache_creation_input_token_cost": 1e-06, "input_cost_per_token_flex": 5e-07 },
            "pictures": { "output_cost_per_image": 0.04, "mode": "image_generation" }
        }"#;
        let models = read(list).unwrap();
        assert_eq!(models.keys().collect::<Vec<_>>(), ["claude-x", "short"]);
        let model = &models["claude-x"];
        assert_eq!(
            toml_line(&model.entry),
            "\"claude-x\" = { input = 3, output = 15, cache_read = 0.3, cache_write = 3.75, cache_write_1h = 6, batch = 0.5, \
             long_context = { above = 200000, input = 6, output = 22.5, cache_read = 0.3, cache_write = 3.75, cache_write_1h = 6 } }"
        );
        assert_eq!(
            (model.provider.as_str(), &*model.not_taken),
            ("anthropic", &["output_cost_per_image".to_owned()][..])
        );
        assert_eq!(
            toml_line(&models["short"].entry),
            "\"short\" = { input = 1, output = 2, cache_read = 1, cache_write = 1, cache_write_1h = 1.6 }"
        );
        assert_eq!(models["short"].not_taken, ["input_cost_per_token_flex"], "of the output it says nothing");
    }

    #[test]
    fn what_is_no_list_is_said_in_words() {
        for (list, said) in [
            ("", "no list of prices"),
            ("[]", "no list of prices"),
            ("{}", "names no model"),
            (r#"{"m":{"input_cost_per_token":-1}}"#, "m: `input_cost_per_token` is no price: -1"),
            (
                r#"{"m":{"input_cost_per_token":1,"output_cost_per_token":"x"}}"#,
                "`output_cost_per_token` is no price",
            ),
            (r#"{"m":{"input_cost_per_token":1e9}}"#, "is no price"),
        ] {
            let error = read(list).unwrap_err();
            assert!(error.contains(said), "{list}: {error}");
        }
    }
}
