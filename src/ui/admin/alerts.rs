//! Who is told of what happens, and what they were told.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::http::alerts::{self, AlertEventView, AlertReceiverView};
use crate::http::control::ControlState;
use crate::http::input::{Caller, QueryParams};
use crate::http::paging::{List, place};
use crate::http::problem::ApiResult;
use crate::store::AlertRepo;
use crate::ui::format;
use crate::ui::permit::{self, Admin, ClusterReader};
use crate::ui::shell::{self, Page};
use crate::ui::span::link;

const PATH: &str = "/ui/alerts";
/// Where a test is asked for.
const TEST: &str = "/ui/alerts/test";
const ROWS: usize = 50;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    cursor: Option<String>,
}

/// Alerts.
pub async fn show(
    State(state): State<ControlState>,
    ClusterReader(who): ClusterReader,
    QueryParams(asked): QueryParams<Asked>,
) -> ApiResult<Response> {
    page(&state, &who, asked.cursor.as_deref(), &html! {}).await
}

/// Sends a test event to every receiver, and says what came of it.
pub async fn test(State(state): State<ControlState>, Admin(who): Admin) -> ApiResult<Response> {
    let results = alerts::send_tests(&state, &who, None).await?;
    let told = html! { @for one in &results {
        @if one.delivered {
            div.notice.good role="status" { p { (one.name) " has taken the test event." } }
        } @else {
            div.notice.bad role="alert" { p { (one.name) " has not taken the test event: " (one.error.as_deref().unwrap_or("it did not say why")) "." } }
        }
    } };
    page(&state, &who, None, &told).await
}

async fn page(
    state: &ControlState,
    who: &Caller,
    cursor: Option<&str>,
    told: &Markup,
) -> ApiResult<Response> {
    let receivers = state.alerts.receivers().await?.into_iter().map(AlertReceiverView::from);
    let receivers: Vec<AlertReceiverView> = receivers.collect();
    let place = place(cursor)?;
    let page = AlertRepo::on(state.alerts.store_of(true)).page(ROWS, place).await?;
    let events = List::of(page, AlertEventView::from);
    let content = html! {
        (shell::heading("Alerts", html! { "Who is told of what happens, and what they were told." }, html! {
            @if !receivers.is_empty() && permit::may_administer(who) {
                form method="post" action=(TEST) { button type="submit" { "Send a test" } }
            }
        }))
        (told)
        section.card {
            @if receivers.is_empty() { div.empty { strong { "Nobody is told anything" } p { "Write " code { "[[alerts]]" } " with a " code { "url" } " into sproxy.toml; then " code { "sproxy alert test" } "." } } } @else {
                div.scroll tabindex="0" { table {
                    caption { "Receivers of " (state.node) }
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Host" } th scope="col" { "Events" } th.num scope="col" { "Waiting" } th scope="col" { "Last delivery (UTC)" } th scope="col" { "State" } } }
                    tbody { @for one in &receivers { tr {
                        th scope="row" { (one.name) } td { (one.host) " " span.tag { (one.format) } }
                        td { (one.events.join(", ")) } td.num { (format::count(one.waiting)) }
                        td { (format::minute_or(one.last_delivery_at, "never")) }
                        td { @if one.failures == 0 { span.tag.good { "fine" } } @else { span.tag.bad { (one.failures) " failures" } }
                            @if let Some(error) = &one.last_error { div.hint { (error) } } }
                    } } }
                } }
            }
        }
        section.card {
            @if events.items.is_empty() { div.empty { strong { "Nothing was raised yet" } p { "Events stand here once they happen, and what became of them." } } } @else {
                div.scroll tabindex="0" { table {
                    caption { "Events" }
                    thead { tr { th scope="col" { "When (UTC)" } th scope="col" { "Event" } th scope="col" { "What" } th scope="col" { "Node" } th scope="col" { "Told" } th scope="col" { "State" } } }
                    tbody { @for event in &events.items { tr {
                        th scope="row" { (format::second(event.created_at)) } td { code { (event.event) } } td { (event.title) } td { (event.node) } td { (event.receiver) }
                        td { span class=(if event.state == "delivered" { "tag good" } else { "tag warn" }) { (event.state) }
                            @if let Some(error) = &event.error { div.hint { (error) } } }
                    } } }
                } }
            }
            @if let Some(next) = &events.next_cursor {
                nav.pager aria-label="Pages of events" { a href=(link(PATH, &[("cursor", next.clone())])) rel="next" { "Older" } }
            }
        }
    };
    Ok(Page { place: shell::ALERTS, title: "Alerts", content }.answer(who))
}
