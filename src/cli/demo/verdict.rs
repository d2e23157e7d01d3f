//! The verdict: what clients received against what sp-1 has booked.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::cluster::DemoCluster;
use super::error::Error;
use super::traffic::{Outcomes, Received};
use crate::domain::ids::RequestId;

/// What the comparison found.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Verdict {
    /// Answers that clients received to the last byte.
    pub(super) received: u64,
    /// Usage logs on sp-1.
    pub(super) booked: u64,
    /// Received, but not booked.
    pub(super) lost: u64,
    /// Booked more than once.
    pub(super) double: u64,
    /// Booked with other tokens or another status than the client saw.
    pub(super) wrong: u64,
    /// Answers whose caller or node went away before they were complete, booked as such.
    pub(super) incomplete: u64,
    /// Whether sp-1's totals are the sum of its usage logs, to the last token and nano-USD.
    pub(super) totals_agree: bool,
    pub(super) total_tokens: u64,
    pub(super) cost_nanousd: i64,
    /// An answer that was not what was asked for, if there was one.
    pub(super) surprise: Option<String>,
}

impl Verdict {
    pub(super) fn is_clean(&self) -> bool {
        let counts = [self.lost, self.double, self.wrong];
        counts == [0; 3] && self.totals_agree && self.surprise.is_none() && self.received > 0
    }
}

#[derive(Deserialize)]
struct Log {
    request_id: RequestId,
    input_tokens: u64,
    output_tokens: u64,
    status_code: u16,
    cost_nanousd: i64,
}

#[derive(Deserialize)]
struct Stats {
    total_tokens: u64,
    request_count: u64,
    cost_nanousd: i64,
}

/// Compares. Totals are asked for before the logs and after them: if they changed, the cluster is still catching up.
pub(super) async fn compare(cluster: &DemoCluster, outcomes: &Outcomes) -> Result<Verdict, Error> {
    let failed = |source| Error::Call { what: "reading sp-1's books", source };
    let export = cluster.get("/admin/v1/usage?format=jsonl").await?.text().await.map_err(failed)?;
    let stats: Stats = cluster.get("/admin/v1/stats").await?.json().await.map_err(failed)?;
    let mut books: HashMap<RequestId, (u64, Received)> = HashMap::new();
    let (mut tokens, mut nanousd, mut rows) = (0, 0, 0);
    for line in export.lines().filter(|line| !line.is_empty()) {
        let log: Log = serde_json::from_str(line).map_err(|e| Error::Node(format!("sp-1's export: {e}")))?;
        tokens += log.input_tokens + log.output_tokens;
        nanousd += log.cost_nanousd;
        rows += 1;
        let booked = Received { input: log.input_tokens, output: log.output_tokens, status: log.status_code };
        books.entry(log.request_id).or_insert((0, booked)).0 += 1;
    }
    let mut verdict = Verdict {
        received: outcomes.received.len() as u64,
        booked: rows,
        double: books.values().filter(|(times, _)| *times > 1).count() as u64,
        totals_agree: (stats.total_tokens, stats.request_count, stats.cost_nanousd)
            == (tokens, rows, nanousd),
        total_tokens: stats.total_tokens,
        cost_nanousd: stats.cost_nanousd,
        surprise: outcomes.surprise.clone(),
        ..Verdict::default()
    };
    for (id, received) in &outcomes.received {
        match books.get(id) {
            None => verdict.lost += 1,
            Some((_, booked)) if booked != received => verdict.wrong += 1,
            Some(_) => {}
        }
    }
    verdict.incomplete = books.keys().filter(|id| !outcomes.received.contains_key(id)).count() as u64;
    Ok(verdict)
}
