//! `WatchState`: what a follower has to be told, as it happens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::cluster::leader::{LeaderStore, Watcher};
use crate::cluster::replication::snapshot::{SnapshotWriter, delta_to_wire, snapshot_to_wire};
use crate::cluster::replication::state_log::Update;
use crate::cluster::usage::remote::usage_to_wire;
use crate::domain::ids::LedgerId;
use crate::domain::peer::Peer;
use crate::wire::summary::peer_to_wire;
use crate::wire::v1::state_update::Update as Message;
use crate::wire::{moment, v1};

/// Changes within this time are sent together: a burst costs one message.
const COALESCE_FOR: Duration = Duration::from_millis(25);

/// Subjects in one message.
const SUBJECTS_MAX: usize = 1_000;

/// The stream of updates to one follower.
pub(super) struct Watch<B> {
    pub(super) watcher: Watcher<B>,
    pub(super) own_peer: Arc<dyn Fn() -> Peer + Send + Sync>,
    pub(super) known: Option<(LedgerId, u64)>,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) stop: CancellationToken,
    usage_through: u64,
    peers: Vec<Peer>,
    /// A snapshot that is being sent; it goes before the queue.
    snapshot: Option<SnapshotWriter>,
    queue: VecDeque<v1::StateUpdate>,
}

impl<B: LeaderStore> Watch<B> {
    pub(super) fn new(
        watcher: Watcher<B>,
        own_peer: Arc<dyn Fn() -> Peer + Send + Sync>,
        known: Option<(LedgerId, u64)>,
        stop: CancellationToken,
    ) -> Self {
        let changes = watcher.leader().subscribe();
        Self {
            watcher,
            own_peer,
            known,
            changes,
            stop,
            usage_through: 0,
            peers: Vec::new(),
            snapshot: None,
            queue: VecDeque::new(),
        }
    }

    /// The messages, until the leader stops.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<v1::StateUpdate, Status>> + Send {
        stream::unfold(self, |mut watch| async move {
            let update = watch.next().await?;
            Some((Ok(update), watch))
        })
    }

    async fn next(&mut self) -> Option<v1::StateUpdate> {
        loop {
            if let Some(piece) = self.snapshot.as_mut().and_then(Iterator::next) {
                return Some(message(Message::Snapshot(piece)));
            }
            self.snapshot = None;
            if let Some(update) = self.queue.pop_front() {
                return Some(update);
            }
            self.changes.mark_unchanged();
            self.queue_updates();
            if self.snapshot.is_some() || !self.queue.is_empty() {
                continue;
            }
            let stop = self.stop.clone();
            let changed = timeout(self.watcher.leader().heartbeat_interval(), self.changes.changed());
            match stop.run_until_cancelled(changed).await {
                None | Some(Ok(Err(_))) => return None,
                Some(Ok(Ok(()))) => sleep(COALESCE_FOR).await,
                // Nothing new: an update of peers shows that the leader is alive.
                Some(Err(_)) => self.queue_peers(),
            }
        }
    }

    fn queue_updates(&mut self) {
        self.queue_accounts();
        self.queue_usage();
        if self.peers_differ() {
            self.queue_peers();
        }
    }

    fn queue_accounts(&mut self) {
        let (origin, update) = self.watcher.leader().update_for(self.known);
        match update {
            Update::None => return,
            Update::Steps(steps) => {
                let steps = steps.iter().map(|step| Message::Change(delta_to_wire(origin.ledger, step)));
                self.queue.extend(steps.map(message));
            }
            Update::Snapshot(state) => self.snapshot = Some(snapshot_to_wire(origin.clone(), state)),
        }
        self.known = Some((origin.ledger, origin.version));
    }

    fn queue_usage(&mut self) {
        loop {
            let delta =
                self.watcher.leader().remote_usage(self.usage_through, self.watcher.node(), SUBJECTS_MAX);
            if delta.through == self.usage_through {
                return;
            }
            self.usage_through = delta.through;
            if !delta.subjects.is_empty() {
                let subjects = delta.subjects.into_iter().map(|(id, used)| usage_to_wire(id, used)).collect();
                let as_of = Some(moment::to_wire(self.watcher.leader().now()));
                self.queue.push_back(message(Message::Usage(v1::UsageElsewhere { as_of, subjects })));
            }
        }
    }

    /// Compares who is there and may have traffic, not what changes with every heartbeat.
    fn peers_differ(&self) -> bool {
        let constant =
            |peer: &Peer| (peer.id.clone(), peer.addr.clone(), peer.weight, peer.is_active, peer.draining);
        let present = self.present_peers();
        !present.iter().map(constant).eq(self.peers.iter().map(constant))
    }

    fn present_peers(&self) -> Vec<Peer> {
        let mut peers = self.watcher.leader().peers();
        peers.insert(0, (self.own_peer)());
        peers
    }

    fn queue_peers(&mut self) {
        self.peers = self.present_peers();
        let peers = self.peers.iter().map(peer_to_wire).collect();
        let leaders = self.watcher.leader().leaders();
        self.queue.push_back(message(Message::Peers(v1::PeerList { peers, leaders })));
    }
}

fn message(update: Message) -> v1::StateUpdate {
    v1::StateUpdate { update: Some(update) }
}
