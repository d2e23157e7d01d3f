//! Statistics and peers on the wire.

use crate::domain::peer::{Incomplete, Peer};
use crate::domain::summary::{GlobalStats, UserStatRow};
use crate::wire::malformed::{Malformed, parse};
use crate::wire::{moment, v1};

#[must_use]
pub fn global_to_wire(stats: &GlobalStats) -> v1::GlobalStats {
    let totals = stats.totals;
    v1::GlobalStats {
        total_input: totals.total_input,
        total_output: totals.total_output,
        total_tokens: totals.total_tokens,
        request_count: totals.request_count,
        error_count: totals.error_count,
        cost_nanousd: totals.cost_nanousd,
        default_priced_requests: totals.default_priced_requests,
        complete_through: stats.complete_through.map(moment::to_wire),
        incomplete: stats.incomplete.iter().map(incomplete_to_wire).collect(),
        // There is one ledger.
        watermarks: Vec::new(),
    }
}

fn incomplete_to_wire(incomplete: &Incomplete) -> v1::Incomplete {
    v1::Incomplete {
        node: incomplete.node.to_string(),
        since: Some(moment::to_wire(incomplete.since)),
        unsynced: incomplete.unsynced,
    }
}

#[must_use]
pub fn user_row_to_wire(row: &UserStatRow) -> v1::UserStatRow {
    let totals = row.totals;
    v1::UserStatRow {
        user_id: row.key.clone(),
        user: row.name.clone(),
        total_input: totals.total_input,
        total_output: totals.total_output,
        total_tokens: totals.total_tokens,
        request_count: totals.request_count,
        error_count: totals.error_count,
        cost_nanousd: totals.cost_nanousd,
        default_priced_requests: totals.default_priced_requests,
    }
}

/// A peer. Its instance stays with the leader: whoever knows it could speak for the peer.
#[must_use]
pub fn peer_to_wire(peer: &Peer) -> v1::Peer {
    v1::Peer {
        id: peer.id.to_string(),
        addr: peer.addr.clone(),
        weight: peer.weight,
        is_active: peer.is_active,
        draining: peer.draining,
        registered_at: Some(moment::to_wire(peer.registered_at)),
        last_seen: peer.last_seen.map(moment::to_wire),
        unsynced: peer.unsynced,
        synced_through: peer.synced_through.map(moment::to_wire),
        version: peer.version.clone(),
        leads_at: peer.leads_at.clone().unwrap_or_default(),
    }
}

/// A peer as the leader told of it.
///
/// # Errors
/// [`Malformed`] with the first field that is not valid.
pub fn peer_from_wire(peer: v1::Peer) -> Result<Peer, Malformed> {
    Ok(Peer {
        id: parse("id", &peer.id)?,
        addr: peer.addr,
        weight: peer.weight,
        is_active: peer.is_active,
        draining: peer.draining,
        registered_at: moment::required("registered_at", peer.registered_at)?,
        last_seen: peer.last_seen.map(moment::from_wire),
        unsynced: peer.unsynced,
        synced_through: peer.synced_through.map(moment::from_wire),
        version: peer.version,
        leads_at: Some(peer.leads_at).filter(|url| !url.is_empty()),
        instance_id: None,
    })
}
