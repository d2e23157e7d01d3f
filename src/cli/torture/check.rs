//! The check: what callers received against what every leader has booked, when nothing is owed any more.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;

use super::callers::{Callers, Outcomes};
use super::cluster::Cluster;
use crate::cli::local_cluster::books::{self, Comparison, Row, Totals};
use crate::cli::local_cluster::error::Error;
use crate::domain::ids::RequestId;

/// What was found at one leader.
#[derive(Clone, Debug)]
pub(super) struct LeaderVerdict {
    pub(super) name: String,
    pub(super) rows: u64,
    pub(super) found: Comparison,
    /// Its totals, and those of all nodes together, are the sum of its rows.
    pub(super) totals_agree: bool,
    /// Who should be there and is not.
    pub(super) missing_users: Vec<String>,
}

impl LeaderVerdict {
    fn is_clean(&self) -> bool {
        self.found.is_clean() && self.totals_agree && self.missing_users.is_empty()
    }
}

/// What was found at all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) received: u64,
    pub(super) leaders: Vec<LeaderVerdict>,
    /// What is not as it should be yet, apart from the books.
    pub(super) waits_for: Option<String>,
}

impl Verdict {
    pub(super) fn is_clean(&self) -> bool {
        self.waits_for.is_none()
            && !self.leaders.is_empty()
            && self.leaders.iter().all(LeaderVerdict::is_clean)
    }

    /// The most of something at any leader.
    pub(super) fn most(&self, count: impl Fn(&LeaderVerdict) -> usize) -> usize {
        self.leaders.iter().map(count).max().unwrap_or(0)
    }
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct PeerView {
    id: String,
    is_active: bool,
    unsynced: u64,
}

#[derive(Deserialize)]
struct UserView {
    name: String,
}

/// Looks at everything. What cannot be asked yet is waited for, and no error. Books are long, so they are read only when
/// nobody owes anything any more, or when this is the last look.
pub(super) async fn check(
    cluster: &Cluster,
    callers: &Callers,
    outcomes: &Outcomes,
    users: &[String],
    is_last: bool,
) -> Verdict {
    let received = outcomes.received.len() as u64;
    let waits_for = match first_reason_to_wait(cluster, callers).await {
        Ok(reason) => reason,
        Err(error) => Some(error.to_string()),
    };
    let mut verdict = Verdict { received, leaders: Vec::new(), waits_for };
    if verdict.waits_for.is_some() && !is_last {
        return verdict;
    }
    for (at, node) in cluster.nodes.iter().enumerate().filter(|(_, node)| node.leads) {
        match leader(cluster, at, &node.name, outcomes, users).await {
            Ok(found) => verdict.leaders.push(found),
            Err(error) => {
                verdict.waits_for.get_or_insert(error.to_string());
            }
        }
    }
    verdict
}

/// Whether all nodes are there, and owe nothing.
pub(super) async fn first_reason_to_wait(
    cluster: &Cluster,
    callers: &Callers,
) -> Result<Option<String>, Error> {
    for (at, node) in cluster.nodes.iter().enumerate() {
        if !cluster.is_ready(at).await {
            return Ok(Some(format!("{} is not ready", node.name)));
        }
        if !callers.lets_all_in(&node.url().unwrap_or_default()).await {
            return Ok(Some(format!("{} does not know all users", node.name)));
        }
    }
    for (at, leader) in cluster.nodes.iter().enumerate().filter(|(_, node)| node.leads) {
        let peers: Page<PeerView> = cluster.json(at, "/admin/v1/peers").await?;
        for node in &cluster.nodes {
            let reason = match peers.items.iter().find(|peer| peer.id == node.name) {
                None => "is not known to",
                Some(peer) if !peer.is_active => "is not active at",
                Some(peer) if peer.unsynced > 0 => "owes usage, says",
                Some(_) => continue,
            };
            return Ok(Some(format!("{} {reason} {}", node.name, leader.name)));
        }
    }
    Ok(None)
}

async fn leader(
    cluster: &Cluster,
    at: usize,
    name: &str,
    outcomes: &Outcomes,
    users: &[String],
) -> Result<LeaderVerdict, Error> {
    let export = cluster.get(at, "/admin/v1/usage?format=jsonl").await?;
    let rows = export.lines().filter(|line| !line.is_empty()).map(serde_json::from_str);
    let rows: Vec<Row> =
        rows.collect::<Result<_, _>>().map_err(|e| Error::Node(format!("{name}'s export: {e}")))?;
    let totals: Totals = cluster.json(at, "/admin/v1/stats").await?;
    let by_node: Page<Totals> = cluster.json(at, "/admin/v1/stats/nodes?limit=100").await?;
    let mut of_nodes = Totals::default();
    for node in by_node.items {
        of_nodes.total_tokens += node.total_tokens;
        of_nodes.request_count += node.request_count;
        of_nodes.cost_nanousd += node.cost_nanousd;
    }
    let sum = Totals::of(&rows);
    let there: Page<UserView> = cluster.json(at, "/admin/v1/users?limit=100").await?;
    let is_missing = |name: &&String| !there.items.iter().any(|user| user.name == **name);
    Ok(LeaderVerdict {
        name: name.to_owned(),
        rows: rows.len() as u64,
        found: books::compare(&outcomes.received, &rows),
        totals_agree: totals == sum && of_nodes == sum,
        missing_users: users.iter().filter(is_missing).cloned().collect(),
    })
}

/// Whether a leader's books have every answer that callers have received of a node: it could lose its disk. By its own
/// metric it may be too early: that is as old as its last heartbeat.
pub(super) async fn has_all_of(cluster: &Cluster, node: usize, callers: &Callers) -> bool {
    let Some(leader) = cluster.nodes.iter().position(|node| node.leads && node.is_well()) else {
        return false;
    };
    let path = format!("/admin/v1/usage?format=jsonl&node={}", callers.name(node));
    let Ok(export) = cluster.get(leader, &path).await else { return false };
    let booked: Result<HashSet<RequestId>, _> = export
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).map(|row: Row| row.request_id))
        .collect();
    booked.is_ok_and(|booked| callers.all_answered_by(node, |id| booked.contains(&id)))
}

/// Makes the users that call, at a leader; their names and keys.
pub(super) async fn create_users(
    cluster: &Cluster,
    leader: usize,
) -> Result<(Vec<String>, Vec<String>), Error> {
    let (mut names, mut keys) = (Vec::new(), Vec::new());
    for group in ["research", "support"] {
        cluster.post(leader, "/admin/v1/groups", &serde_json::json!({ "name": group })).await?;
    }
    for (user, group) in [
        ("alice", "research"),
        ("bob", "research"),
        ("carol", "support"),
        ("dave", "support"),
        ("erin", "support"),
    ] {
        cluster.post(leader, "/admin/v1/users", &serde_json::json!({ "name": user, "group": group })).await?;
        let made: Value = cluster
            .post(leader, "/admin/v1/keys", &serde_json::json!({ "user": user, "name": "torture" }))
            .await?;
        let key = made["key"].as_str().ok_or_else(|| Error::Node("no key was made".to_owned()))?;
        names.push(user.to_owned());
        keys.push(key.to_owned());
    }
    Ok((names, keys))
}
