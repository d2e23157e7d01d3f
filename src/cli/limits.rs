//! Limits as flags, for users and groups alike.

use clap::Args;
use serde_json::{Map, Value, json};

use super::output::{Column, limit};

/// Limits to set; what is not named stays as it is.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits: a number, or `none` for unlimited; 0 is nothing")]
pub struct LimitFlags {
    /// Tokens (input and output) per UTC day
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    daily_tokens: Option<Limit>,
    /// Tokens per UTC month
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    monthly_tokens: Option<Limit>,
    /// Requests per minute
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    rpm: Option<Limit>,
    /// USD per UTC month
    #[arg(long, value_name = "X", value_parser = usd, allow_negative_numbers = true)]
    monthly_usd: Option<Limit>,
    /// Requests in flight at the same time
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    concurrent: Option<Limit>,
    /// The largest `max_tokens` that a request may ask for
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    max_tokens: Option<Limit>,
    /// Globs of models that may be called, separated by commas; `none` for every model
    #[arg(long, value_name = "GLOBS", value_parser = globs)]
    models: Option<Limit>,
}

/// A limit as the API takes it; null is unlimited.
#[derive(Clone, Debug)]
struct Limit(Value);

/// How limits are shown.
pub const COLUMNS: [Column; 7] = [
    limit("tokens/day", "daily_tokens"),
    limit("tokens/month", "monthly_tokens"),
    limit("requests/min", "rpm"),
    limit("USD/month", "monthly_usd"),
    limit("concurrent", "concurrent"),
    limit("max_tokens", "max_tokens"),
    limit("models", "models"),
];

impl LimitFlags {
    /// Adds what was given to a request's body.
    pub fn add_to(&self, body: &mut Map<String, Value>) {
        let given = [
            ("daily_tokens", &self.daily_tokens),
            ("monthly_tokens", &self.monthly_tokens),
            ("rpm", &self.rpm),
            ("monthly_usd", &self.monthly_usd),
            ("concurrent", &self.concurrent),
            ("max_tokens", &self.max_tokens),
            ("models", &self.models),
        ];
        for (field, limit) in given {
            if let Some(Limit(value)) = limit {
                body.insert(field.to_owned(), value.clone());
            }
        }
    }
}

const NONE: &str = "none";

fn whole(text: &str) -> Result<Limit, String> {
    if text == NONE {
        return Ok(Limit(Value::Null));
    }
    number(text)
        .map(|number| Limit(json!(number)))
        .ok_or_else(|| "a whole number such as 2000000, 2M or 1e6, not less than 0, or `none`".to_owned())
}

/// A whole number as people write it: `1_000`, `200k`, `1.5M`, `2G`, `1e6`.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    let text = text.replace('_', "");
    let (digits, power) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 3),
        (at, 'm' | 'M') => (&text[..at], 6),
        (at, 'g' | 'G') => (&text[..at], 9),
        _ => (text.as_str(), 0),
    };
    let (digits, power) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<usize>().ok()?.checked_add(power)?),
        None => (digits, power),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let zeros = power.checked_sub(fraction.len()).filter(|zeros| *zeros <= 20)?;
    let all_digits = [whole, fraction].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    (all_digits && !whole.is_empty())
        .then(|| format!("{whole}{fraction}{}", "0".repeat(zeros)).parse().ok())?
}

fn usd(text: &str) -> Result<Limit, String> {
    if text == NONE {
        return Ok(Limit(Value::Null));
    }
    let number: f64 = text.parse().map_err(|_| "an amount such as 12.50, or `none`".to_owned())?;
    if number.is_finite() && number >= 0.0 {
        Ok(Limit(json!(number)))
    } else {
        Err("not less than 0".to_owned())
    }
}

#[allow(clippy::unnecessary_wraps, reason = "what clap calls has to be able to fail")]
fn globs(text: &str) -> Result<Limit, String> {
    if text == NONE {
        return Ok(Limit(Value::Null));
    }
    let globs: Vec<&str> = text.split(',').map(str::trim).filter(|glob| !glob.is_empty()).collect();
    Ok(Limit(json!(globs)))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_read_as_people_write_them_and_never_rounded() {
        for (text, value) in [
            ("0", Some(0)),
            ("1_000_000", Some(1_000_000)),
            ("2M", Some(2_000_000)),
            ("1.5k", Some(1_500)),
            ("1e6", Some(1_000_000)),
            ("2.5e3", Some(2_500)),
            ("18446744073709551615", Some(u64::MAX)),
            ("1.50", None),
            ("1.2345k", None),
            ("18446744073709551616", None),
            ("-5", None),
            ("many", None),
            ("M", None),
            ("", None),
            ("1e99", None),
        ] {
            assert_eq!(number(text), value, "{text}");
        }
    }
}
