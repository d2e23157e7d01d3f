//! Pages of statistics: where one ends, the next goes on.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::summary::{StatRow, StatsBy};
use crate::store::NotACursor;

#[derive(Clone, Debug, PartialEq)]
pub struct StatsPage {
    pub items: Vec<StatRow>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<StatsCursor>,
}

impl StatsPage {
    /// A page from up to `limit + 1` rows: one more than asked for says that there is a next page.
    pub(super) fn cut(by: StatsBy, mut items: Vec<StatRow>, limit: usize, until: Timestamp) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more);
        let next = last.and_then(|row| {
            let place = PagePosition::of(by, &row.key)?;
            Some(StatsCursor { tokens: row.totals.total_tokens, place, until })
        });
        Self { items, next }
    }
}

/// A position in a list of sums, and the end of the window that the whole list covers. Its text form is opaque to
/// callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsCursor {
    /// Of the last row seen.
    pub(super) tokens: u64,
    /// Its key, which orders rows with equal tokens.
    pub(super) place: PagePosition,
    /// Calls from here on are not in the list.
    pub(super) until: Timestamp,
}

/// The key of a row, as the database compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PagePosition {
    /// A user or a group; nil without a group.
    Id(Uuid),
    /// A model or a node.
    Word(String),
    /// The start of a day.
    Day(Timestamp),
}

impl PagePosition {
    fn of(by: StatsBy, key: &str) -> Option<Self> {
        match by {
            StatsBy::User | StatsBy::Group if key.is_empty() => Some(Self::Id(Uuid::nil())),
            StatsBy::User | StatsBy::Group => key.parse().ok().map(Self::Id),
            StatsBy::Model | StatsBy::Node => Some(Self::Word(key.to_owned())),
            StatsBy::Day => key.parse().ok().map(Self::Day),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Id(id) => id.to_string(),
            Self::Word(word) => word.clone(),
            Self::Day(day) => day.to_string(),
        }
    }
}

impl StatsCursor {
    /// Reads the cursor of a list of `by`.
    ///
    /// # Errors
    /// [`NotACursor`] for a text that no page of such a list gave.
    pub fn read(by: StatsBy, text: &str) -> Result<Self, NotACursor> {
        let parsed = || {
            let (tokens, rest) = text.split_once('-')?;
            let (until, key) = rest.split_once('-')?;
            let until = Timestamp::from_micros(u64::from_str_radix(until, 16).ok()?.cast_signed());
            let key = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(key).ok()?).ok()?;
            Some(Self {
                tokens: u64::from_str_radix(tokens, 16).ok()?,
                place: PagePosition::of(by, &key)?,
                until,
            })
        };
        parsed().ok_or_else(|| NotACursor(text.chars().take(80).collect()))
    }
}

impl fmt::Display for StatsCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64_URL_SAFE_NO_PAD.encode(self.place.text());
        write!(f, "{:x}-{:x}-{key}", self.tokens, self.until.as_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nonsense_is_refused() {
        let id = Uuid::now_v7().to_string();
        for (by, key) in [
            (StatsBy::User, id.as_str()),
            (StatsBy::Group, ""),
            (StatsBy::Model, ""),
            (StatsBy::Model, "a model/with \u{1f600} and -"),
            (StatsBy::Node, "sp-1"),
            (StatsBy::Day, "2026-11-22"),
        ] {
            for until in [Timestamp::MIN, Timestamp::MAX, Timestamp::from_micros(0)] {
                let place = PagePosition::of(by, key).expect("a place");
                let cursor = StatsCursor { tokens: u64::MAX, place, until };
                assert_eq!(StatsCursor::read(by, &cursor.to_string()).expect("a cursor"), cursor);
            }
        }
        for nonsense in ["", "-", "1-2", "1-2-!", "x-2-YQ", "1-2-YQ", "1-2-_w", "1-2-0é"] {
            assert!(StatsCursor::read(StatsBy::User, nonsense).is_err(), "{nonsense}");
        }
    }
}
