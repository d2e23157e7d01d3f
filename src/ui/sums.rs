//! Sums on a page: as the API gives them, with what they can be trusted for beside them.

use maud::{Markup, html};

use crate::domain::summary::StatRow;
use crate::http::paging::List;
use crate::http::sums::{StatsView, TotalsView};
use crate::ui::format;
use crate::ui::span::Span;

/// The sums at a glance; requests and errors lead to their rows.
#[must_use]
pub fn figures(stats: &StatsView, rows: &str, errors: &str) -> Markup {
    let totals = &stats.totals;
    let linked = |to: &str, figure: Markup| html! { @if to.is_empty() { (figure) } @else { a href=(to) { (figure) } } };
    html! {
        dl.figures {
            div { dt { "Cost" } dd id="total-cost" { (format::money(totals.cost_nanousd)) } }
            div { dt { "Tokens" } dd id="total-tokens" { (format::short(totals.total_tokens))
                small { (format::short(totals.total_input)) " in, " (format::short(totals.total_output)) " out" } } }
            div { dt { "Requests" } dd id="total-requests" { (linked(rows, format::short(totals.request_count))) } }
            div { dt { "Errors" } dd id="total-errors" { (linked(errors, format::short(totals.error_count)))
                small { (format::share(totals.error_count, totals.request_count)) " of requests" } } }
            div { dt { "From cache" } dd { (format::share(totals.cache_read_tokens, totals.total_input))
                small { (format::short(totals.cache_read_tokens)) " input tokens" } } }
        }
    }
}

/// What the sums are of, and up to when they are known to be complete.
#[must_use]
pub fn scope(stats: &StatsView, span: &Span) -> Markup {
    html! {
        p.scope {
            "Days are UTC. " (span.words()) ". "
            @match stats.complete_through {
                Some(at) => { "Complete through " (format::minute(at)) " UTC." }
                None => { "Nobody knows yet up to when this is complete." }
            }
            @for node in &stats.incomplete {
                " " strong { (node.node) } " may have more, from " (format::minute(node.since)) " on: "
                @if node.unsynced > 0 { (format::count(node.unsynced)) " calls that it has not pushed." } @else { "it is not heard of." }
            }
            @if stats.totals.default_priced_requests > 0 {
                " " (format::count(stats.totals.default_priced_requests)) " calls of models that are in no price list cost the default."
            }
        }
    }
}

/// Rows of sums, with the sum of all below; `more` leads to the next page. `named` is a row's name, and where its calls are.
pub fn table(
    caption: &str,
    heading: &str,
    rows: &List<StatRow>,
    total: &TotalsView,
    more: Option<Markup>,
    named: impl Fn(&StatRow) -> (String, String),
) -> Markup {
    let decimals = format::decimals_for(rows.items.iter().map(|row| row.totals.cost_nanousd));
    html! {
        div.scroll tabindex="0" { table {
            caption { (caption) }
            thead { tr { th scope="col" { (heading) } th.num scope="col" { "Requests" } th.num scope="col" { "Errors" }
                th.num scope="col" { "Input" } th.num scope="col" { "Cached" } th.num scope="col" { "Output" } th.num scope="col" { "Cost" } } }
            tbody { @for row in &rows.items {
                @let (name, to) = named(row);
                tr {
                    th scope="row" { @if to.is_empty() { (called(&name)) } @else { a href=(to) { (called(&name)) } } }
                    (numbers(&TotalsView::from(row.totals), decimals))
                }
            } }
            tfoot { tr { th scope="row" { "All" } (numbers(total, decimals)) } }
        } }
        @if rows.next_cursor.is_some() {
            @if let Some(more) = more { (more) } @else { footer { "These are the largest; there are more." } }
        }
    }
}

fn called(name: &str) -> &str {
    if name.is_empty() { "(none)" } else { name }
}

fn numbers(totals: &TotalsView, decimals: usize) -> Markup {
    html! {
        td.num { (format::count(totals.request_count)) } td.num { (format::count(totals.error_count)) }
        td.num { (format::count(totals.total_input)) } td.num { (format::share(totals.cache_read_tokens, totals.total_input)) }
        td.num { (format::count(totals.total_output)) } td.num { (format::money_in(totals.cost_nanousd, decimals)) }
    }
}
