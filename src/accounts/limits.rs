//! A change of limits: for each, leave it, lift it or set it.

use crate::accounts::error::Error;
use crate::domain::group::Limits;
use crate::domain::quota::Allowance;

/// The most globs of one list of models.
const MODELS_MAX: usize = 500;
/// The longest glob.
const GLOB_MAX: usize = 200;

/// Limits to set: `None` leaves one as it is, `Some(None)` makes it unlimited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitsChange {
    /// Tokens per UTC day.
    pub daily_tokens: Option<Option<u64>>,
    /// Tokens per UTC calendar month.
    pub monthly_tokens: Option<Option<u64>>,
    /// Requests per minute.
    pub rpm: Option<Option<u32>>,
    /// Nano-USD per UTC calendar month.
    pub monthly_nanousd: Option<Option<i64>>,
    /// Requests in flight at the same time.
    pub concurrent: Option<Option<u32>>,
    /// The largest `max_tokens` that a request may ask for.
    pub max_tokens: Option<Option<u64>>,
    /// Globs of models that may be called.
    pub models: Option<Option<Vec<String>>>,
}

impl LimitsChange {
    pub(super) fn apply(self, to: &Limits) -> Result<Limits, Error> {
        let limits = Limits {
            daily_tokens: self.daily_tokens.unwrap_or(to.daily_tokens),
            monthly_tokens: self.monthly_tokens.unwrap_or(to.monthly_tokens),
            rpm: self.rpm.unwrap_or(to.rpm),
            monthly_nanousd: self.monthly_nanousd.unwrap_or(to.monthly_nanousd),
            concurrent: self.concurrent.unwrap_or(to.concurrent),
            max_tokens: self.max_tokens.unwrap_or(to.max_tokens),
            models: self.models.unwrap_or_else(|| to.models.clone()),
        };
        let globs = limits.models.iter().flatten();
        if globs.clone().count() > MODELS_MAX
            || globs.clone().any(|glob| glob.is_empty() || glob.len() > GLOB_MAX)
        {
            let message = format!("models: at most {MODELS_MAX} globs of 1 to {GLOB_MAX} characters");
            return Err(Error::Invalid(message));
        }
        Allowance::new(limits.clone()).map_err(|reason| Error::Invalid(format!("models: {reason}")))?;
        Ok(limits)
    }
}
