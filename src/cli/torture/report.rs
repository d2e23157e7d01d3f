//! The report: a table for people, and the same as Markdown.

use std::time::Duration;

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{ContentArrangement, Table};

use super::callers::Outcomes;
use super::check::Verdict;
use super::node::Odd;
use super::stage::Tally;

/// Refusals and identifiers that a report names.
const NAMED_MAX: usize = 10;

/// All that a run has found.
pub(super) struct Report {
    pub(super) engine: String,
    pub(super) nodes: String,
    pub(super) seed: u64,
    pub(super) took: Duration,
    pub(super) calls: u64,
    pub(super) outcomes: Outcomes,
    pub(super) tally: Tally,
    pub(super) odd: Odd,
    /// It was ended before its time, so that what came after the last check was not compared.
    pub(super) is_interrupted: bool,
    /// Where logs are kept, where they are.
    pub(super) kept_in: Option<String>,
}

impl Report {
    /// Whether everything is as it has to be.
    pub(super) fn is_clean(&self) -> bool {
        self.tally.not_recovered == 0
            && self.tally.last.as_ref().is_some_and(|verdict| verdict.is_clean() && verdict.received > 0)
    }

    fn verdict(&self) -> &'static str {
        match (self.is_clean(), self.is_interrupted) {
            (true, false) => "the books are right",
            (true, true) => "interrupted; up to the last check the books were right",
            (false, true) if self.tally.last.is_none() => "interrupted before the first check",
            (false, _) => "THE BOOKS ARE WRONG, or the cluster did not recover by itself",
        }
    }

    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let mut table = Table::new();
        table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        for (what, value) in self.rows() {
            table.add_row([what, value]);
        }
        format!("{table}\n{}{}\n", self.details(), self.verdict())
    }

    /// For a file.
    pub(super) fn markdown(&self) -> String {
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["", ""]);
        for (what, value) in self.rows() {
            table.add_row([what, value]);
        }
        let details = self.details();
        let details = if details.is_empty() { details } else { format!("\n```\n{details}```\n") };
        format!("## {}: {}\n\n{table}\n{details}", self.engine, self.verdict())
    }

    fn rows(&self) -> Vec<(String, String)> {
        let nothing = Verdict::default();
        let verdict = self.tally.last.as_ref().unwrap_or(&nothing);
        let mut rows = Vec::new();
        let mut row = |what: &str, value: String| rows.push((what.to_owned(), value));
        let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
        row("version", format!("{} ({build})", env!("CARGO_PKG_VERSION")));
        row("machine", machine());
        row("engine", self.engine.clone());
        row("nodes", self.nodes.clone());
        row("seed", self.seed.to_string());
        row("minutes", format!("{:.1}", self.took.as_secs_f64() / 60.0));
        row("calls", self.calls.to_string());
        row("complete answers compared", verdict.received.to_string());
        row("hung up by callers", self.outcomes.hung_up.to_string());
        row("broken off or unanswered", self.outcomes.broken.to_string());
        let refused = self.outcomes.refused.iter().map(|(status, times)| format!("{status}: {times}"));
        let refused: Vec<_> = refused.collect();
        row("refused, by status", if refused.is_empty() { "none".to_owned() } else { refused.join(", ") });
        row("events", self.tally.events().to_string());
        for (kind, times) in &self.tally.events {
            row(&format!("- {kind}"), times.to_string());
        }
        for (kind, times) in &self.tally.left_out {
            row(&format!("- left out: {kind}"), times.to_string());
        }
        for leader in &verdict.leaders {
            row(&format!("booked at {}", leader.name), leader.rows.to_string());
        }
        row("lost", verdict.most(|leader| leader.found.lost.len()).to_string());
        row("double", verdict.most(|leader| leader.found.double.len()).to_string());
        row("with wrong tokens or status", verdict.most(|leader| leader.found.wrong.len()).to_string());
        row(
            "totals that are not the sum of the rows",
            verdict.leaders.iter().filter(|leader| !leader.totals_agree).count().to_string(),
        );
        row("users missing", verdict.most(|leader| leader.missing_users.len()).to_string());
        row("checks, with all faults ended", self.tally.checks.to_string());
        row("of them, where somebody would have had to step in", self.tally.not_recovered.to_string());
        row("longest time to catch up", format!("{:.1} s", self.tally.longest_catch_up.as_secs_f64()));
        row("starts that failed (as without a database)", self.odd.failed_starts.to_string());
        row("nodes that ended by themselves", self.odd.own_ends.to_string());
        row("SIGTERM not obeyed in time, or with an error", self.odd.bad_leaves.to_string());
        rows
    }

    /// What is wrong, as far as it has to be named here.
    fn details(&self) -> String {
        let mut text = String::new();
        let mut line = |what: String| {
            text.push_str(&what);
            text.push('\n');
        };
        if let Some(verdict) = self.tally.last.as_ref().filter(|verdict| !verdict.is_clean()) {
            if let Some(reason) = &verdict.waits_for {
                line(format!("still: {reason}"));
            }
            for leader in &verdict.leaders {
                let found = &leader.found;
                for (kind, ids) in [("lost", &found.lost), ("double", &found.double), ("wrong", &found.wrong)]
                {
                    for id in ids.iter().take(NAMED_MAX) {
                        line(format!("{kind} at {}: {id}", leader.name));
                    }
                }
                if !leader.totals_agree {
                    line(format!("the totals at {} are not the sum of its rows", leader.name));
                }
                if !leader.missing_users.is_empty() {
                    line(format!("missing at {}: {}", leader.name, leader.missing_users.join(", ")));
                }
            }
        }
        if let Some(directory) = &self.kept_in {
            line(format!("logs, events.log and findings.txt are in {directory}"));
        }
        text
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(format!(", {}", line.split_once(':')?.1.trim()))
    });
    format!("{} {}, {cores} cores{}", std::env::consts::OS, std::env::consts::ARCH, model.unwrap_or_default())
}
