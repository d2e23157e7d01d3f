//! Calls, one by one: what a sum is made of.

use maud::{Markup, html};
use serde::Deserialize;

use crate::http::usage::UsageView;
use crate::ui::format;
use crate::ui::span::{Span, SpanParams, link};

/// Calls on a page.
pub const ROWS: usize = 50;

/// Whose calls they are: of one, or of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    Own,
    Everybody,
}

/// What the address of a list of calls says.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(flatten)]
    pub span: SpanParams,
    pub user: Option<String>,
    pub group: Option<String>,
    model: Option<String>,
    node: Option<String>,
    status: Option<String>,
    pub by: Option<String>,
    pub measure: Option<String>,
    cursor: Option<String>,
}

fn filled(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

impl Asked {
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        filled(self.user.as_ref())
    }

    #[must_use]
    pub fn group(&self) -> Option<&str> {
        filled(self.group.as_ref())
    }

    #[must_use]
    pub fn model(&self) -> Option<&str> {
        filled(self.model.as_ref())
    }

    #[must_use]
    pub fn node(&self) -> Option<&str> {
        filled(self.node.as_ref())
    }

    /// Whether only calls are wanted that went wrong.
    #[must_use]
    pub fn errors(&self) -> bool {
        self.status.as_deref() == Some("errors")
    }

    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        filled(self.cursor.as_ref())
    }

    /// What an address has to say to mean the same calls.
    #[must_use]
    pub fn params(&self, span: &Span) -> Vec<(&'static str, String)> {
        let texts =
            [("user", self.user()), ("group", self.group()), ("model", self.model()), ("node", self.node())];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text?.to_owned())));
        let status = self.errors().then(|| ("status", "errors".to_owned()));
        span.params().into_iter().chain(texts).chain(status).collect()
    }
}

/// The form that narrows a list; `more` are fields that only some lists have.
#[must_use]
pub fn filters(path: &str, asked: &Asked, span: &Span, more: Markup) -> Markup {
    html! {
        form.card.filters method="get" action=(path) role="search" aria-label="Filter" {
            (span.fields())
            (more)
            div.field { label for="model" { "Model" }
                input id="model" name="model" value=(asked.model().unwrap_or_default()) placeholder="claude-*" autocomplete="off" spellcheck="false"; }
            div.field { label for="status" { "Status" }
                select id="status" name="status" {
                    option value="" { "All" }
                    option value="errors" selected[asked.errors()] { "Errors" }
                } }
            div.row { button.primary type="submit" { "Filter" } a.button href=(path) { "Reset" } }
        }
    }
}

/// A table of calls.
#[must_use]
pub fn table(caption: &str, rows: &[UsageView], columns: Columns) -> Markup {
    let everybody = columns == Columns::Everybody;
    let decimals = format::decimals_for(rows.iter().map(|view| view.row.cost_nanousd));
    html! {
        @if rows.is_empty() {
            div.empty { strong { "No calls" } p { "Nothing fits. Choose a longer time, or fewer conditions." } }
        } @else {
            div.scroll tabindex="0" { table {
                caption { (caption) }
                thead { tr {
                    th scope="col" { "Ended (UTC)" }
                    @if everybody { th scope="col" { "User, group" } }
                    th scope="col" { "Model" } th scope="col" { "Target" }
                    th scope="col" { "Status" } th.num scope="col" { "Input" } th.num scope="col" { "Output" }
                    th.num scope="col" { "Cost" } th.num scope="col" { "Took" }
                } }
                tbody { @for view in rows { (line(view, everybody, decimals)) } }
            } }
        }
    }
}

fn line(view: &UsageView, everybody: bool, decimals: usize) -> Markup {
    let row = &view.row;
    let path = if everybody { "/ui/calls/" } else { "/ui/usage/calls/" };
    html! {
        tr {
            th scope="row" { a href=(format!("{path}{}", row.request_id)) { (format::second(row.created_at)) } }
            @if everybody { td { (row.user) @if let Some(group) = &row.group { div.hint { (group) } } } }
            td { (model(&row.model)) @if row.actual_model != row.model && !row.actual_model.is_empty() {
                " " span.muted { "→ " (row.actual_model) } } }
            td { @if row.target.is_empty() { span.muted { "none" } } @else { (row.target) }
                @if !view.attempts.is_empty() { " " span.tag.warn { (view.attempts.len()) " before" } }
                @if everybody { div.hint { "by " (row.source_node) } } }
            td { (status(view)) }
            td.num { (format::count(row.input_tokens)) } td.num { (format::count(row.output_tokens)) }
            td.num { (format::money_in(row.cost_nanousd, decimals)) }
            td.num { (format::duration_ms(row.duration_ms)) }
        }
    }
}

fn model(name: &str) -> &str {
    if name.is_empty() { "(none)" } else { name }
}

