//! What can be wrong with a message that decoded well.

use std::str::FromStr;

use crate::domain::failure::{Failure, Kind};

/// A message holds a value that the domain does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the field `{field}` {problem}")]
pub struct Malformed {
    /// The field's name in the `.proto` file.
    pub field: &'static str,
    pub problem: String,
}

impl Malformed {
    /// A required field is missing.
    #[must_use]
    pub fn missing(field: &'static str) -> Self {
        Self { field, problem: "is missing".to_owned() }
    }

    /// A field has a value that is not valid.
    pub fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::new(Kind::Invalid, malformed.to_string())
    }
}

/// Reads a field that has a text form.
///
/// # Errors
/// [`Malformed`], naming the field, when the text is none of its kind.
pub fn parse<T>(field: &'static str, text: &str) -> Result<T, Malformed>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Malformed::invalid(field, format!("cannot be read: {error}")))
}

/// Reads a field that has a text form and is empty for `None`.
///
/// # Errors
/// As [`parse`].
pub fn parse_some<T>(field: &'static str, text: &str) -> Result<Option<T>, Malformed>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    if text.is_empty() { Ok(None) } else { parse(field, text).map(Some) }
}
