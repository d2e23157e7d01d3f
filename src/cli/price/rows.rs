//! Entries of a price list as rows.

use serde_json::{Value, json};

use crate::domain::price::{Entry, Rates, usd_per_million};

/// An entry, with its rates in USD per million tokens; for people in words when another price holds.
pub(super) fn row(entry: &Entry, is_json: bool) -> Value {
    let mut row = rates(&entry.price.base);
    row["glob"] = entry.glob().into();
    row["source"] = entry.source.as_str().into();
    let factor = |millionths: u32| f64::from(millionths) / 1e6;
    if is_json {
        let multipliers = entry.multipliers.iter();
        row["multipliers"] = multipliers.map(|m| (m.name.clone(), json!(factor(m.millionths)))).collect();
        row["long_context"] = entry.price.long_context.map_or(Value::Null, |tier| {
            let mut row = rates(&tier.rates);
            row["above"] = tier.above_input_tokens.into();
            row
        });
        return row;
    }
    let mut words: Vec<_> =
        entry.multipliers.iter().map(|m| format!("{} × {}", m.name, factor(m.millionths))).collect();
    words.extend(entry.price.long_context.map(|tier| {
        let usd = [tier.rates.input, tier.rates.output].map(usd_per_million);
        format!("above {} input {} and output {}", tier.above_input_tokens, usd[0], usd[1])
    }));
    row["otherwise"] = json!(words);
    row
}

pub(super) fn rates(rates: &Rates) -> Value {
    json!({
        "input": usd_per_million(rates.input),
        "output": usd_per_million(rates.output),
        "cache_read": usd_per_million(rates.cache_read),
        "cache_write": usd_per_million(rates.cache_write),
        "cache_write_1h": usd_per_million(rates.cache_write_1h),
    })
}
