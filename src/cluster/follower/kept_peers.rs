//! The nodes of the cluster, written down by a follower: one that is promoted without its leader has to tell them, and its
//! totals have to wait for them.

use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::domain::peer::Peer;
use crate::store::{MetaKey, MetaRepo, Store};

/// What an earlier process wrote down.
///
/// # Errors
/// The own database failing, or what cannot be read.
pub(in crate::cluster) async fn known_peers(store: &Store) -> Result<Vec<Peer>, Failure> {
    let Some(text) = MetaRepo::on(store).get(MetaKey::Peers).await? else { return Ok(Vec::new()) };
    serde_json::from_str(&text)
        .map_err(|error| Failure::new(Kind::Internal, format!("meta.peers cannot be read: {error}")))
}

/// What to write down of them: nothing that changes with every heartbeat.
///
/// # Errors
/// Internal, for what has no JSON.
pub(in crate::cluster) fn peers_to_text(peers: &[Peer]) -> Result<String, Failure> {
    let steady = |peer: &Peer| Peer {
        is_active: false,
        draining: false,
        last_seen: None::<Timestamp>,
        unsynced: 0,
        synced_through: None,
        ..peer.clone()
    };
    let steady: Vec<Peer> = peers.iter().map(steady).collect();
    serde_json::to_string(&steady).map_err(|error| Failure::new(Kind::Internal, error.to_string()))
}
