//! The verdict: what clients received against what sp-1 has booked.

use serde::Serialize;

use super::cluster::DemoCluster;
use super::traffic::Outcomes;
use crate::cli::local_cluster::books::{self, Row, Totals};
use crate::cli::local_cluster::error::Error;

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

/// Compares at every leader; what is wrong at one is the verdict.
pub(super) async fn compare(cluster: &DemoCluster, outcomes: &Outcomes) -> Result<Verdict, Error> {
    let mut verdict = Verdict::default();
    for leader in cluster.leaders() {
        verdict = compare_at(cluster, &leader, outcomes).await?;
        if !verdict.is_clean() {
            break;
        }
    }
    Ok(verdict)
}

/// Compares. Totals are asked for after the logs: if they differ, the cluster is still catching up.
async fn compare_at(cluster: &DemoCluster, leader: &str, outcomes: &Outcomes) -> Result<Verdict, Error> {
    let failed = || Error::call(format!("reading {leader}'s books"));
    let export =
        cluster.get_from(leader, "/admin/v1/usage?format=jsonl").await?.text().await.map_err(failed())?;
    let totals: Totals = cluster.get_from(leader, "/admin/v1/stats").await?.json().await.map_err(failed())?;
    let rows: Vec<Row> = export
        .lines()
        .filter(|line| !line.is_empty())
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Node(format!("{leader}'s export: {e}")))?;
    let found = books::compare(&outcomes.received, &rows);
    Ok(Verdict {
        received: outcomes.received.len() as u64,
        booked: rows.len() as u64,
        lost: found.lost.len() as u64,
        double: found.double.len() as u64,
        wrong: found.wrong.len() as u64,
        incomplete: found.incomplete,
        totals_agree: totals == Totals::of(&rows),
        total_tokens: totals.total_tokens,
        cost_nanousd: totals.cost_nanousd,
        surprise: outcomes.surprise.clone(),
    })
}
