//! Pages of long lists, newest first. A cursor is a place in the order, not a number of rows to skip: rows that are
//! inserted or removed meanwhile neither repeat nor hide others, and page 10,000 costs what page 1 costs.

use std::fmt;
use std::str::FromStr;

use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select,
};
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::store::columns;

#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows, newest first.
    pub items: Vec<T>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page from up to `limit + 1` rows: the extra row shows that there is a next page.
    pub(super) fn cut(mut rows: Vec<T>, limit: usize, place: impl Fn(&T) -> Cursor) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(place) } else { None };
        Self { items: rows, next }
    }

    /// The same page with every row turned into something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}

/// The rows of a page: newest first by `at`, then by `id`; those after `from`, and one more than `limit` to learn
/// whether there is another page.
pub(super) fn newest_first<E: EntityTrait>(
    mut select: Select<E>,
    (at, id): (impl ColumnTrait, impl ColumnTrait),
    limit: usize,
    from: Option<Cursor>,
) -> Select<E> {
    if let Some(from) = from {
        let micros = from.at.as_micros();
        // The first condition is implied by the second; it is the one that an index understands.
        select = select.filter(at.lte(micros)).filter(at.lt(micros).or(id.lt(from.id)));
    }
    select.order_by_desc(at).order_by_desc(id).limit(columns::page_rows(limit))
}

/// A position in a list ordered by time, then id. Its text form is opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The time of the last row seen.
    pub at: Timestamp,
    /// Its id, which decides among rows of the same time.
    pub id: Uuid,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.at.as_micros(), self.id.simple())
    }
}

/// A text is not a cursor.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a cursor: use the `next_cursor` of the page before")]
pub struct NotACursor(pub String);

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let parsed = text.split_once('-').and_then(|(at, id)| {
            let micros = u64::from_str_radix(at, 16).ok()?.cast_signed();
            Some(Self { at: Timestamp::from_micros(micros), id: Uuid::try_parse(id).ok()? })
        });
        parsed.ok_or_else(|| NotACursor(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nonsense_is_refused() {
        for micros in [0, -1, 1_764_000_000_000_000, Timestamp::MIN.as_micros(), Timestamp::MAX.as_micros()] {
            let cursor = Cursor { at: Timestamp::from_micros(micros), id: Uuid::now_v7() };
            assert_eq!(cursor.to_string().parse::<Cursor>().expect("a cursor"), cursor);
        }
        for nonsense in ["", "-", "12", "x-y", "1-2", "é-ü"] {
            assert!(nonsense.parse::<Cursor>().is_err(), "{nonsense}");
        }
    }
}
