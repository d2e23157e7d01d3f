//! Models, and what they cost.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use crate::domain::price::{Entry, Rates, usd_per_million};
use crate::domain::summary::StatsBy;
use crate::domain::usage::UsageFilter;
use crate::http::control::ControlState;
use crate::http::problem::ApiResult;
use crate::http::sums;
use crate::ui::format;
use crate::ui::permit::ClusterReader;
use crate::ui::shell::{self, Page};
use crate::ui::span::{Span, SpanParams, link};

const ROWS: usize = 100;

/// Models and prices.
pub async fn show(
    State(state): State<ControlState>,
    ClusterReader(who): ClusterReader,
) -> ApiResult<Response> {
    let span = Span::read(&SpanParams::default(), "30d", state.clock.now())?;
    let filter = UsageFilter { from: span.from, to: span.to, ..UsageFilter::default() };
    let used = sums::rows_of(&state, StatsBy::Model, &filter, ROWS, None).await?;
    let prices = state.live.now().prices.clone();
    let decimals = format::decimals_for(used.items.iter().map(|row| row.totals.cost_nanousd));
    let content = html! {
        (shell::heading("Models and prices", html! { "USD per million tokens, of this node's price list. A call keeps the price that it was booked with." }, html! {}))
        section.card {
            @if used.items.is_empty() { div.empty { strong { "No model was used in the last 30 days" } p { "Prices that would hold are below." } } } @else {
                div.scroll tabindex="0" { table {
                    caption { "Used in the last 30 days" small { "What each would cost now. Models that only the default knows should get a price of their own in " code { "[prices]" } "." } }
                    thead { tr { th scope="col" { "Model" } th scope="col" { "Priced by" } th.num scope="col" { "Input" } th.num scope="col" { "Output" }
                        th.num scope="col" { "Requests" } th.num scope="col" { "Cost" } } }
                    tbody { @for row in used.items.iter().filter(|row| !row.key.is_empty()) {
                        @let entry = prices.find(&row.key);
                        tr {
                            th scope="row" { a href=(link("/ui/all-usage", &[("span", "30d".to_owned()), ("model", row.key.clone())])) { (row.key) } }
                            td { @if prices.known(&row.key).is_some() { code { (entry.glob()) } } @else { span.tag.warn { "default price" } } }
                            td.num { (rate(entry.price.base.input)) } td.num { (rate(entry.price.base.output)) }
                            td.num { (format::count(row.totals.request_count)) } td.num { (format::money_in(row.totals.cost_nanousd, decimals)) }
                        }
                    } }
                } }
            }
        }
        section.card { div.scroll tabindex="0" { table {
            caption { "Price list" small { "The most specific glob holds; the default, for what none knows, stands last." } }
            thead { tr { th scope="col" { "Models" } th.num scope="col" { "Input" } th.num scope="col" { "Output" } th.num scope="col" { "Cache read" }
                th.num scope="col" { "Cache write, 5 min" } th.num scope="col" { "1 h" } th scope="col" { "From" } } }
            tbody { @for entry in prices.entries() { (line(entry)) } }
        } } }
    };
    Ok(Page { place: shell::MODELS, title: "Models and prices", content }.answer(&who))
}

fn line(entry: &Entry) -> Markup {
    html! {
        tr { th scope="row" { code { (entry.glob()) } } (rates(&entry.price.base)) td { span.tag { (entry.source.as_str()) } } }
        @if let Some(tier) = &entry.price.long_context {
            tr { th scope="row" { span.muted { "above " (format::count(tier.above_input_tokens)) " input tokens" } } (rates(&tier.rates)) td {} }
        }
    }
}

fn rates(rates: &Rates) -> Markup {
    html! { @for value in [rates.input, rates.output, rates.cache_read, rates.cache_write, rates.cache_write_1h] { td.num { (rate(value)) } } }
}

fn rate(pico_per_token: u64) -> String {
    let usd = usd_per_million(pico_per_token);
    let text = format!("{usd:.4}");
    let short = text.strip_suffix("00").unwrap_or(&text);
    format!("${short}")
}
