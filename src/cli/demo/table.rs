//! The live table: what each node served, pushed and still owes.

#![allow(clippy::print_stdout, reason = "a demo is watched on a terminal")]

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ContentArrangement, Table as Drawn};
use serde::Deserialize;

use super::cluster::DemoCluster;
use super::traffic::Traffic;
use super::verdict::Verdict;
use crate::domain::quota::usd;

/// The table on the screen.
pub(super) struct Table {
    shown: bool,
    live: bool,
    /// The last drawing, which the next one is drawn over.
    drawn: String,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct NodeStats {
    node: String,
    request_count: u64,
}

#[derive(Deserialize)]
struct PeerStats {
    id: String,
    is_active: bool,
    unsynced: u64,
}

impl Table {
    pub(super) fn new(shown: bool) -> Self {
        Self { shown, live: stdout().is_terminal(), drawn: String::new() }
    }

    /// A line that stays, above the table.
    pub(super) fn say(&mut self, text: &str) {
        if self.shown {
            let table = std::mem::take(&mut self.drawn);
            self.put(&over(&table), &format!("{text}\n"), table);
        }
    }

    /// Draws the table as it is now over the one before; only a terminal sees it.
    pub(super) async fn draw(&mut self, cluster: &DemoCluster, traffic: &Traffic) {
        if !self.shown || !self.live {
            return;
        }
        let pace = traffic.pace();
        let table = format!(
            "{}\n{:.0} % of the requests are over, {:.0} a second\n",
            rows(cluster, traffic).await,
            traffic.progress() * 100.0,
            pace.requests_per_second
        );
        let before = std::mem::take(&mut self.drawn);
        self.put(&over(&before), "", table);
    }

    /// Writes everything at once: a screen that is cleared first and drawn later flickers.
    fn put(&mut self, first: &str, text: &str, table: String) {
        let mut out = stdout().lock();
        let _nobody_watches =
            out.write_all(format!("{first}{text}{table}").as_bytes()).and_then(|()| out.flush());
        self.drawn = table;
    }

    /// What came of it, and below it what each node served, pushed and still owes.
    pub(super) async fn verdict(
        &mut self,
        verdict: &Verdict,
        json: bool,
        cluster: &DemoCluster,
        traffic: &Traffic,
    ) {
        if json {
            println!("{}", serde_json::to_string_pretty(verdict).unwrap_or_default());
            return;
        }
        let pace = traffic.pace();
        let mut lines = vec![
            format!("clients received {} complete answers", verdict.received),
            format!(
                "{} booked {} requests, {} tokens, {}",
                match cluster.leaders().len() {
                    0 | 1 => "sp-1 has".to_owned(),
                    leaders => format!("each of {leaders} leaders has"),
                },
                verdict.booked,
                verdict.total_tokens,
                usd(verdict.cost_nanousd)
            ),
            format!(
                "{} of them broke off (hang-ups, killed nodes) and are booked as cut",
                verdict.incomplete
            ),
            format!(
                "{:.0} requests a second; first byte after {:.1} ms (p50), {:.0} ms (p99)",
                pace.requests_per_second, pace.first_byte_p50_ms, pace.first_byte_p99_ms
            ),
            format!("{} lost, {} double, {} wrong", verdict.lost, verdict.double, verdict.wrong),
        ];
        if !verdict.totals_agree {
            lines.push("the totals are NOT the sum of the usage logs".to_owned());
        }
        if let Some(surprise) = &verdict.surprise {
            lines.push(format!("unexpected: {surprise}"));
        }
        lines.push(if verdict.is_clean() { "the books are right" } else { "THE BOOKS ARE WRONG" }.to_owned());
        let table = format!("{}\n", rows(cluster, traffic).await);
        let before = std::mem::take(&mut self.drawn);
        self.put(&over(&before), &format!("{}\n", lines.join("\n")), table);
    }
}

/// Whether every follower has said that it owes nothing more. What is known of it is as old as its last heartbeat.
pub(super) async fn nothing_is_owed(cluster: &DemoCluster) -> bool {
    let peers = ask::<PeerStats>(cluster, "/admin/v1/peers").await;
    cluster.urls().iter().all(|(name, _)| peers.iter().any(|peer| peer.id == *name && peer.unsynced == 0))
}

/// What takes the place of a drawing on a terminal: to its first line, and clear to the end of the screen.
fn over(drawn: &str) -> String {
    match drawn.lines().count() {
        0 => String::new(),
        lines => format!("\x1b[{lines}A\x1b[J"),
    }
}

/// What each node served, has pushed to sp-1 (its broken-off answers too) and still owes.
async fn rows(cluster: &DemoCluster, traffic: &Traffic) -> String {
    let booked = ask::<NodeStats>(cluster, "/admin/v1/stats/nodes").await;
    let booked: BTreeMap<String, u64> = booked.into_iter().map(|row| (row.node, row.request_count)).collect();
    let peers = ask::<PeerStats>(cluster, "/admin/v1/peers").await;
    let (served, leaders) = (traffic.served(), cluster.leaders());
    let mut drawn = Drawn::new();
    // Short titles: five columns fit into fifty characters, so that no line wraps and the next drawing covers it.
    drawn.load_preset(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    drawn.set_header(["node", "state", "served", "pushed", "owes"]);
    for (name, _) in cluster.urls() {
        let peer = peers.iter().find(|peer| peer.id == name);
        let state = match peer {
            _ if leaders.contains(&name) => "leads",
            Some(peer) if peer.is_active => "follows",
            Some(_) => "away",
            None => "unknown",
        };
        drawn.add_row([
            name.clone(),
            state.to_owned(),
            served.get(&name).copied().unwrap_or(0).to_string(),
            booked.get(&name).copied().unwrap_or(0).to_string(),
            peer.map_or_else(String::new, |peer| peer.unsynced.to_string()),
        ]);
    }
    for column in drawn.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    drawn.to_string()
}

async fn ask<T: serde::de::DeserializeOwned>(cluster: &DemoCluster, path: &str) -> Vec<T> {
    // sp-1 may just have been killed; the table then shows what there is.
    let Ok(answer) = cluster.get(path).await else { return Vec::new() };
    answer.json::<Page<T>>().await.map_or_else(|_| Vec::new(), |page| page.items)
}
