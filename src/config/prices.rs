//! `[prices]`: USD per million tokens, by globs over model names. The list that comes with the binary is overridden
//! entry by entry.

use figment::value::{Dict, Tag, Value};

use super::keys::no_such;
use super::table::{Reading, text_of};
use crate::domain::price::{LongContext, Price, PriceList, Rates, pico_per_token};

/// The price list that comes with the binary.
const BUILT_IN: &str = include_str!("prices.toml");
/// The entry that prices models which no glob knows.
const DEFAULT: &str = "default";
const CLASSES: [&str; 5] = ["input", "output", "cache_read", "cache_write", "cache_write_1h"];
const LONG_CONTEXT: &str = "long_context";
const ABOVE: &str = "above";

/// The price list: the binary's own, then what is written.
pub(super) fn read(reading: &Reading<'_>, written: Option<&Value>) -> PriceList {
    let built_in = built_in();
    let empty = Dict::new();
    let written = match written {
        Some(Value::Dict(_, entries)) => entries,
        Some(other) => {
            reading.wrong("prices", other.tag(), "has to be a table of globs");
            &empty
        }
        None => &empty,
    };
    let mut fallback = Price::default();
    let mut layers = [Vec::new(), Vec::new()];
    let built_in = built_in.iter().map(|entry| (0, entry));
    for (layer, (glob, value)) in built_in.chain(written.iter().map(|entry| (1, entry))) {
        let key = format!("prices.\"{glob}\"");
        if globset::Glob::new(glob).is_err() {
            reading.wrong(&key, value.tag(), "is no glob");
            continue;
        }
        let price = price(reading, &key, value);
        if glob == DEFAULT {
            fallback = price;
        } else {
            layers[layer].push((glob.clone(), price));
        }
    }
    // Every glob has been tried above, so the list can be made; if not, every model costs the default.
    PriceList::new(layers.into_iter(), fallback).unwrap_or_else(|error| {
        reading.wrong("prices", Tag::Default, error.to_string());
        PriceList::flat(fallback)
    })
}

fn built_in() -> Dict {
    let mut list: Dict = toml::from_str(BUILT_IN).unwrap_or_default();
    list.remove("prices").and_then(Value::into_dict).unwrap_or_default()
}

fn price(reading: &Reading<'_>, key: &str, value: &Value) -> Price {
    let Value::Dict(_, fields) = value else {
        reading.wrong(key, value.tag(), "has to be a table such as { input = 3.0, output = 15.0 }");
        return Price::default();
    };
    let known = || CLASSES.into_iter().chain([LONG_CONTEXT]);
    let base = rates(reading, key, value, fields, &known().collect::<Vec<_>>());
    let Some(tier) = fields.get(LONG_CONTEXT) else { return Price { base, long_context: None } };
    let key = format!("{key}.{LONG_CONTEXT}");
    let Value::Dict(_, fields) = tier else {
        reading.wrong(
            &key,
            tier.tag(),
            "has to be a table such as { above = 200000, input = 6.0, output = 22.5 }",
        );
        return Price { base, long_context: None };
    };
    let above = fields.get(ABOVE).and_then(text_of).and_then(|text| text.parse().ok());
    let Some(above_input_tokens) = above else {
        reading.wrong(&key, tier.tag(), "`above` has to be a number of input tokens");
        return Price { base, long_context: None };
    };
    let rates = rates(reading, &key, tier, fields, &CLASSES.into_iter().chain([ABOVE]).collect::<Vec<_>>());
    Price { base, long_context: Some(LongContext { above_input_tokens, rates }) }
}

/// Rates as written. A class that is not written costs what input costs, but for the two that follow from another by
/// Anthropic's rule: a cache write for an hour is 2.0 of the input where one for 5 minutes is 1.25.
fn rates(reading: &Reading<'_>, key: &str, whole: &Value, fields: &Dict, known: &[&str]) -> Rates {
    for (field, value) in fields.iter().filter(|(field, _)| !known.contains(&field.as_str())) {
        reading.wrong(&format!("{key}.{field}"), value.tag(), no_such(field, known.iter().copied()));
    }
    let rate = |class: &str| {
        let value = fields.get(class)?;
        let rate = text_of(value).and_then(|text| text.parse().ok()).and_then(pico_per_token);
        if rate.is_none() {
            reading.wrong(
                &format!("{key}.{class}"),
                value.tag(),
                "has to be a price in USD per million tokens",
            );
        }
        rate
    };
    let (input, output) = (rate("input"), rate("output"));
    let (cache_read, cache_write, cache_write_1h) =
        (rate("cache_read"), rate("cache_write"), rate("cache_write_1h"));
    let (Some(input), Some(output)) = (input, output) else {
        if !fields.contains_key("input") || !fields.contains_key("output") {
            reading.wrong(key, whole.tag(), "needs both `input` and `output`");
        }
        return Rates::default();
    };
    let hour = cache_write.map(|five_minutes| five_minutes / 5 * 8);
    Rates {
        input,
        output,
        cache_read: cache_read.unwrap_or(input),
        cache_write: cache_write.unwrap_or(input),
        cache_write_1h: cache_write_1h.or(hour).unwrap_or(input),
    }
}
