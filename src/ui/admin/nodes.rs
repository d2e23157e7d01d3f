//! Where calls go, and who takes them: targets and nodes.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::domain::clock::Timestamp;
use crate::domain::usage::UsageFilter;
use crate::http::control::ControlState;
use crate::http::input::{PathParam, QueryParams};
use crate::http::peers::{self, PeerView};
use crate::http::problem::{ApiError, ApiResult};
use crate::http::sums as figures;
use crate::http::targets::{self, UpstreamTargetView};
use crate::ui::format;
use crate::ui::permit::{self, Admin, ClusterReader};
use crate::ui::shell::{self, Page};
use crate::ui::sign_in::redirect;
use crate::ui::span::link;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    done: Option<String>,
}

/// The targets of the node that answers.
pub async fn targets(
    State(state): State<ControlState>,
    ClusterReader(who): ClusterReader,
    QueryParams(asked): QueryParams<Asked>,
) -> Response {
    let (targets, now) = (targets::all(&state), state.clock.now());
    let may_act = permit::may_administer(&who);
    let content = html! {
        (shell::heading("Targets", html! { "Where " (state.node) " sends calls, and how it finds them. Other nodes have their own view: " code { "sproxy target list --server" } "." }, html! {}))
        (shell::done(asked.done.as_deref()))
        section.card {
            @if targets.is_empty() {
                div.empty { strong { "No target is configured" }
                    p { "Write " code { "[[targets]]" } " into sproxy.toml, or set a provider's key, such as " code { "ANTHROPIC_API_KEY" } "; then " code { "sproxy config reload" } "." } }
            } @else {
                div.scroll tabindex="0" { table {
                    caption { "Targets" }
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Dialect" } th scope="col" { "Tier, weight" } th scope="col" { "Models" } th scope="col" { "Health" }
                        th.num scope="col" { "Attempts" } th.num scope="col" { "Failures" } th.num scope="col" { "In flight" } th.tight scope="col" { span.hidden { "Drain" } } } }
                    tbody { @for target in &targets { (target_line(target, now, may_act)) } }
                } }
            }
        }
    };
    Page { place: shell::TARGETS, title: "Targets", content }.answer(&who)
}

fn target_line(target: &UpstreamTargetView, now: Timestamp, may_act: bool) -> Markup {
    let (name, verb) = (&target.name, if target.draining { "undrain" } else { "drain" });
    html! {
        tr {
            th scope="row" { (name) div.hint { (target.url) } }
            td { (target.provider.as_str()) }
            td { (target.tier) ", " (target.weight) }
            td { @for (at, model) in target.models.iter().enumerate() { @if at > 0 { ", " } code { (model) } } }
            td {
                @if target.draining { span.tag.warn { "draining" } } @else if target.healthy { span.tag.good { "healthy" } } @else { span.tag.bad { "not healthy" } }
                @if let Some(until) = target.cooling_until { " " span.small { "cools until " (format::second(until)) " (" (format::in_time(until, now)) ")" } }
                @if let Some(reason) = &target.reason { div.hint { (reason) } }
                @if let (Some(error), Some(at)) = (&target.last_error, target.last_error_at) { div.hint { "Last failure " (format::second(at)) ": " (error) } }
                @for key in &target.keys {
                    div.hint { "Key " (key.name) ": " @if key.healthy { "healthy" } @else { (key.reason.as_deref().unwrap_or("not healthy")) }
                        ", " (format::count(key.attempts)) " attempts, " (format::count(key.failures)) " failed" }
                }
            }
            td.num { (format::count(target.attempts)) } td.num { (format::count(target.failures)) } td.num { (target.in_flight) }
            td.tight { @if may_act { form method="post" action=(format!("{}/{verb}", segment("/ui/targets/", name))) {
                button.quiet type="submit" aria-label=(format!("{verb} {name}")) { @if target.draining { "Undrain" } @else { "Drain" } } } } }
        }
    }
}

/// A name as one segment of a path.
fn segment(before: &str, name: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("{before}{}", encoded.replace('+', "%20"))
}

/// Drains a target, or gives it calls again.
pub async fn act_on_target(
    State(state): State<ControlState>,
    Admin(who): Admin,
    PathParam((name, what)): PathParam<(String, String)>,
) -> ApiResult<Response> {
    drop(targets::set_draining(&state, &who, &name, drains(&what)?).await?);
    Ok(redirect(&format!("/ui/targets?done=target-{what}")))
}

