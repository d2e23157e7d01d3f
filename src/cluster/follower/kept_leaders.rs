//! The leaders that a follower knows, written down: one that is started again while those of its configuration are away
//! finds the others.

use crate::cluster::follower::leader_set::LeaderSet;
use crate::domain::clock::Timestamp;
use crate::domain::failure::Failure;
use crate::store::{MetaKey, MetaRepo, Store};

/// Takes over what an earlier process wrote down.
///
/// # Errors
/// The own database failing.
pub async fn restore_leaders<C: Clone>(
    leaders: &LeaderSet<C>,
    store: &Store,
    now: Timestamp,
) -> Result<(), Failure> {
    let meta = MetaRepo::on(store);
    let Some(kept) = meta.get(MetaKey::Leaders).await? else { return Ok(()) };
    let ledger = meta.get(MetaKey::LeaderLedgerId).await?.and_then(|text| text.parse().ok());
    let heard_at = meta.get(MetaKey::LeaderHeardAt).await?.and_then(|text| text.parse().ok());
    let heard_at = heard_at.map_or(Timestamp::default(), Timestamp::from_micros);
    leaders.restore(&kept, ledger, now.since(heard_at));
    Ok(())
}

/// Writes down what has changed, and that a leader was heard of then.
pub(in crate::cluster) async fn keep_leaders<C: Clone>(
    leaders: &LeaderSet<C>,
    store: &Store,
    heard_at: Timestamp,
) -> Result<(), Failure> {
    let Some(kept) = leaders.changes() else { return Ok(()) };
    let meta = MetaRepo::on(store);
    meta.set(MetaKey::Leaders, &kept).await?;
    meta.set(MetaKey::LeaderHeardAt, &heard_at.as_micros().to_string()).await?;
    leaders.note_kept(kept);
    Ok(())
}
