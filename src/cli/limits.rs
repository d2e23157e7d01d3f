//! Limits as flags, for users and groups alike.

use clap::Args;
use serde_json::{Map, Value, json};

use super::output::{Column, limit};

/// Limits to set; what is not named stays as it is.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits: a number, or `none` for unlimited; 0 is nothing")]
pub struct LimitFlags {
    /// Tokens (input and output) per UTC day
    #[arg(long, value_name = "N", value_parser = whole)]
    daily_tokens: Option<Limit>,
    /// Tokens per UTC month
    #[arg(long, value_name = "N", value_parser = whole)]
    monthly_tokens: Option<Limit>,
    /// Requests per minute
    #[arg(long, value_name = "N", value_parser = whole)]
    rpm: Option<Limit>,
    /// USD per UTC month
    #[arg(long, value_name = "X", value_parser = usd)]
    monthly_usd: Option<Limit>,
    /// Requests in flight at the same time
    #[arg(long, value_name = "N", value_parser = whole)]
    concurrent: Option<Limit>,
    /// The largest `max_tokens` that a request may ask for
    #[arg(long, value_name = "N", value_parser = whole)]
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
    let number: u64 = text.replace('_', "").parse().map_err(|_| "a whole number, or `none`".to_owned())?;
    Ok(Limit(json!(number)))
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
