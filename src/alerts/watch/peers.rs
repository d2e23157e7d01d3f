//! Nodes of the cluster that have fallen silent. Every leader sees it; what the database says of a peer makes the key, so
//! that they raise one event.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::conditions::{over, tell, told_before};
use crate::alerts::episode::{Episode, Turn};
use crate::alerts::event::EventParts;
use crate::alerts::service::Alerts;
use crate::cluster::leader::service::LeaderService;
use crate::domain::alert::{EventKind, EventStatus, EventSubject, Severity};
use crate::domain::clock::Timestamp;
use crate::domain::ids::NodeId;
use crate::domain::peer::Peer;

pub(super) struct PeersWatch {
    leader: LeaderService,
    /// The leader itself, which hears of itself.
    own: NodeId,
    /// By subject; `None`: what was told earlier has not been read yet.
    episodes: Option<BTreeMap<String, Episode>>,
}

impl PeersWatch {
    pub(super) fn new(leader: LeaderService, own: NodeId) -> Self {
        Self { leader, own, episodes: None }
    }

    pub(super) async fn look(&mut self, alerts: &Alerts, now: Instant) {
        let mut episodes = match self.episodes.take() {
            Some(episodes) => episodes,
            None => told_before(alerts, EventKind::PeerLost).await,
        };
        let peers: Vec<Peer> = self.leader.peers().into_iter().filter(|peer| peer.id != self.own).collect();
        for peer in &peers {
            let subject = subject(&peer.id);
            let episode = episodes.entry(subject.key()).or_default();
            let holds = is_lost(peer);
            // Three heartbeats have been waited for already.
            tell(alerts, episode, holds, Duration::ZERO, now, |turn, _| {
                event(&peer.id, subject, Some(peer), turn)
            })
            .await;
        }
        let gone = episodes.iter_mut().filter(|(key, episode)| {
            episode.is_told() && !peers.iter().any(|peer| subject(&peer.id).key() == **key)
        });
        for (key, episode) in gone {
            let Ok(id) = key.trim_start_matches("node/").parse::<NodeId>() else { continue };
            tell(alerts, episode, false, Duration::ZERO, now, |turn, _| event(&id, subject(&id), None, turn))
                .await;
        }
        episodes.retain(|key, episode| {
            episode.is_told() || peers.iter().any(|peer| subject(&peer.id).key() == *key)
        });
        self.episodes = Some(episodes);
    }
}

fn subject(id: &NodeId) -> EventSubject {
    EventSubject::named("node", id.as_str())
}

/// It has not said that it leaves, and is not heard of.
fn is_lost(peer: &Peer) -> bool {
    // One that had left when the registry was copied has a run that nobody knows.
    !peer.is_active && peer.instance_id.is_some_and(|run| !run.0.is_nil())
}

/// `peer`: as the registry has it; `None`: an admin has had it forgotten.
fn event(id: &NodeId, subject: EventSubject, peer: Option<&Peer>, turn: &Turn) -> EventParts {
    let last_seen = peer.and_then(|peer| peer.last_seen);
    let unsynced = peer.map_or(0, |peer| peer.unsynced);
    let (key, status, severity, title, text) = match turn {
        Turn::Began => {
            let run = peer.and_then(|peer| peer.instance_id).map(|run| run.to_string()).unwrap_or_default();
            let seen = last_seen.map_or(0, Timestamp::as_micros);
            let last = last_seen.map_or_else(|| "never".to_owned(), |last| last.to_string());
            (
                format!("{}/{id}/{run}/{seen}", EventKind::PeerLost),
                EventStatus::Firing,
                Severity::Critical,
                format!("{id} has fallen silent"),
                format!(
                    "{id} missed three heartbeats. It was last heard of at {last} and owed {unsynced} usage logs then, as far \
                     as it said."
                ),
            )
        }
        Turn::Ended(began) => {
            let (title, text) = match peer {
                Some(peer) if peer.is_active => (
                    format!("{id} is back"),
                    format!("{id} is heard of again and owes {unsynced} usage logs."),
                ),
                Some(_) => {
                    (format!("{id} has left"), format!("{id} was heard of again, and has left in order."))
                }
                None => (format!("{id} is forgotten"), format!("An admin has had {id} forgotten.")),
            };
            (over(began), EventStatus::Resolved, Severity::Info, title, text)
        }
    };
    let details =
        json!({ "last_seen": last_seen, "unsynced": unsynced, "addr": peer.map(|peer| &peer.addr) });
    EventParts { kind: EventKind::PeerLost, key, status, severity, subject, title, text, details }
}
