//! Lists in pages.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::problem::{ApiError, ApiResult};
use crate::store::{Cursor, Page};

/// Rows of a page that does not ask for a number.
const LIMIT_DEFAULT: u32 = 50;
/// The most rows of a page.
const LIMIT_MAX: u32 = 1_000;

/// Which page.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// Rows of the page; 50 without it.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]+-[0-9a-f]{32})?$")]
    pub cursor: Option<String>,
}

/// One page of a list, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Ask with this as `cursor` for the next page; null: this was the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page of the store, each row as the API shows it.
    pub fn of<R>(page: Page<R>, view: impl FnMut(R) -> T) -> Self {
        Self {
            items: page.items.into_iter().map(view).collect(),
            next_cursor: page.next.map(|cursor| cursor.to_string()),
        }
    }

    /// A list that always fits on one page.
    #[must_use]
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// The number of rows asked for.
///
/// # Errors
/// 400 for a number that is not between 1 and 1000.
pub fn limit(asked: Option<u32>) -> ApiResult<usize> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit as usize),
        _ => Err(ApiError::invalid(format!("limit has to be between 1 and {LIMIT_MAX}"))),
    }
}

/// The position of a cursor; an empty one stands for the start.
///
/// # Errors
/// 400 for a text that no page gave.
pub fn place(cursor: Option<&str>) -> ApiResult<Option<Cursor>> {
    let cursor = cursor.filter(|cursor| !cursor.is_empty());
    cursor
        .map(str::parse)
        .transpose()
        .map_err(|error: crate::store::NotACursor| ApiError::invalid(error.to_string()))
}
