//! Who a follower is to its leader: its name, this run of its process, and the runs before it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::cluster::follower::leader_client::{LeaderClient, LeaderError};
use crate::cluster::follower::leaders::Leaders;
use crate::cluster::retry::Backoff;
use crate::domain::failure::Failure;
use crate::domain::ids::{InstanceId, NodeId};
use crate::store::{MetaKey, MetaRepo, Store};
use crate::wire::malformed::parse;
use crate::wire::v1;

/// Runs that are remembered between two registrations.
const FORMER_MAX: usize = 16;
/// Names that a directory remembers to have had.
pub(in crate::cluster) const FORMER_NAMES_MAX: usize = 16;
/// A leader that is away for so long is worth a warning.
const WARN_AFTER: Duration = Duration::from_secs(10);

/// The id of a follower that has none: asks its leaders for one until one answers, and keeps it. A node without an id
/// cannot book anything, so this comes before everything else; with an id no leader is needed.
///
/// # Errors
/// The own database failing, or leaders that all refuse for good.
pub async fn ask_for_id<L: Leaders + fmt::Display>(
    leaders: &L,
    addr: &str,
    weight: u32,
    store: &Store,
) -> Result<NodeId, Failure> {
    let (instance, former) = begin_instance(store).await?;
    let mut retry = Backoff::new();
    let begun = Instant::now();
    let mut logged_at = None;
    let request = v1::RegisterRequest {
        instance_id: instance.to_string(),
        former_instance_ids: former.iter().map(InstanceId::to_string).collect(),
        advertise_url: addr.to_owned(),
        weight,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..v1::RegisterRequest::default()
    };
    loop {
        let mut misses = Vec::new();
        for leader in leaders.in_turn() {
            match leader.register(request.clone()).await {
                Ok(answer) => {
                    let id: NodeId = parse("node_id", &answer.node_id)?;
                    MetaRepo::on(store).set(MetaKey::NodeId, id.as_str()).await?;
                    return Ok(id);
                }
                Err(error) => {
                    leaders.note_miss(&leader, &error);
                    misses.push((leaders.name_of(&leader), error));
                }
            }
        }
        let is_for_good =
            |error: &LeaderError| matches!(error, LeaderError::Refused(_) | LeaderError::Protocol(_));
        let refuse_all = !misses.is_empty() && misses.iter().all(|(_, error)| is_for_good(error));
        let error = LeaderError::of_all(misses);
        if refuse_all {
            return Err(error.into());
        }
        log_waiting(&error, leaders, begun, &mut logged_at);
        tokio::time::sleep(retry.wait()).await;
    }
}

/// Logs once why a node waits, and warns when that lasts, less and less often: a leader may start a moment later.
fn log_waiting(
    error: &LeaderError,
    leader: &impl fmt::Display,
    begun: Instant,
    logged_at: &mut Option<Duration>,
) {
    let waited = begun.elapsed();
    match *logged_at {
        None => {
            tracing::info!(%leader, %error, "this node has no id yet, and waits for its leader to give it one");
            *logged_at = Some(WARN_AFTER / 2);
        }
        Some(last) if waited >= 2 * last => {
            let waited = waited.as_secs();
            tracing::warn!(%leader, %error, waited_s = waited, "this node still waits for its leader to give it an id");
            *logged_at = Some(begun.elapsed());
        }
        Some(_) => {}
    }
}

/// Keeps the name of this node. The one before is remembered: usage that is owed under it is still this node's.
pub async fn keep_name(id: &NodeId, store: &Store) -> Result<(), Failure> {
    let meta = MetaRepo::on(store);
    let before = meta.get(MetaKey::NodeId).await?;
    if let Some(before) = before.and_then(|text| text.parse::<NodeId>().ok()).filter(|before| before != id) {
        let mut names = former_names(store).await?;
        names.retain(|name| *name != before && name != id);
        names.push(before);
        let last = names.len().saturating_sub(FORMER_NAMES_MAX);
        let names = names[last..].iter().map(NodeId::as_str).collect::<Vec<_>>().join(",");
        meta.set(MetaKey::FormerNodeIds, &names).await?;
    }
    Ok(meta.set(MetaKey::NodeId, id.as_str()).await?)
}

/// The names that nodes on this directory had before.
pub(in crate::cluster) async fn former_names(store: &Store) -> Result<Vec<NodeId>, Failure> {
    let kept = MetaRepo::on(store).get(MetaKey::FormerNodeIds).await?.unwrap_or_default();
    Ok(kept.split(',').filter_map(|name| name.parse().ok()).collect())
}

/// This run of the process, and those before it that the leader may still know the node by. Written down before the
/// leader hears of it, so that a node that dies in between finds its place again.
pub(in crate::cluster) async fn begin_instance(
    store: &Store,
) -> Result<(InstanceId, Vec<InstanceId>), Failure> {
    let kept = MetaRepo::on(store).get(MetaKey::Instances).await?.unwrap_or_default();
    let former: Vec<InstanceId> = kept.split(',').filter_map(|id| id.parse().ok()).collect();
    let instance = InstanceId::new();
    let all = former.iter().chain([&instance]).map(InstanceId::to_string).collect::<Vec<_>>();
    let last = all.len().saturating_sub(FORMER_MAX);
    MetaRepo::on(store).set(MetaKey::Instances, &all[last..].join(",")).await?;
    Ok((instance, former))
}

/// Forgets the runs before `instance`: the leader knows this one now.
pub(in crate::cluster) async fn forget_previous_instances(
    instance: InstanceId,
    store: &Store,
) -> Result<(), Failure> {
    Ok(MetaRepo::on(store).set(MetaKey::Instances, &instance.to_string()).await?)
}
