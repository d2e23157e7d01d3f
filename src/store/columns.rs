//! How values of the domain look in a column, and back.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::clock::Timestamp;
use crate::store::Error;

/// A count as a column. What does not fit cannot occur honestly; it is stored as the largest value.
pub(super) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count out of a column. A negative one cannot occur; it reads as 0.
pub(super) fn counted(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn micros(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(Timestamp::as_micros)
}

pub(super) fn moment(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}

pub(super) fn to_json<T: Serialize>(what: &str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::unreadable(what, error))
}

pub(super) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::unreadable(what, error))
}

/// Exactly 32 bytes out of a blob.
pub(super) fn digest(what: &str, bytes: &[u8]) -> Result<[u8; 32], Error> {
    bytes.try_into().map_err(|_| Error::unreadable(what, format!("{} bytes instead of 32", bytes.len())))
}

/// How many rows to read for a page: one more than it shows, to learn whether there is another page.
pub(super) fn page_rows(limit: usize) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1).min(i64::MAX.cast_unsigned())
}