fn drains(what: &str) -> ApiResult<bool> {
    match what {
        "drain" => Ok(true),
        "undrain" => Ok(false),
        _ => Err(ApiError::not_found("there is no such page")),
    }
}

/// The nodes of the cluster, and what their totals can be trusted for.
pub async fn peers(
    State(state): State<ControlState>,
    ClusterReader(who): ClusterReader,
    QueryParams(asked): QueryParams<Asked>,
) -> ApiResult<Response> {
    let (peers, may_act) = (peers::all(&state), permit::may_administer(&who));
    let today = state.clock.now().day_start();
    let filter = UsageFilter { from: Some(today), ..UsageFilter::default() };
    let total = figures::total_of(&state, &filter).await?;
    let content = html! {
        (shell::heading("Nodes", html! { "The nodes of this cluster, as " (state.node) " knows them." }, html! {}))
        (shell::done(asked.done.as_deref()))
        @match total.complete_through {
            Some(at) => { div.notice { p { strong { "Totals are complete through " (format::minute(at)) " UTC." }
                @if total.incomplete.is_empty() { " Nobody owes anything." } } (owing(&total.incomplete)) } }
            None => { div.notice.warn { p { "Nobody knows yet up to when totals are complete." } (owing(&total.incomplete)) } }
        }
        section.card {
            @if peers.is_empty() { div.empty { strong { "A node by itself" } p { "Another node joins with " code { "cluster.leader" } " in its sproxy.toml." } } } @else {
                div.scroll tabindex="0" { table {
                    caption { "Nodes" }
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Role" } th scope="col" { "State" } th scope="col" { "Last seen (UTC)" } th.num scope="col" { "Owes" }
                        th scope="col" { "Owes nothing up to" } th.num scope="col" { "Weight" } th scope="col" { "Version" } th.tight scope="col" { span.hidden { "Change" } } } }
                    tbody { @for peer in &peers { (peer_line(peer, may_act)) } }
                } }
            }
        }
    };
    Ok(Page { place: shell::PEERS, title: "Nodes", content }.answer(&who))
}

fn owing(incomplete: &[figures::IncompleteView]) -> Markup {
    html! { @for node in incomplete { p { strong { (node.node) } " may have more, from " (format::minute(node.since)) " on; it is known to owe " (format::count(node.unsynced)) " calls." } } }
}

fn peer_line(peer: &PeerView, may_act: bool) -> Markup {
    let (id, verb) = (&peer.id, if peer.draining { "undrain" } else { "drain" });
    html! {
        tr {
            th scope="row" { (id) div.hint { a href=(link("/ui/all-usage", &[("node", id.clone())])) { "its calls" } " · " (peer.addr) } }
            td { (peer.role_word()) }
            td { @if peer.is_active { span.tag.good { "active" } } @else { span.tag.bad { "not heard of" } } @if peer.draining { " " span.tag.warn { "draining" } } }
            td { (format::minute_or(peer.last_seen, "never")) }
            td.num { (format::count(peer.unsynced)) }
            td { (format::minute_or(peer.synced_through, "not known")) }
            td.num { (peer.weight) } td { (peer.version) }
            td.tight { @if may_act {
                form method="post" action=(format!("/ui/peers/{id}/{verb}")) { button.quiet type="submit" aria-label=(format!("{verb} {id}")) { @if peer.draining { "Undrain" } @else { "Drain" } } }
                @if !peer.is_active {
                    form method="post" action=(format!("/ui/peers/{id}/forget")) {
                        button.quiet.danger type="submit" data-ask=(format!("Forget {id}? Totals wait for it no more, though it owes {} calls by its own word.", peer.unsynced)) aria-label=(format!("Forget {id}")) { "Forget" } }
                }
            } }
        }
    }
}

/// Drains a node, gives it traffic again, or forgets it.
pub async fn act_on_peer(
    State(state): State<ControlState>,
    Admin(who): Admin,
    PathParam((id, what)): PathParam<(String, String)>,
) -> ApiResult<Response> {
    if what == "forget" {
        peers::forget_one(&state, &who, &id).await?;
    } else {
        drop(peers::set_draining(&state, &who, &id, drains(&what)?).await?);
    }
    Ok(redirect(&format!("/ui/peers?done=peer-{what}")))
}
