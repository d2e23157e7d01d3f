//! `WatchState`: what a follower has to be told, as it happens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
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

/// The shortest interval between signs of life that a follower may ask for, and the longest that makes a difference.
const SIGNS_EVERY_MIN: Duration = Duration::from_millis(200);
const SIGNS_EVERY_MAX: Duration = Duration::from_hours(1);

/// The stream of updates to one follower.
pub(super) struct Watch<B> {
    pub(super) watcher: Watcher<B>,
    pub(super) own_peer: Arc<dyn Fn() -> Peer + Send + Sync>,
    pub(super) known: Option<(LedgerId, u64)>,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) stop: CancellationToken,
    usage_through: u64,
    peers: Vec<Peer>,
    /// How often the follower wants to hear that there is nothing to tell.
    signs_every: Option<Duration>,
    /// When something was last told, and when the peers were.
    told_at: Instant,
    peers_told_at: Instant,
    /// A snapshot that is being sent; it goes before the queue.
    snapshot: Option<SnapshotWriter>,
    queue: VecDeque<v1::StateUpdate>,
}

impl<B: LeaderStore> Watch<B> {
    pub(super) fn new(
        watcher: Watcher<B>,
        own_peer: Arc<dyn Fn() -> Peer + Send + Sync>,
        known: Option<(LedgerId, u64)>,
        signs_every: Option<Duration>,
        stop: CancellationToken,
    ) -> Self {
        let changes = watcher.leader().subscribe();
        let now = Instant::now();
        Self {
            watcher,
            own_peer,
            known,
            changes,
            stop,
            usage_through: 0,
            peers: Vec::new(),
            signs_every: signs_every.map(|every| every.clamp(SIGNS_EVERY_MIN, SIGNS_EVERY_MAX)),
            told_at: now,
            peers_told_at: now,
            snapshot: None,
            // That it gives signs of life is to be known from the beginning.
            queue: signs_every.map(|_| v1::StateUpdate { update: None }).into_iter().collect(),
        }
    }

    /// The messages, until the leader stops.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<v1::StateUpdate, Status>> + Send {
        stream::unfold(self, |mut watch| async move {
            let update = watch.next().await?;
            watch.told_at = Instant::now();
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
            let (stop, due) = (self.stop.clone(), self.due());
            if due <= Instant::now() {
                self.queue_sign_of_life();
                continue;
            }
            match stop.run_until_cancelled(timeout_at(due, self.changes.changed())).await {
                None | Some(Ok(Err(_))) => return None,
                Some(Ok(Ok(()))) => sleep(COALESCE_FOR).await,
                Some(Err(_)) => {}
            }
        }
    }

    /// When something is to be told, though there is nothing new. What changes meanwhile, and is no news to this follower,
    /// does not put it off.
    fn due(&self) -> Instant {
        let heartbeat = self.watcher.leader().heartbeat_interval();
        self.peers_due().min(self.told_at + self.signs_every.unwrap_or(heartbeat))
    }

    /// Once per heartbeat; where there are many peers, so much less often that they are no more bytes.
    fn peers_due(&self) -> Instant {
        let hundreds = u32::try_from(self.peers.len() / 100).unwrap_or(u32::MAX);
        self.peers_told_at
            + self.watcher.leader().heartbeat_interval().saturating_mul(hundreds.saturating_add(1))
    }

    /// An update of peers shows that the leader is alive, and so does an empty one in between.
    fn queue_sign_of_life(&mut self) {
        if self.peers_due() <= Instant::now() {
            self.queue_peers();
        } else {
            self.queue.push_back(v1::StateUpdate { update: None });
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
        let constant = |peer: &Peer| (peer.weight, peer.is_active, peer.draining);
        let is_same = |one: &Peer, other: &Peer| {
            constant(one) == constant(other)
                && (&one.id, &one.addr, &one.leads_at) == (&other.id, &other.addr, &other.leads_at)
        };
        let present = self.present_peers();
        present.len() != self.peers.len()
            || !present.iter().zip(&self.peers).all(|(one, other)| is_same(one, other))
    }

    fn present_peers(&self) -> Vec<Peer> {
        let mut peers = self.watcher.leader().peers();
        peers.insert(0, (self.own_peer)());
        peers
    }

    fn queue_peers(&mut self) {
        self.peers = self.present_peers();
        self.peers_told_at = Instant::now();
        let peers = self.peers.iter().map(peer_to_wire).collect();
        let leaders = self.watcher.leader().leaders();
        self.queue.push_back(message(Message::Peers(v1::PeerList { peers, leaders })));
    }
}

fn message(update: Message) -> v1::StateUpdate {
    v1::StateUpdate { update: Some(update) }
}
