//! What the whole gateway has used, and how it is.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::domain::clock::Timestamp;
use crate::domain::summary::StatsBy;
use crate::domain::usage::UsageFilter;
use crate::http::control::ControlState;
use crate::http::input::QueryParams;
use crate::http::problem::ApiResult;
use crate::http::sums::{self as figures, LatencyView, TotalsView};
use crate::http::{peers, targets};
use crate::ui::breakdown::{self, Measure};
use crate::ui::permit::{self, Area, PeopleReader};
use crate::ui::shell::{self, Page};
use crate::ui::span::{Span, SpanParams, link};
use crate::ui::{format, sums};

const PATH: &str = "/ui/overview";
const TOP: usize = 8;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(flatten)]
    span: SpanParams,
    measure: Option<String>,
}

/// The overview.
pub async fn show(
    State(state): State<ControlState>,
    PeopleReader { who, scope }: PeopleReader,
    QueryParams(asked): QueryParams<Asked>,
) -> ApiResult<Response> {
    let now = state.clock.now();
    let span = Span::read(&asked.span, "7d", now)?;
    let measure = Measure::read(asked.measure.as_deref());
    let within = scope.groups().map(<[_]>::to_vec);
    let filter = UsageFilter { within, from: span.from, to: span.to, ..UsageFilter::default() };
    let total = figures::total_of(&state, &filter).await?;
    let rows = link("/ui/all-usage", &span.params());
    let errors = link("/ui/all-usage", &[span.params(), vec![("status", "errors".to_owned())]].concat());
    let content = html! {
        (shell::heading("Overview", html! { "What everybody's calls have used and cost." },
            span.presets(PATH, &[("measure", measure.word().to_owned())])))
        @if permit::may_see(&who, Area::Cluster) { (health(&state)) }
        (sums::figures(&total, &rows, &errors))
        (sums::scope(&total, &span))
        @if total.totals.request_count == 0 {
            div.card { div.empty { strong { "No calls in this time" }
                p { "Create a user and a key, then " a href="/ui/connect" { "connect a client" } "; or choose a longer time above." } } }
        }
    };
    let page = Page { place: shell::OVERVIEW, title: "Overview", content };
    if total.totals.request_count == 0 {
        return Ok(page.answer(&who));
    }
    let latencies = scope.groups().is_none();
    let asked = Details { span, filter, measure, total: total.totals, latencies };
    Ok(page.answer_in_parts(&who, async move { details(&state, &asked, now).await }))
}

/// What the rest of the page is about.
struct Details {
    span: Span,
    filter: UsageFilter,
    measure: Measure,
    total: TotalsView,
    /// Whether to tell what calls take.
    latencies: bool,
}

/// What everything below the figures takes longer for.
async fn details(state: &ControlState, asked: &Details, now: Timestamp) -> ApiResult<Markup> {
    let Details { span, filter, measure, total, latencies: tells_latencies } = asked;
    let latency =
        async { if *tells_latencies { figures::latency_of(state, filter).await } else { Ok(None) } };
    let by_model = async {
        let models = figures::rows_of(state, StatsBy::Model, filter, TOP, None).await?;
        let chart = breakdown::days(state, filter, StatsBy::Model, &models.items, *measure, now).await?;
        Ok((models, chart))
    };
    let ((models, chart), users, groups, latency) = tokio::try_join!(
        by_model,
        figures::rows_of(state, StatsBy::User, filter, TOP, None),
        figures::rows_of(state, StatsBy::Group, filter, TOP, None),
        latency,
    )?;
    let rows =
        |more: &[(&'static str, String)]| link("/ui/all-usage", &[span.params(), more.to_vec()].concat());
    let by = |by: &str| vec![("by", by.to_owned())];
    let more = |word: &'static str| Some(html! { footer { a href=(rows(&by(word))) { "All of them" } } });
    Ok(html! {
        section.card aria-labelledby="by-day" {
            header { h2 id="by-day" { (measure.heading()) " per day, by model" }
                span.more { (measure.links(PATH, &span.params())) } }
            div.inside { (chart) }
        }
        @if let Some(latency) = latency { (latency_figures(&latency)) }
        section.card { (sums::table("Users", "User", &users, total, more("user"), |row| {
            (row.name.clone(), rows(&[("user", row.key.clone())]))
        })) }
        section.card { (sums::table("Groups", "Group", &groups, total, more("group"), |row| {
            let to = if row.key.is_empty() { String::new() } else { rows(&[("group", row.key.clone())]) };
            (row.name.clone(), to)
        })) }
        section.card { (sums::table("Models", "Model", &models, total, more("model"), |row| {
            (row.name.clone(), rows(&[("model", row.key.clone())]))
        })) }
    })
}

/// What needs somebody to look at it.
fn health(state: &ControlState) -> Markup {
    let peers = peers::all(state);
    let away: Vec<&str> = peers.iter().filter(|peer| !peer.is_active).map(|peer| peer.id.as_str()).collect();
    let targets = targets::all(state);
    let down: Vec<&str> =
        targets.iter().filter(|target| !target.healthy).map(|target| target.name.as_str()).collect();
    html! {
        @if targets.is_empty() {
            div.notice.warn { p { strong { "No target is configured. " } "Every call is told that no target serves its model: write "
                code { "[[targets]]" } " into sproxy.toml, or set a provider's key, such as " code { "ANTHROPIC_API_KEY" } "." } }
        }
        @if !down.is_empty() {
            div.notice.warn { p { strong { "Targets in trouble: " } (down.join(", ")) ". " a href="/ui/targets" { "What is wrong" } } }
        }
        @if !away.is_empty() {
            div.notice.warn { p { strong { "Nodes that are not heard of: " } (away.join(", ")) ". " a href="/ui/peers" { "What they owe" } } }
        }
    }
}

fn latency_figures(latency: &LatencyView) -> Markup {
    let first = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), format::duration_ms);
    html! {
        dl.figures aria-label="Latency" {
            div { dt { "First byte, median" } dd { (first(latency.ttfb_p50_ms)) } }
            div { dt { "First byte, 95 %" } dd { (first(latency.ttfb_p95_ms)) } }
            div { dt { "Whole answer, median" } dd { (format::duration_ms(latency.duration_p50_ms)) } }
            div { dt { "Whole answer, 95 %" } dd { (format::duration_ms(latency.duration_p95_ms))
                small { "of the latest " (format::count(latency.calls)) " complete answers" } } }
        }
    }
}
