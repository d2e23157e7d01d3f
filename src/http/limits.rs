//! Limits as the API writes them: USD where the inside counts nano-USD, null for unlimited, and absent fields of a
//! change left as they are.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::accounts::LimitsChange;
use crate::domain::group::Limits;
use crate::http::problem::{ApiError, ApiResult};

const NANO_PER_USD: f64 = 1e9;
/// A billion USD: what fits in nano-USD with room for sums.
const USD_MAX: f64 = 1e9;
/// The largest count of tokens: what a number of JSON holds exactly, far beyond any use.
const TOKENS_MAX: u64 = 1 << 53;

/// Limits of a user or group. Null is unlimited, 0 is nothing.
#[derive(Debug, Serialize, ToSchema)]
pub struct LimitsView {
    /// Tokens (input and output) per UTC day.
    #[schema(required)]
    pub daily_tokens: Option<u64>,
    /// Tokens per UTC calendar month.
    #[schema(required)]
    pub monthly_tokens: Option<u64>,
    /// Requests in any 60 seconds.
    #[schema(required, value_type = Option<u64>)]
    pub rpm: Option<u32>,
    /// USD per UTC calendar month.
    #[schema(required)]
    pub monthly_usd: Option<f64>,
    /// Requests in flight at the same time.
    #[schema(required, value_type = Option<u64>)]
    pub concurrent: Option<u32>,
    /// The largest `max_tokens` that a request may ask for.
    #[schema(required)]
    pub max_tokens: Option<u64>,
    /// Globs of models that may be called; null is every model.
    #[schema(required)]
    pub models: Option<Vec<String>>,
}

/// Declares the body of a request that may set limits: the fields given, and one per limit. (`flatten` would let
/// unknown fields pass.) A limit that is absent stays as it is; null makes it unlimited.
macro_rules! input_with_limits {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: $type,)*
            /// Tokens (input and output) per UTC day; null is unlimited.
            #[serde(default, deserialize_with = "crate::http::limits::given")]
            #[schema(value_type = Option<u64>, minimum = 0, maximum = 9_007_199_254_740_992_i64)]
            pub daily_tokens: Option<Option<u64>>,
            /// Tokens per UTC calendar month; null is unlimited.
            #[serde(default, deserialize_with = "crate::http::limits::given")]
            #[schema(value_type = Option<u64>, minimum = 0, maximum = 9_007_199_254_740_992_i64)]
            pub monthly_tokens: Option<Option<u64>>,
            /// Requests in any 60 seconds; null is unlimited.
            #[serde(default, deserialize_with = "crate::http::limits::given")]
            #[schema(value_type = Option<u64>, minimum = 0, maximum = 4_294_967_295_i64)]
            pub rpm: Option<Option<u32>>,
            /// USD per UTC calendar month, to the nano-USD; null is unlimited.
            #[serde(default, deserialize_with = "crate::http::limits::given")]
            #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
            pub monthly_usd: Option<Option<f64>>,
            /// Requests in flight at the same time; null is unlimited.
            #[serde(default, deserialize_with = "crate::http::limits::given")]
            #[schema(value_type = Option<u64>, minimum = 0, maximum = 4_294_967_295_i64)]
            pub concurrent: Option<Option<u32>>,
            /// The largest `max_tokens` that a request may ask for; null is unlimited.
            #[serde(default, deserialize_with = "crate::http::limits::given")]
            #[schema(value_type = Option<u64>, minimum = 0, maximum = 9_007_199_254_740_992_i64)]
            pub max_tokens: Option<Option<u64>>,
            /// Globs of models that may be called (at most 500); null is every model.
            #[serde(default, deserialize_with = "crate::http::limits::given")]
            #[schema(value_type = Option<Vec<String>>)]
            pub models: Option<Option<Vec<String>>>,
        }

        impl $name {
            /// The limits to set.
            fn limits(&self) -> crate::http::problem::ApiResult<crate::accounts::LimitsChange> {
                let nanousd = |usd: Option<f64>| usd.map(crate::http::limits::nanousd).transpose();
                crate::http::limits::checked(crate::accounts::LimitsChange {
                    daily_tokens: self.daily_tokens,
                    monthly_tokens: self.monthly_tokens,
                    rpm: self.rpm,
                    monthly_nanousd: self.monthly_usd.map(nanousd).transpose()?,
                    concurrent: self.concurrent,
                    max_tokens: self.max_tokens,
                    models: self.models.clone(),
                })
            }
        }
    };
}
pub(super) use input_with_limits;

