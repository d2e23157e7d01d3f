//! What one may still use.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use crate::domain::clock::Timestamp;
use crate::http::browser::SignedIn;
use crate::http::control::ControlState;
use crate::http::me::{self, QuotaView};
use crate::http::problem::ApiResult;
use crate::ui::shell::{self, Page};
use crate::ui::{chart, format};

/// My limits.
pub async fn show(State(state): State<ControlState>, SignedIn(me): SignedIn) -> ApiResult<Response> {
    let (quota, now) = (me::quota_of(&state, &me)?, state.clock.now());
    let content = html! {
        (shell::heading("Your limits", html! { "A call is let through while what is used is below the limit. A limit that is not set does not hold you." }, html! {}))
        div.grid {
            (of("Your own", &quota.user, now))
            @if let Some(group) = &quota.group { (of(&format!("Group {}, which its members share", group.name), group, now)) }
        }
        p.scope { "Days and months are UTC. Tokens and money are of all nodes; requests a minute and calls in flight are of each node by itself." }
    };
    Ok(Page { place: shell::MY_LIMITS, title: "Your limits", content }.answer(&me))
}

/// The limits of a user or a group, with what is used of them.
#[must_use]
pub fn of(heading: &str, quota: &QuotaView, now: Timestamp) -> Markup {
    let (limits, used) = (&quota.limits, &quota.used);
    let counts = [
        ("Tokens today", limits.daily_tokens, used.daily_tokens, Some(quota.day_resets_at)),
        ("Tokens this month", limits.monthly_tokens, used.monthly_tokens, Some(quota.month_resets_at)),
        ("Requests in a minute", limits.rpm.map(u64::from), u64::from(used.rpm), None),
        ("Calls in flight", limits.concurrent.map(u64::from), u64::from(used.concurrent), None),
    ];
    let is_free = counts.iter().all(|(_, limit, ..)| limit.is_none())
        && limits.monthly_usd.is_none()
        && limits.max_tokens.is_none()
        && limits.models.is_none();
    html! {
        section.card {
            header { h2 { (heading) } }
            @if is_free { div.empty { strong { "No limits" } p { "Nothing is set here." } } } @else {
                div.limits {
                    @if let (used, Some(limit)) = quota.monthly_nanousd {
                        (bar("Money this month", (&format::usd(used, 2), &format::usd(limit, 2)), (cents(used), cents(limit)),
                            Some((quota.month_resets_at, now))))
                    }
                    @for (name, limit, used, resets) in counts {
                        @if let Some(limit) = limit {
                            (bar(name, (&format::grouped(used), &format::grouped(limit)), (used, limit), resets.map(|at| (at, now))))
                        }
                    }
                    @if let Some(most) = limits.max_tokens {
                        p { strong { "Longest answer: " } (format::count(most)) " tokens (" code { "max_tokens" } ")" }
                    }
                    @if let Some(models) = &limits.models {
                        p { strong { "Models: " } @if models.is_empty() { "none" } @for (at, model) in models.iter().enumerate() { @if at > 0 { ", " } code { (model) } } }
                    }
                }
            }
        }
    }
}

fn cents(nanousd: i64) -> u64 {
    u64::try_from(nanousd / 10_000_000).unwrap_or_default()
}

fn bar(
    name: &str,
    (used, limit): (&str, &str),
    (part, whole): (u64, u64),
    resets: Option<(Timestamp, Timestamp)>,
) -> Markup {
    let told = format!("{name}: {used} of {limit}");
    html! {
        div.limit {
            div.row { strong { (name) } span { (used) " of " (limit) @if whole > 0 && part >= whole { " " span.tag.bad { "spent" } } } }
            (chart::meter(&told, part, whole))
            @if let Some((at, now)) = resets { p.hint { "Begins anew " (format::in_time(at, now)) ", at " (format::minute(at)) " UTC" } }
        }
    }
}
