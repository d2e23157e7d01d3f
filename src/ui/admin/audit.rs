//! Who changed what.

use axum::extract::State;
use axum::response::Response;
use maud::html;
use serde::Deserialize;
use serde_json::Value;

use crate::http::audit::AuditView;
use crate::http::control::ControlState;
use crate::http::input::QueryParams;
use crate::http::paging::{List, place};
use crate::http::problem::ApiResult;
use crate::store::{AuditFilter, AuditRepo};
use crate::ui::format;
use crate::ui::permit::ClusterReader;
use crate::ui::shell::{self, Page};
use crate::ui::span::link;

const PATH: &str = "/ui/audit";
const ROWS: usize = 100;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    actor: Option<String>,
    action: Option<String>,
    subject: Option<String>,
    cursor: Option<String>,
}

impl Asked {
    fn filter(&self) -> AuditFilter {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (actor, action, subject) = (text(&self.actor), text(&self.action), text(&self.subject));
        AuditFilter { actor, action, subject, ..AuditFilter::default() }
    }

    fn fields(&self) -> [(&'static str, &'static str, String); 3] {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        [
            ("actor", "Who", text(&self.actor)),
            ("action", "What", text(&self.action)),
            ("subject", "To whom", text(&self.subject)),
        ]
    }
}

/// The audit log.
pub async fn show(
    State(state): State<ControlState>,
    ClusterReader(who): ClusterReader,
    QueryParams(asked): QueryParams<Asked>,
) -> ApiResult<Response> {
    let page =
        AuditRepo::on(&state.store).page(&asked.filter(), ROWS, place(asked.cursor.as_deref())?).await?;
    let entries = List::of(page, AuditView::from);
    let content = html! {
        (shell::heading("Audit", html! { "Every change, by whom, from what to what." }, html! {}))
        form.card.filters method="get" action=(PATH) role="search" aria-label="Filter" {
            @for (name, label, value) in asked.fields() {
                div.field { label for=(name) { (label) } input id=(name) name=(name) value=(value) placeholder="*" autocomplete="off" spellcheck="false"; }
            }
            div.row { button.primary type="submit" { "Filter" } a.button href=(PATH) { "Reset" } }
        }
        section.card {
            @if entries.items.is_empty() { div.empty { strong { "Nothing was changed yet" } } } @else {
                div.scroll tabindex="0" { table {
                    caption { "Changes" }
                    thead { tr { th scope="col" { "When (UTC)" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "To whom" } th scope="col" { "Before" } th scope="col" { "After" } } }
                    tbody { @for entry in &entries.items { tr {
                        th scope="row" { (format::second(entry.at)) } td { (entry.actor) } td { code { (entry.action) } } td { (entry.subject) }
                        td { (detail(&entry.before)) } td { (detail(&entry.after)) }
                    } } }
                } }
            }
            @if let Some(next) = &entries.next_cursor {
                nav.pager aria-label="Pages of changes" { a href=(link(PATH, &older(&asked, next))) rel="next" { "Older" } }
            }
        }
    };
    Ok(Page { place: shell::AUDIT, title: "Audit", content }.answer(&who))
}

fn older(asked: &Asked, cursor: &str) -> Vec<(&'static str, String)> {
    let fields = asked.fields().into_iter().map(|(name, _, value)| (name, value));
    fields.chain([("cursor", cursor.to_owned())]).collect()
}

/// A change's values, in a line each.
fn detail(value: &Value) -> maud::Markup {
    html! {
        @match value {
            Value::Null => span.muted { "–" },
            Value::Object(fields) => @for (name, value) in fields { div.small { (name) ": " (plain(value)) } },
            other => span.small { (plain(other)) },
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}
