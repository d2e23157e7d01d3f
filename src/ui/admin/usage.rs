//! Everybody's usage: sums by whatever one asks for, and the calls behind them.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use crate::domain::summary::{StatRow, StatsBy};
use crate::domain::usage::UsageFilter;
use crate::http::control::ControlState;
use crate::http::input::{PathParam, QueryParams};
use crate::http::problem::ApiResult;
use crate::http::sums::TotalsView;
use crate::http::{sums as figures, usage};
use crate::ui::breakdown::{self, Measure};
use crate::ui::calls::{self, Asked};
use crate::ui::chart;
use crate::ui::permit::PeopleReader;
use crate::ui::shell::{self, Page};
use crate::ui::span::{Span, link};
use crate::ui::sums;

const PATH: &str = "/ui/all-usage";
const ROWS: usize = 200;
const BY: [(&str, &str, StatsBy); 5] = [
    ("user", "User", StatsBy::User),
    ("group", "Group", StatsBy::Group),
    ("model", "Model", StatsBy::Model),
    ("node", "Node", StatsBy::Node),
    ("day", "Day", StatsBy::Day),
];

/// Everybody's usage.
pub async fn show(
    State(state): State<ControlState>,
    PeopleReader { who, scope }: PeopleReader,
    QueryParams(asked): QueryParams<Asked>,
) -> ApiResult<Response> {
    let now = state.clock.now();
    let span = Span::read(&asked.span, "7d", now)?;
    let names =
        usage::Named { user: asked.user(), group: asked.group(), model: asked.model(), node: asked.node() };
    let filter = usage::filter_of(&state, &scope, names).await?;
    let filter = UsageFilter { errors: asked.errors(), from: span.from, to: span.to, ..filter };
    let chosen = BY.into_iter().find(|(word, ..)| asked.by.as_deref() == Some(*word));
    let total = figures::total_of(&state, &filter).await?;
    let params = asked.params(&span);
    let with = |more: Vec<(&'static str, String)>| link(PATH, &replaced(&params, more));
    let errors = with(vec![("status", "errors".to_owned())]);
    let content = html! {
        (shell::heading("Usage", html! { "Every sum leads to its calls. The address of this page keeps what you have chosen." }, exports(&asked, &span)))
        (calls::filters(PATH, &asked, &span, html! {
            div.field { label for="user" { "User" } input id="user" name="user" value=(asked.user().unwrap_or_default()) autocomplete="off" spellcheck="false"; }
            div.field { label for="group" { "Group" } input id="group" name="group" value=(asked.group().unwrap_or_default()) autocomplete="off" spellcheck="false"; }
            div.field { label for="node" { "Node" } input id="node" name="node" value=(asked.node().unwrap_or_default()) autocomplete="off" spellcheck="false"; }
        }))
        (sums::figures(&total, &with(vec![]), &errors))
        (sums::scope(&total, &span))
        div.row {
            (span.presets(PATH, &replaced(&without_time(&params), chosen.iter().map(|(word, ..)| ("by", (*word).to_owned())).collect())))
            (grouping(&params, chosen.map(|(word, ..)| word)))
        }
    };
    let page = Page { place: shell::ALL_USAGE, title: "Usage", content };
    Ok(page.answer_in_parts(&who, async move {
        match chosen {
            None => {
                let page = usage::page_of(&state, &filter, calls::ROWS, asked.cursor()).await?;
                Ok(html! { section.card {
                    (calls::table("Calls", &page.items, calls::Columns::Everybody))
                    (calls::pager(PATH, &asked, &span, page.next_cursor.as_deref()))
                } })
            }
            Some(by) => grouped(&state, &filter, &asked, &span, by, &total.totals).await,
        }
    }))
}

/// Sums by what was chosen, and a chart of their days.
async fn grouped(
    state: &ControlState,
    filter: &UsageFilter,
    asked: &Asked,
    span: &Span,
    (word, heading, by): (&'static str, &'static str, StatsBy),
    total: &TotalsView,
) -> ApiResult<Markup> {
    let (now, params) = (state.clock.now(), asked.params(span));
    let measure = Measure::read(asked.measure.as_deref());
    let with = |more: Vec<(&'static str, String)>| link(PATH, &replaced(&params, more));
    let rows = figures::rows_of(state, by, filter, ROWS, asked.cursor()).await?;
    let keep = [params.clone(), vec![("by", word.to_owned())]].concat();
    let pager = rows.next_cursor.as_ref().map(|cursor| {
        let next = link(PATH, &[keep.clone(), vec![("cursor", cursor.clone())]].concat());
        html! { nav.pager aria-label="Pages of sums" { a href=(next) rel="next" { "Next " (ROWS) } } }
    });
    // Days by days would say nothing.
    let chart = if by == StatsBy::Day {
        let models = figures::rows_of(state, StatsBy::Model, filter, chart::COLOURS, None).await?;
        breakdown::days(state, filter, StatsBy::Model, &models.items, measure, now).await?
    } else {
        breakdown::days(state, filter, by, &rows.items, measure, now).await?
    };
    Ok(html! {
        section.card aria-labelledby="by-day" {
            header { h2 id="by-day" { (measure.heading()) " per day" } span.more { (measure.links(PATH, &keep)) } }
            div.inside { (chart) }
        }
        section.card { (sums::table(&format!("By {word}"), heading, &rows, total, pager, |row| named(row, by, &with))) }
    })
}

/// What an address says, with some of it said otherwise.
fn replaced(
    params: &[(&'static str, String)],
    more: Vec<(&'static str, String)>,
) -> Vec<(&'static str, String)> {
    let kept = params.iter().filter(|(name, _)| more.iter().all(|(other, _)| name != other));
    kept.cloned().chain(more.iter().cloned()).collect()
}

fn without_time(params: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    params.iter().filter(|(name, _)| !matches!(*name, "span" | "from" | "to")).cloned().collect()
}

/// A row's name, and where its calls are.
fn named(
    row: &StatRow,
    by: StatsBy,
    with: &impl Fn(Vec<(&'static str, String)>) -> String,
) -> (String, String) {
    let to = match by {
        _ if row.key.is_empty() => String::new(),
        StatsBy::User => with(vec![("user", row.key.clone())]),
        StatsBy::Group => with(vec![("group", row.key.clone())]),
        StatsBy::Model => with(vec![("model", row.key.clone())]),
        StatsBy::Node => with(vec![("node", row.key.clone())]),
        StatsBy::Day => String::new(),
    };
    (row.name.clone(), to)
}

fn grouping(params: &[(&'static str, String)], chosen: Option<&str>) -> Markup {
    html! {
        nav.spans aria-label="Show" {
            a href=(link(PATH, params)) aria-current=[chosen.is_none().then_some("true")] { "Calls" }
            @for (word, heading, _) in BY {
                a href=(link(PATH, &[params.to_vec(), vec![("by", word.to_owned())]].concat()))
                    aria-current=[(chosen == Some(word)).then_some("true")] { "By " (heading.to_lowercase()) }
            }
        }
    }
}

fn exports(asked: &Asked, span: &Span) -> Markup {
    let keep = asked.params(span).into_iter().filter(|(name, _)| *name != "span");
    let params: Vec<_> =
        keep.filter(|(name, _)| !matches!(*name, "from" | "to")).chain(span.window()).collect();
    let to =
        |format: &str| link("/ui/export", &[params.clone(), vec![("format", format.to_owned())]].concat());
    html! { a.button href=(to("csv")) { "Export CSV" } a.button href=(to("jsonl")) { "Export JSONL" } }
}

/// Every call that fits, as a file: what the API exports.
pub async fn export(
    State(state): State<ControlState>,
    PeopleReader { scope, .. }: PeopleReader,
    QueryParams(params): QueryParams<usage::UsageParams>,
) -> ApiResult<Response> {
    let mut answer = usage::answer_to(state, &scope, &params).await?;
    let name = axum::http::HeaderValue::from_static("attachment; filename=\"usage\"");
    answer.headers_mut().insert(axum::http::header::CONTENT_DISPOSITION, name);
    Ok(answer)
}

/// One call.
pub async fn call(
    State(state): State<ControlState>,
    PeopleReader { who, scope }: PeopleReader,
    PathParam(id): PathParam<String>,
) -> ApiResult<Response> {
    let view = usage::one(&state, &id, |record| scope.covers(record.group_id)).await?;
    let content = html! {
        (shell::heading("A call", html! { a href=(PATH) { "All usage" } }, html! {}))
        (calls::whole(&view))
    };
    Ok(Page { place: shell::ALL_USAGE, title: "A call", content }.answer(&who))
}
