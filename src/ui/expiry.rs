//! Until when a key is good: the field, what it says, and how it is shown.

use std::time::Duration;

use maud::{Markup, html};

use crate::domain::clock::Timestamp;
use crate::http::problem::{ApiError, ApiResult};
use crate::ui::form::Form;
use crate::ui::format;

const DAYS: [(&str, u64, &str); 4] =
    [("7", 7, "in 7 days"), ("30", 30, "in 30 days"), ("90", 90, "in 90 days"), ("365", 365, "in a year")];

#[must_use]
pub fn field(chosen: &str) -> Markup {
    html! {
        div.field { label for="expires" { "Expires" }
            select id="expires" name="expires" {
                option value="" { "never" }
                @for (value, _, label) in DAYS { option value=(value) selected[chosen == value] { (label) } }
            }
            p.hint { "Refused from then on." } }
    }
}

/// # Errors
/// 400 for what is no choice.
pub fn read(form: &Form, now: Timestamp) -> ApiResult<Option<Timestamp>> {
    let Some(chosen) = form.filled("expires") else { return Ok(None) };
    let known = DAYS.into_iter().find(|(value, ..)| *value == chosen);
    let (_, days, _) = known.ok_or_else(|| ApiError::invalid(format!("`{chosen}` is no time to expire")))?;
    Ok(Some(now.plus(Duration::from_hours(24 * days))))
}

#[must_use]
pub fn shown(at: Option<Timestamp>, now: Timestamp) -> Markup {
    html! {
        @match at {
            None => span.muted { "never" },
            Some(at) if at <= now => span.tag.bad { "expired" },
            Some(at) => (format::minute(at)),
        }
    }
}
