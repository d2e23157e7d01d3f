//! The live table: what each node served, pushed and still owes.

#![allow(clippy::print_stdout, reason = "a demo is watched on a terminal")]

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};

use comfy_table::Table as Drawn;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde::Deserialize;

use super::cast::Cast;
use super::traffic::Traffic;
use super::verdict::Verdict;
use crate::domain::quota::usd;

/// The table on the screen.
pub(super) struct Table {
    shown: bool,
    live: bool,
    /// Lines of the last drawing, to be drawn over.
    lines: usize,
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
        Self { shown, live: stdout().is_terminal(), lines: 0 }
    }

    /// A line that stays.
    pub(super) fn say(&mut self, text: &str) {
        if self.shown {
            self.erase();
            println!("{text}");
        }
    }

    pub(super) async fn draw(&mut self, cast: &Cast, traffic: &Traffic) {
        if !self.shown || !self.live {
            return;
        }
        let booked = ask::<NodeStats>(cast, "/admin/v1/stats/nodes").await;
        let booked: BTreeMap<String, u64> =
            booked.into_iter().map(|row| (row.node, row.request_count)).collect();
        let peers = ask::<PeerStats>(cast, "/admin/v1/peers").await;
        let outcomes = traffic.received();
        let mut drawn = Drawn::new();
        drawn.load_preset(UTF8_HORIZONTAL_ONLY);
        drawn.set_header(["node", "state", "answers received", "booked on sp-1", "still owes"]);
        for (name, _) in cast.urls() {
            let peer = peers.iter().find(|peer| peer.id == name);
            let state = match peer {
                _ if name == "sp-1" => "leads",
                Some(peer) if peer.is_active => "follows",
                Some(_) => "not heard of",
                None => "unknown",
            };
            drawn.add_row([
                name.clone(),
                state.to_owned(),
                outcomes.served.get(&name).copied().unwrap_or(0).to_string(),
                booked.get(&name).copied().unwrap_or(0).to_string(),
                peer.map_or_else(String::new, |peer| peer.unsynced.to_string()),
            ]);
        }
        let text = format!("{drawn}\n{:.0} % of the requests are over", traffic.progress() * 100.0);
        self.erase();
        println!("{text}");
        self.lines = text.lines().count();
        let _ = stdout().flush();
    }

    fn erase(&mut self) {
        for _ in 0..std::mem::take(&mut self.lines) {
            // One line up, and clear it.
            print!("\x1b[1A\x1b[2K");
        }
    }

    pub(super) fn verdict(&mut self, verdict: &Verdict, json: bool) {
        self.lines = 0;
        if json {
            println!("{}", serde_json::to_string_pretty(verdict).unwrap_or_default());
            return;
        }
        println!(
            "clients received {} complete answers; sp-1 has booked {} requests, {} of them incomplete ones \
             (hang-ups, killed nodes)",
            verdict.received, verdict.booked, verdict.incomplete
        );
        println!("{} tokens, {}", verdict.total_tokens, usd(verdict.cost_nanousd));
        println!("{} lost, {} double, {} wrong", verdict.lost, verdict.double, verdict.wrong);
        if !verdict.totals_agree {
            println!("the totals are NOT the sum of the usage logs");
        }
        if let Some(surprise) = &verdict.surprise {
            println!("unexpected: {surprise}");
        }
        println!("{}", if verdict.is_clean() { "the books are right" } else { "THE BOOKS ARE WRONG" });
    }
}

async fn ask<T: serde::de::DeserializeOwned>(cast: &Cast, path: &str) -> Vec<T> {
    // sp-1 may just have been killed; the table then shows what there is.
    let Ok(answer) = cast.get(path).await else { return Vec::new() };
    answer.json::<Page<T>>().await.map_or_else(|_| Vec::new(), |page| page.items)
}
