//! What somebody has used: their own page, and the parts that it shares with everybody's.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::domain::summary::{ClientSession, StatsBy};
use crate::domain::usage::UsageFilter;
use crate::http::browser::SignedIn;
use crate::http::control::ControlState;
use crate::http::input::{PathParam, QueryParams};
use crate::http::problem::ApiResult;
use crate::http::{sums as http_sums, usage};
use crate::ui::breakdown::{self, Measure};
use crate::ui::format;
use crate::ui::shell::{self, Page};
use crate::ui::span::{Span, SpanParams, link};
use crate::ui::{calls, sums};

const PATH: &str = "/ui/usage";
const CALLS: &str = "/ui/usage/calls";
/// Models that a page shows by name.
const MODELS_MAX: usize = 50;
const LATEST: usize = 8;

/// What the address of the page says.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(flatten)]
    span: SpanParams,
    measure: Option<String>,
}

/// My usage.
pub async fn show(
    State(state): State<ControlState>,
    SignedIn(me): SignedIn,
    QueryParams(asked): QueryParams<Asked>,
) -> ApiResult<Response> {
    let now = state.clock.now();
    let span = Span::read(&asked.span, "30d", now)?;
    let measure = Measure::read(asked.measure.as_deref());
    let filter =
        UsageFilter { user_id: Some(me.user_id), from: span.from, to: span.to, ..UsageFilter::default() };
    let total = http_sums::total_of(&state, &filter).await?;
    let models = http_sums::rows_of(&state, StatsBy::Model, &filter, MODELS_MAX, None).await?;
    let chart = breakdown::days(&state, &filter, StatsBy::Model, &models.items, measure, now).await?;
    let sessions = http_sums::sessions_of(&state, me.user_id).await?;
    let latest = usage::page_of(&state, &filter, LATEST, None).await?;
    let rows = |more: &[(&'static str, String)]| link(CALLS, &[span.params(), more.to_vec()].concat());
    let keep = [("measure", measure.word().to_owned())];
    let content = html! {
        (shell::heading("Your usage", html! { "What your own calls have used and cost, whichever key they came with." },
            span.presets(PATH, &keep)))
        (sums::figures(&total, &rows(&[]), &rows(&[("status", "errors".to_owned())])))
        (sums::scope(&total, &span))
        @if total.totals.request_count == 0 {
            div.card { div.empty {
                strong { "No calls in this time" }
                p { "Your clients are not connected yet, or were quiet. " a href="/ui/connect" { "Connect a client" }
                    ", or choose a longer time above." }
            } }
        } @else {
            section.card aria-labelledby="by-day" {
                header { h2 id="by-day" { (measure.heading()) " per day" }
                    span.more { (measure.links(PATH, &span.params())) } }
                div.inside { (chart) }
            }
            section.card {
                (sums::table("By model", "Model", &models, &total.totals, None, |row| {
                    (row.name.clone(), rows(&[("model", row.key.clone())]))
                }))
            }
            @if !sessions.is_empty() { section.card { (sessions_table(&sessions)) } }
            section.card {
                (calls::table("Latest calls", &latest.items, calls::Columns::Own))
                footer { a href=(rows(&[])) { "All calls of this time" } }
            }
        }
    };
    Ok(Page { place: shell::MY_USAGE, title: "Your usage", content }.answer(&me))
}

fn sessions_table(sessions: &[ClientSession]) -> Markup {
    let decimals = format::decimals_for(sessions.iter().map(|session| session.cost_nanousd));
    html! {
        div.scroll tabindex="0" { table {
            caption { "Sessions of Claude Code" small { "The latest of the last 7 days, by what the client says of itself." } }
            thead { tr { th scope="col" { "Session" } th scope="col" { "Began (UTC)" } th scope="col" { "Last call" }
                th.num scope="col" { "Calls" } th.num scope="col" { "Tokens" } th.num scope="col" { "Cost" } } }
            tbody { @for session in sessions { tr {
                th scope="row" { code { (session.id.chars().take(13).collect::<String>()) } }
                td { (format::minute(session.first)) } td { (format::minute(session.last)) }
                td.num { (format::count(session.request_count)) } td.num { (format::count(session.total_tokens)) }
                td.num { (format::money_in(session.cost_nanousd, decimals)) }
            } } }
        } }
    }
}

/// One of my calls.
pub async fn my_call(
    State(state): State<ControlState>,
    SignedIn(me): SignedIn,
    PathParam(id): PathParam<String>,
) -> ApiResult<Response> {
    let view = usage::one(&state, &id, |record| record.user_id == me.user_id).await?;
    let content = html! {
        (shell::heading("A call", html! { a href=(CALLS) { "Your calls" } }, html! {}))
        (calls::whole(&view))
    };
    Ok(Page { place: shell::MY_USAGE, title: "A call", content }.answer(&me))
}

/// My calls, one by one.
pub async fn my_calls(
    State(state): State<ControlState>,
    SignedIn(me): SignedIn,
    QueryParams(asked): QueryParams<calls::Asked>,
) -> ApiResult<Response> {
    let span = Span::read(&asked.span, "30d", state.clock.now())?;
    let filter = UsageFilter {
        user_id: Some(me.user_id),
        model: asked.model().map(str::to_owned),
        errors: asked.errors(),
        from: span.from,
        to: span.to,
        ..UsageFilter::default()
    };
    let total = http_sums::total_of(&state, &filter).await?;
    let page = usage::page_of(&state, &filter, calls::ROWS, asked.cursor()).await?;
    let content = html! {
        (shell::heading("Your calls", html! { a href=(link(PATH, &span.params())) { "Your usage" } " · " (span.words()) }, html! {}))
        (calls::filters(CALLS, &asked, &span, html! {}))
        (sums::figures(&total, "", ""))
        (sums::scope(&total, &span))
        section.card {
            (calls::table("Calls", &page.items, calls::Columns::Own))
            (calls::pager(CALLS, &asked, &span, page.next_cursor.as_deref()))
        }
    };
    Ok(Page { place: shell::MY_USAGE, title: "Your calls", content }.answer(&me))
}
