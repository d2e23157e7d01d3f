//! A process that is going to lead on a database which it shares: whether it may, and by which name.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cluster::leader::registry::Registry;
use crate::crypto::secret_text::sha256;
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::NodeId;
use crate::domain::peer::Peer;
use crate::store::{MetaKey, MetaRepo, PeerRepo, Store, UsageRepo};

/// A leader that was not heard of for so long is gone, whatever the registry says: nobody may be left to mark it.
const GONE_AFTER: Duration = Duration::from_mins(1);

/// Checks that the other leaders on this database are of the same cluster, which is known by its secret. A secret can be
/// changed while none of them lives.
///
/// # Errors
/// Conflict: leaders with another secret work on it. What the database says.
pub async fn join_cluster(
    store: &Store,
    secret: Option<&str>,
    own: Option<&NodeId>,
    now: Timestamp,
) -> Result<(), Failure> {
    let digest = STANDARD.encode(sha256(format!("sproxy cluster {}", secret.unwrap_or_default()).as_bytes()));
    let (tx, _) = store.begin_locked().await?;
    let meta = MetaRepo::on(&tx);
    let held = meta.get(MetaKey::ClusterSecret).await?;
    if held.is_some_and(|held| held != digest) {
        let lives = |peer: &Peer| {
            peer.is_active
                && peer.leads_at.is_some()
                && Some(&peer.id) != own
                && peer.last_seen.is_some_and(|at| now.since(at) < GONE_AFTER)
        };
        if let Some(leader) = PeerRepo::on(&tx).list().await?.into_iter().find(lives) {
            let text = format!(
                "store.url is the database of a cluster with another cluster.secret, which {} at {} leads: give each \
                 cluster a database of its own. To change a cluster's secret, stop all of its leaders, and start them \
                 with the new one a minute later",
                leader.id, leader.addr
            );
            return Err(Failure::new(Kind::Conflict, text));
        }
    }
    meta.set(MetaKey::ClusterSecret, &digest).await?;
    tx.commit().await?;
    Ok(())
}

/// A name for a leader that has none: the one of the leader that had this database alone, before leaders shared it, or
/// one that no node was ever given. Whoever asks at the same time gets another.
///
/// # Errors
/// What the database says.
pub async fn new_name(store: &Store) -> Result<NodeId, Failure> {
    if let Some(left) = MetaRepo::on(store).take(MetaKey::NodeId).await?.and_then(|name| name.parse().ok()) {
        return Ok(left);
    }
    loop {
        let known = Registry::shared(Duration::ZERO, PeerRepo::on(store).list().await?, Timestamp::default());
        let number = MetaRepo::on(store).next_node_number(known.highest_number()).await?;
        let name = format!("sp-{number}");
        let name: NodeId =
            name.parse().map_err(|_| Failure::new(Kind::Internal, "no node can have this name"))?;
        if !known.knows(&name) && UsageRepo::on(store).batches_taken(&name).await? == 0 {
            return Ok(name);
        }
    }
}
