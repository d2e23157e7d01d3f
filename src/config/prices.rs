//! `[prices]`: USD per million tokens, by globs over model names. The list that comes with the binary is overridden
//! entry by entry.

use figment::value::{Dict, Tag, Value};

use super::keys::no_such;
use super::table::{Reading, text_of};
use crate::domain::price::{
    DEFAULT, Entry, Factor, LongContext, Price, PriceList, Rates, Source, pico_per_token, usd_per_million,
};

/// The price list that comes with the binary.
const BUILT_IN: &str = include_str!("prices.toml");
const CLASSES: [&str; 5] = ["input", "output", "cache_read", "cache_write", "cache_write_1h"];
const LONG_CONTEXT: &str = "long_context";
const ABOVE: &str = "above";
/// Multipliers that an entry may have, and those for a place (`geo_us`).
const MULTIPLIERS: [&str; 4] = ["flex", "batch", "priority", "fast"];
const GEO: &str = "geo_";

/// The price list that comes with the binary, as commented TOML.
#[must_use]
pub fn built_in_text() -> &'static str {
    BUILT_IN
}

/// The same, where taking the first `# ` off a line, or off all from `# [prices]` on, makes it a setting.
#[must_use]
pub(super) fn built_in_as_comments() -> String {
    let (head, list) = BUILT_IN.split_once("[prices]\n").unwrap_or((BUILT_IN, ""));
    let mut text = format!("{head}# [prices]\n");
    for line in list.lines() {
        text.push_str(if line.is_empty() { "#" } else { "# " });
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// An entry as a line of TOML that `[prices]` takes.
#[must_use]
pub fn toml_line(entry: &Entry) -> String {
    let mut fields = rates_text(&entry.price.base);
    let multipliers = entry.multipliers.iter();
    fields.extend(multipliers.map(|f| format!("{} = {}", f.name, f64::from(f.millionths) / 1e6)));
    if let Some(tier) = entry.price.long_context {
        let above = format!("{ABOVE} = {}", tier.above_input_tokens);
        let rates = rates_text(&tier.rates);
        let tier: Vec<_> = std::iter::once(above).chain(rates).collect();
        fields.push(format!("{LONG_CONTEXT} = {{ {} }}", tier.join(", ")));
    }
    let key = if entry.glob() == DEFAULT { DEFAULT.to_owned() } else { quoted(entry.glob()) };
    format!("{key} = {{ {} }}", fields.join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn rates_text(rates: &Rates) -> Vec<String> {
    let classes = [rates.input, rates.output, rates.cache_read, rates.cache_write, rates.cache_write_1h];
    let line = |(class, pico): (&str, u64)| format!("{class} = {}", usd_per_million(pico));
    CLASSES.into_iter().zip(classes).map(line).collect()
}

/// The built-in price list, then the configured entries.
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
    let mut fallback = None;
    let mut entries = Vec::new();
    let built_in = built_in.iter().map(|entry| (Source::BuiltIn, entry));
    for (source, (glob, value)) in built_in.chain(written.iter().map(|entry| (Source::File, entry))) {
        let key = format!("prices.\"{glob}\"");
        if globset::Glob::new(glob).is_err() {
            reading.wrong(&key, value.tag(), "is no glob");
            continue;
        }
        let entry = entry(reading, glob, value, source);
        if glob == DEFAULT {
            fallback = Some(entry);
        } else {
            entries.push(entry);
        }
    }
    let fallback = fallback.unwrap_or_else(|| Entry {
        price: Price { glob: DEFAULT.to_owned(), ..Price::default() }.into(),
        multipliers: Vec::new(),
        source: Source::BuiltIn,
    });
    // Every glob has been tried above, so the list can be made; if not, every model costs the default.
    PriceList::new(entries, fallback.clone()).unwrap_or_else(|error| {
        reading.wrong("prices", Tag::Default, error.to_string());
        PriceList::flat(fallback)
    })
}

fn entry(reading: &Reading<'_>, glob: &str, value: &Value, source: Source) -> Entry {
    let key = format!("prices.\"{glob}\"");
    let price = Price { glob: glob.to_owned(), ..price(reading, &key, value) };
    let fields = value.as_dict().into_iter().flatten();
    let multipliers = fields.filter(|(field, _)| is_multiplier(field)).filter_map(|(field, value)| {
        let millionths = text_of(value).and_then(|text| text.parse().ok()).and_then(millionths);
        if millionths.is_none() {
            reading.wrong(
                &format!("{key}.{field}"),
                value.tag(),
                "has to be a factor such as 0.5, at most 1000",
            );
        }
        Some(Factor { name: field.clone(), millionths: millionths? })
    });
    Entry { multipliers: multipliers.collect(), price: price.into(), source }
}

fn is_multiplier(field: &str) -> bool {
    MULTIPLIERS.contains(&field) || field.strip_prefix(GEO).is_some_and(|place| !place.is_empty())
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to lie within 0 and 1e9 just above"
)]
fn millionths(factor: f64) -> Option<u32> {
    let millionths = (factor * 1e6).round();
    (millionths.is_finite() && (0.0..=1e9).contains(&millionths)).then_some(millionths as u32)
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
    let known: Vec<_> = CLASSES.into_iter().chain([LONG_CONTEXT]).chain(MULTIPLIERS).collect();
    let base = rates(reading, key, value, fields, &known);
    let ordinary = Price { base, ..Price::default() };
    let Some(tier) = fields.get(LONG_CONTEXT) else { return ordinary };
    let key = format!("{key}.{LONG_CONTEXT}");
    let Value::Dict(_, fields) = tier else {
        reading.wrong(
            &key,
            tier.tag(),
            "has to be a table such as { above = 200000, input = 6.0, output = 22.5 }",
        );
        return ordinary;
    };
    let above = fields.get(ABOVE).and_then(text_of).and_then(|text| text.parse().ok());
    let Some(above_input_tokens) = above else {
        reading.wrong(&key, tier.tag(), "`above` has to be a number of input tokens");
        return ordinary;
    };
    let rates = rates(reading, &key, tier, fields, &CLASSES.into_iter().chain([ABOVE]).collect::<Vec<_>>());
    Price { long_context: Some(LongContext { above_input_tokens, rates }), ..ordinary }
}

/// Rates as configured. A class without a rate costs what input costs, but for the two that follow from another by
/// Anthropic's rule: a cache write for an hour is 2.0 of the input where one for 5 minutes is 1.25.
fn rates(reading: &Reading<'_>, key: &str, whole: &Value, fields: &Dict, known: &[&str]) -> Rates {
    let is_whole = known.contains(&LONG_CONTEXT);
    let is_known = |field: &str| known.contains(&field) || (is_whole && is_multiplier(field));
    for (field, value) in fields.iter().filter(|(field, _)| !is_known(field)) {
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

#[cfg(test)]
mod tests {
    use super::super::{Environment, Sources, load_from};
    use super::*;

    fn loaded(text: &str) -> PriceList {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        let sources = Sources { file: Some(file.path().into()), flags: Vec::new() };
        load_from(&sources, &Environment::default()).expect("right").prices
    }

    fn entries(list: &PriceList) -> Vec<(Price, Vec<Factor>)> {
        let entry = |entry: &Entry| ((*entry.price).clone(), entry.multipliers.clone());
        let mut entries: Vec<_> = list.entries().map(entry).collect();
        entries.sort_by(|(a, _), (b, _)| a.glob.cmp(&b.glob));
        entries
    }

    #[test]
    fn an_entry_that_is_shown_reads_back_as_it_was() {
        let own = "[prices]\n\"quo\\\"ted/[a-b]*\" = { input = 0.0375, output = 0, geo_us = 1.1 }\n";
        for text in ["", own] {
            let list = loaded(text);
            let lines: Vec<_> = list.entries().map(toml_line).collect();
            let again = loaded(&format!("[prices]\n{}\n", lines.join("\n")));
            assert_eq!(entries(&again), entries(&list));
            assert!(again.entries().all(|entry| entry.source == Source::File));
        }
    }

    #[test]
    fn the_list_as_comments_changes_nothing_and_holds_once_it_is_no_comment() {
        let comments = built_in_as_comments();
        assert!(comments.lines().all(|line| line.is_empty() || line.starts_with('#')), "{comments}");
        let untouched = loaded(&comments);
        assert!(untouched.entries().all(|entry| entry.source == Source::BuiltIn));
        let (_, list) = comments.split_once("# [prices]\n").expect("the list");
        let list: Vec<_> = list.lines().map(|line| line.strip_prefix("# ").unwrap_or("")).collect();
        let written = loaded(&format!("[prices]\n{}\n", list.join("\n")));
        assert_eq!(entries(&written), entries(&untouched));
        assert!(written.entries().all(|entry| entry.source == Source::File));
    }
}