fn status(view: &UsageView) -> Markup {
    let row = &view.row;
    let tone = match row.outcome.as_str() {
        "ok" => "good",
        "client_gone" => "",
        _ => "bad",
    };
    html! {
        span class=(format!("tag {tone}")) { (row.status_code) " " (row.outcome.as_str()) }
        @if row.token_source.as_str() == "estimated" { " " span.tag.warn { "estimated" } }
    }
}

/// The way to older calls.
#[must_use]
pub fn pager(path: &str, asked: &Asked, span: &Span, next: Option<&str>) -> Markup {
    let params = asked.params(span);
    let first = asked.cursor().is_some().then(|| link(path, &params));
    let next = next.map(|cursor| {
        let cursor = vec![("cursor", cursor.to_owned())];
        link(path, &[params.clone(), cursor].concat())
    });
    html! {
        @if first.is_some() || next.is_some() {
            nav.pager aria-label="Pages of calls" {
                span { @if let Some(first) = first { a href=(first) { "Newest" } } }
                span { @if let Some(next) = next { a href=(next) rel="next" { "Older" } } }
            }
        }
    }
}

/// All that is known of one call.
#[must_use]
pub fn whole(view: &UsageView) -> Markup {
    let row = &view.row;
    let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("–").to_owned();
    let facts: Vec<(&str, Markup)> = vec![
        ("Ended", html! { (format::second(row.created_at)) " UTC" }),
        ("User", html! { (row.user) }),
        ("Group", html! { (text(row.group.as_deref())) }),
        ("Model asked for", html! { (model(&row.model)) }),
        ("Model that answered", html! { (text(Some(&row.actual_model))) }),
        ("Dialect", html! { (row.provider.as_str()) }),
        ("Target", html! { (text(Some(&row.target))) " " span.muted { (row.upstream_url) } }),
        ("Node", html! { (row.source_node) }),
        ("Status", html! { (status(view)) }),
        (
            "Took",
            html! { (format::duration_ms(row.duration_ms))
            @if let Some(first) = row.ttfb_ms { ", first byte after " (format::duration_ms(first)) } },
        ),
        ("Converted from", html! { (text(view.converted_from.as_deref())) }),
        ("Stream", html! { @if row.is_streaming { "yes" } @else { "no" } }),
        (
            "Input tokens",
            html! { (format::count(row.input_tokens)) span.muted { ", of these read from the cache " (format::count(row.cache_read_tokens))
            ", written to it for 5 minutes " (format::count(row.cache_write_tokens)) ", for an hour " (format::count(row.cache_write_1h_tokens)) } },
        ),
        (
            "Output tokens",
            html! { (format::count(row.output_tokens)) span.muted { ", of these reasoning " (format::count(row.reasoning_tokens)) } },
        ),
        ("Counts", html! { (row.token_source.as_str()) }),
        (
            "Cost",
            html! { data value=(row.cost_nanousd) { "$" (row.cost_usd) }
            @if view.price_default { " " span.tag.warn { "default price" } } },
        ),
        ("Session", html! { (text(row.session_id.as_deref())) }),
        ("Agent", html! { (text(row.agent_id.as_deref())) }),
        ("Caller's own id", html! { (text(row.client_request_id.as_deref())) }),
        ("Request id", html! { code { (row.request_id) } }),
    ];
    html! {
        section.card { div.scroll tabindex="0" { table {
            caption { "The call" }
            tbody { @for (name, value) in facts { tr { th scope="row" { (name) } td { (value) } } } }
        } } }
        @if !view.attempts.is_empty() {
            section.card { div.scroll tabindex="0" { table {
                caption { "Attempts before the answer" small { "Targets that failed before one answered; what they cost is part of the cost." } }
                thead { tr { th scope="col" { "Target" } th scope="col" { "Key" } th scope="col" { "Model" } th scope="col" { "Reason" }
                    th.num scope="col" { "Status" } th.num scope="col" { "Took" } th.num scope="col" { "Cost" } } }
                tbody { @for attempt in &view.attempts { tr {
                    th scope="row" { (attempt.target) } td { (attempt.key) } td { (attempt.model) } td { (attempt.reason) }
                    td.num { @if let Some(status) = attempt.status_code { (status) } @else { "–" } }
                    td.num { (format::duration_ms(attempt.duration_ms)) } td.num { (format::money_in(attempt.cost_nanousd, 6)) }
                } } }
            } } }
        }
        @if !view.parts.is_empty() {
            section.card { div.scroll tabindex="0" { table {
                caption { "Steps that were billed one by one" }
                thead { tr { th scope="col" { "Model" } th.num scope="col" { "Input" } th.num scope="col" { "Output" } th.num scope="col" { "Cost" } } }
                tbody { @for part in &view.parts { tr {
                    th scope="row" { (part.model) } td.num { (format::count(part.input_tokens)) } td.num { (format::count(part.output_tokens)) }
                    td.num { (format::money_in(part.cost_nanousd, 6)) }
                } } }
            } } }
        }
    }
}
