//! What a database has been through before its node leads on it: it may have been a follower's, or be a backup's copy.

use crate::domain::failure::Failure;
use crate::domain::peer::Peer;
use crate::ledger::MARK_STEP;
use crate::store::{self, MetaKey, MetaRepo, PeerRepo, Store, UsageRepo, retried};

/// A database that was a follower's: what it owed is the leader's own now, and is in its totals already. Should the node
/// follow its leader again, it offers everything to it: that leader has seen nothing of what was booked meanwhile.
pub(super) async fn take_over_unsynced(store: &Store) -> Result<(), Failure> {
    let (meta, usage) = (MetaRepo::on(store), UsageRepo::on(store));
    let own = meta.ledger_id().await?.to_string();
    if let Some(followed) = meta.get(MetaKey::LeaderLedgerId).await?.filter(|followed| *followed != own) {
        // What that leader acknowledged is noted for the day it is followed again.
        usage.mark_all_unsynced(followed.parse().ok(), MARK_STEP).await?;
        meta.set(MetaKey::LeaderLedgerId, &own).await?;
        // What that leader's admins wanted of a follower.
        meta.unset(MetaKey::Drained).await?;
    }
    let kept = usage.mark_owed_as_own(MARK_STEP).await?;
    if kept > 0 {
        tracing::warn!(records = kept, "this node followed before: the usage that it holds is its own now");
    }
    Ok(())
}

/// A backup's copy is of an earlier time. A peer that had left by then with nothing owed may have come back since, and what
/// was taken of it is not in the copy: totals wait for it, until it is heard of or forgotten.
pub(super) async fn distrust_departures(store: &Store) -> Result<(), Failure> {
    if MetaRepo::on(store).get(MetaKey::IsCopy).await?.is_none() {
        return Ok(());
    }
    Ok(retried(|| distrust_once(store)).await?)
}

async fn distrust_once(store: &Store) -> Result<(), store::Error> {
    let tx = store.begin().await?;
    let peers = PeerRepo::on(&tx);
    for settled in peers.list().await?.into_iter().filter(Peer::has_settled) {
        let Some(mut peer) = peers.get_for_update(&settled.id).await?.filter(Peer::has_settled) else {
            continue;
        };
        tracing::warn!(peer = %peer.id, "this database is a backup's copy: totals wait for a node that had left by then");
        peer.distrust_departure();
        peers.upsert(&peer).await?;
    }
    MetaRepo::on(&tx).unset(MetaKey::IsCopy).await?;
    tx.commit().await.map(drop)
}
