//! Which time a page is about, as its address says it: a preset that moves with the days, or two days of one's own.

use std::time::Duration;

use maud::{Markup, html};
use serde::Deserialize;
use url::form_urlencoded;

use crate::domain::clock::Timestamp;
use crate::http::problem::{ApiError, ApiResult};
use crate::ui::format;

const DAY: Duration = Duration::from_hours(24);
const PRESETS: [(&str, &str); 6] = [
    ("1d", "Today"),
    ("7d", "7 days"),
    ("30d", "30 days"),
    ("90d", "90 days"),
    ("month", "This month"),
    ("last-month", "Last month"),
];

/// What an address says of time.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SpanParams {
    span: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// A half-open window of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    preset: Option<&'static str>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

impl Span {
    /// Reads it; `preset` is what a page begins with.
    ///
    /// # Errors
    /// 400 for what is no time.
    pub fn read(asked: &SpanParams, preset: &'static str, now: Timestamp) -> ApiResult<Self> {
        let (from, to) = (moment("from", asked.from.as_deref())?, moment("to", asked.to.as_deref())?);
        if from.is_some() || to.is_some() {
            if from.zip(to).is_some_and(|(from, to)| to <= from) {
                return Err(ApiError::invalid("the first day has to be before the day that ends the window"));
            }
            return Ok(Self { preset: None, from, to });
        }
        let asked = asked.span.as_deref().filter(|span| !span.is_empty()).unwrap_or(preset);
        let known = PRESETS.into_iter().find(|(name, _)| *name == asked);
        let (name, _) = known.ok_or_else(|| ApiError::invalid(format!("`{asked}` is no span of time")))?;
        let days = |days: u32| now.day_start().minus(DAY * (days - 1));
        let (from, to) = match name {
            "1d" => (days(1), None),
            "7d" => (days(7), None),
            "90d" => (days(90), None),
            "month" => (now.month_start(), None),
            "last-month" => {
                let this_month = now.month_start();
                (this_month.minus(DAY).month_start(), Some(this_month))
            }
            _ => (days(30), None),
        };
        Ok(Self { preset: Some(name), from: Some(from), to })
    }

    /// What an address has to say to mean the same.
    #[must_use]
    pub fn params(&self) -> Vec<(&'static str, String)> {
        match self.preset {
            Some(preset) => vec![("span", preset.to_owned())],
            None => self.window(),
        }
    }

    /// The same as two moments, for programs.
    #[must_use]
    pub fn window(&self) -> Vec<(&'static str, String)> {
        let ends = [("from", self.from), ("to", self.to)];
        ends.into_iter().filter_map(|(name, at)| Some((name, short(at?)))).collect()
    }

    /// The window in words.
    #[must_use]
    pub fn words(&self) -> String {
        let last = |to: Timestamp| {
            if to == to.day_start() { format::day(to.minus(Duration::from_micros(1))) } else { short(to) }
        };
        match (self.from, self.to) {
            (Some(from), Some(to)) => format!("{} to {}", short(from), last(to)),
            (Some(from), None) => format!("{} until now", short(from)),
            (None, Some(to)) => format!("the beginning to {}", last(to)),
            (None, None) => "the beginning until now".to_owned(),
        }
    }

    /// Links to the presets; `keep` is what else the page's address says.
    #[must_use]
    pub fn presets(&self, path: &str, keep: &[(&'static str, String)]) -> Markup {
        html! {
            nav.spans aria-label="Span of time" {
                @for (name, label) in PRESETS {
                    @let mut params = vec![("span", name.to_owned())];
                    @let () = params.extend(keep.iter().cloned());
                    a href=(link(path, &params)) aria-current=[(self.preset == Some(name)).then_some("true")] { (label) }
                }
            }
        }
    }

    /// Two days to be chosen.
    #[must_use]
    pub fn fields(&self) -> Markup {
        let value =
            |at: Option<Timestamp>| at.filter(|_| self.preset.is_none()).map(format::day).unwrap_or_default();
        html! {
            div.field { label for="from" { "From" } input id="from" name="from" type="date" value=(value(self.from)); }
            div.field { label for="to" { "Before" } input id="to" name="to" type="date" value=(value(self.to)); }
        }
    }
}

/// An address with a query.
#[must_use]
pub fn link(path: &str, params: &[(&'static str, String)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let filled = params.iter().filter(|(_, value)| !value.is_empty());
    query.extend_pairs(filled);
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn moment(name: &str, text: Option<&str>) -> ApiResult<Option<Timestamp>> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|error: crate::domain::clock::NotATimestamp| ApiError::invalid(format!("{name}: {error}")))
}

/// A day, if it is the start of one.
fn short(at: Timestamp) -> String {
    if at == at.day_start() { format::day(at) } else { at.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(span: Option<&str>, from: Option<&str>, to: Option<&str>) -> ApiResult<Span> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let asked = SpanParams { span: text(span), from: text(from), to: text(to) };
        Span::read(&asked, "30d", "2026-11-30T10:00:00Z".parse().expect("a time"))
    }

    #[test]
    fn a_span_is_what_its_address_says() {
        for (span, from, to, words) in [
            (None, None, None, "2026-11-01 until now"),
            (Some("7d"), None, Some(""), "2026-11-24 until now"),
            (Some("month"), None, None, "2026-11-01 until now"),
            (Some("last-month"), None, None, "2026-10-01 to 2026-10-31"),
            (None, Some("2026-11-01"), Some("2026-11-08"), "2026-11-01 to 2026-11-07"),
            (None, Some("2026-11-01T12:00:00Z"), None, "2026-11-01T12:00:00Z until now"),
        ] {
            let read = read(span, from, to).expect("a span");
            assert_eq!(read.words(), words);
        }
        for (span, from, to) in [
            (Some("8d"), None, None),
            (None, Some("yesterday"), None),
            (None, Some("2026-11-02"), Some("2026-11-01")),
        ] {
            assert!(read(span, from, to).is_err(), "{span:?} {from:?} {to:?}");
        }
    }
}