impl From<&Limits> for LimitsView {
    fn from(limits: &Limits) -> Self {
        Self {
            daily_tokens: limits.daily_tokens,
            monthly_tokens: limits.monthly_tokens,
            rpm: limits.rpm,
            monthly_usd: limits.monthly_nanousd.map(usd),
            concurrent: limits.concurrent,
            max_tokens: limits.max_tokens,
            models: limits.models.clone(),
        }
    }
}

/// Nano-USD as a number of USD; exact up to nine million USD.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a number of JSON is a double anyway")]
pub fn usd(nanousd: i64) -> f64 {
    nanousd as f64 / NANO_PER_USD
}

/// USD as nano-USD.
///
/// # Errors
/// 400 for what is no budget.
#[allow(clippy::cast_possible_truncation, reason = "checked to lie between 0 and 1e18 just before")]
pub(super) fn nanousd(usd: f64) -> ApiResult<i64> {
    if (0.0..=USD_MAX).contains(&usd) {
        Ok((usd * NANO_PER_USD).round() as i64)
    } else {
        Err(ApiError::invalid(format!("monthly_usd has to be between 0 and {USD_MAX}")))
    }
}

/// USD as people write them, `200` or `12.50`, as nano-USD, exactly. `None`: no amount that a budget can be.
pub(super) fn nanousd_of_decimal(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 9 || text.ends_with('.') || !digits(whole) || !digits(decimals) {
        return None;
    }
    let nanousd: i64 = format!("{whole}{decimals:0<9}").parse().ok()?;
    (nanousd <= 1_000_000_000 * 1_000_000_000).then_some(nanousd)
}

/// Refuses counts that cannot be.
///
/// # Errors
/// 400 with the field.
pub fn checked(change: LimitsChange) -> ApiResult<LimitsChange> {
    let counts = [
        ("daily_tokens", change.daily_tokens),
        ("monthly_tokens", change.monthly_tokens),
        ("max_tokens", change.max_tokens),
    ];
    match counts.iter().find(|(_, count)| count.flatten().is_some_and(|count| count > TOKENS_MAX)) {
        Some((field, _)) => Err(ApiError::invalid(format!("{field} has to be at most {TOKENS_MAX}"))),
        None => Ok(change),
    }
}

/// Tells a null from an absent field: with `default`, this is called only for fields that are there.
///
/// # Errors
/// The value's own.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    input_with_limits! {
        /// A body.
        Body { }
    }

    fn change(json: &str) -> ApiResult<LimitsChange> {
        serde_json::from_str::<Body>(json).expect("a body").limits()
    }

    #[test]
    fn absent_is_unchanged_null_is_unlimited_and_zero_is_nothing() {
        let said = change(r#"{"daily_tokens": null, "rpm": 0}"#).expect("possible");
        let expected =
            LimitsChange { daily_tokens: Some(None), rpm: Some(Some(0)), ..LimitsChange::default() };
        assert_eq!(said, expected);
        assert!(serde_json::from_str::<Body>(r#"{"daily_token": 5}"#).is_err(), "unknown fields are refused");
    }

    #[test]
    fn money_is_exact_to_the_nano_usd() {
        for (json, nano) in [("12.5", 12_500_000_000), ("0.000000001", 1), ("0.1", 100_000_000), ("0", 0)] {
            let said = change(&format!(r#"{{"monthly_usd": {json}}}"#)).expect("possible");
            assert_eq!(said.monthly_nanousd, Some(Some(nano)));
            assert!((usd(nano) - json.parse::<f64>().expect("a number")).abs() < f64::EPSILON);
        }
        for bad in ["-1", "1e10", "1e300"] {
            assert!(change(&format!(r#"{{"monthly_usd": {bad}}}"#)).is_err());
        }
    }
}
