//! The simulated network between followers and their leader: calls get lost, late, repeated and out of order, answers
//! too, and links are cut.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};
use sproxy::cluster::follower::client::call_error;
use sproxy::cluster::follower::leader_client::{LeaderClient, LeaderError};
use sproxy::cluster::follower::leaders::{Call, Leaders};
use sproxy::cluster::follower::push::Session;
use sproxy::cluster::leader::Leader;
use sproxy::cluster::replication::snapshot::{
    SnapshotReader, SnapshotWriter, delta_to_wire, snapshot_to_wire,
};
use sproxy::cluster::replication::state_log::Update;
use sproxy::domain::failure::{Failure, Kind};
use sproxy::wire::v1::state_update::Update as Message;
use sproxy::wire::{malformed, v1};
use tokio::sync::oneshot;

use super::disks::{LeaderDisk, Shared, lock};
use super::scheduler::{Owner, World};

/// How long a follower waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls on their way belong to nobody: they arrive even when both sides have died.
const WIRE: Owner = 0;

/// The leader that is up, if any, and whose tasks its work is.
pub type Up = Shared<Option<(Owner, Arc<Leader<LeaderDisk>>)>>;

#[derive(Clone)]
pub struct Net {
    pub world: World,
    pub up: Up,
    /// Followers whose link is cut.
    pub cut: Shared<BTreeSet<usize>>,
    /// Links of one follower to one leader that are cut.
    pub away: Shared<BTreeSet<(usize, usize)>>,
    /// How many calls and answers of a thousand get lost, and how many calls arrive twice. At 0 nothing is late either.
    pub loss: Shared<u64>,
    /// The leader is of a version that does not count batches.
    pub old: Shared<bool>,
}

impl Net {
    fn loss(&self) -> u64 {
        *lock(&self.loss)
    }
}

/// One follower's line to a leader.
#[derive(Clone)]
pub struct Line {
    pub net: Net,
    pub follower: usize,
    pub leader: usize,
    pub up: Up,
}

/// One follower's lines to all leaders: it keeps to one, and goes on to the next where that fails.
#[derive(Clone)]
pub struct Lines {
    lines: Vec<Line>,
    at: Shared<usize>,
}

impl Lines {
    pub fn new(lines: Vec<Line>) -> Self {
        Self { lines, at: Arc::default() }
    }

    /// The one that is kept to.
    pub fn present(&self) -> &Line {
        &self.lines[*lock(&self.at) % self.lines.len()]
    }

    pub fn next(&self) {
        *lock(&self.at) += 1;
    }
}

impl Leaders for Lines {
    type Client = Line;

    fn in_turn(&self) -> Vec<Line> {
        let mut lines = self.lines.clone();
        lines.rotate_left(*lock(&self.at) % self.lines.len());
        lines
    }

    fn follow(&self, leader: &Line, _: &Session) {
        if *lock(&self.at) % self.lines.len() != leader.leader {
            leader.net.world.happened("a follower goes on to another leader");
            *lock(&self.at) = leader.leader;
        }
    }

    fn note_failure(&self, leader: &Line, _: Call, error: &LeaderError) -> bool {
        if self.lines.len() == 1 || !matches!(error, LeaderError::Unavailable(_)) {
            return false;
        }
        *lock(&self.at) = leader.leader + 1;
        true
    }
}

type Handler<Q, A> = fn(Arc<Leader<LeaderDisk>>, Q) -> BoxFuture<'static, Result<A, Failure>>;

impl Line {
    /// One call with everything that can happen to it.
    async fn call<Q, A>(&self, request: Q, handler: Handler<Q, A>) -> Result<A, LeaderError>
    where
        Q: Clone + Send + 'static,
        A: Send + 'static,
    {
        let world = &self.net.world;
        let (sender, receiver) = oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        let copies = if world.chance(self.net.loss()) { 2 } else { 1 };
        if copies > 1 {
            world.happened("a call doubled");
        }
        for _ in 0..copies {
            let (line, request, sender) = (self.clone(), request.clone(), Arc::clone(&sender));
            if world.chance(self.net.loss()) {
                world.happened("a call lost");
            } else {
                world.spawn(WIRE, async move { line.deliver(request, handler, sender).await });
            }
        }
        match select(receiver, Box::pin(world.sleep(PATIENCE))).await {
            Either::Left((Ok(answer), _)) => {
                answer.map_err(|failure| call_error(&sproxy::grpc::status(failure)))
            }
            Either::Left((Err(_), waiting)) => {
                waiting.await;
                Err(LeaderError::Unavailable("nobody answers".to_owned()))
            }
            Either::Right(_) => Err(LeaderError::Unavailable("no answer in time".to_owned())),
        }
    }

    async fn deliver<Q, A>(self, request: Q, handler: Handler<Q, A>, sender: Answer<A>)
    where
        Q: Send + 'static,
        A: Send + 'static,
    {
        self.delay().await;
        let up = lock(&self.up).clone();
        let Some((owner, leader)) = up.filter(|_| !self.is_cut()) else { return };
        let world = self.net.world.clone();
        world.spawn(owner, async move {
            let Some(answer) = self.carried_out(handler(leader, request)).await else { return };
            let world = self.net.world.clone();
            world.spawn(WIRE, async move {
                self.delay().await;
                if !self.is_cut()
                    && !self.net.world.chance(self.net.loss())
                    && let Some(sender) = lock(&sender).take()
                {
                    let _ = sender.send(answer);
                }
            });
        });
    }

    /// A handler that comes to its end, or one that is dropped at one of the points where it waits: its caller has gone, or
    /// its time is up.
    async fn carried_out<T>(&self, handler: impl Future<Output = T>) -> Option<T> {
        let world = &self.net.world;
        if !world.chance(self.net.loss()) {
            return Some(handler.await);
        }
        let mut points = world.between(1, 8);
        let mut handler = pin!(handler);
        let answer = poll_fn(|context| match handler.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if points == 1 => Poll::Ready(None),
            Poll::Pending => {
                points -= 1;
                Poll::Pending
            }
        })
        .await;
        if answer.is_none() {
            world.happened("a handler dropped");
        }
        answer
    }

    /// Mostly short; now and then longer than anybody waits.
    async fn delay(&self) {
        let world = &self.net.world;
        if self.net.loss() > 0 && world.chance(20) {
            world.happened("a call late");
            world.sleep_millis(1_000, 30_000).await;
        } else {
            world.sleep_millis(1, 60).await;
        }
    }

    fn is_cut(&self) -> bool {
        lock(&self.net.cut).contains(&self.follower)
            || lock(&self.net.away).contains(&(self.follower, self.leader))
    }

    /// What the leader would tell a watcher now.
    pub async fn watch(&self, request: v1::WatchStateRequest) -> Result<Vec<v1::StateUpdate>, LeaderError> {
        self.call(request, |leader, request| Box::pin(async move { news(&leader, &request).await })).await
    }
}

type Answer<A> = Arc<Mutex<Option<oneshot::Sender<Result<A, Failure>>>>>;

async fn news(
    leader: &Arc<Leader<LeaderDisk>>,
    request: &v1::WatchStateRequest,
) -> Result<Vec<v1::StateUpdate>, Failure> {
    let _watcher = leader.watcher(request)?;
    let ledger = malformed::parse_some("known_ledger_id", &request.known_ledger_id)?;
    let known = ledger.map(|ledger| (ledger, request.known_version));
    leader.advance_version_past(known).await?;
    let (origin, update) = leader.update_for(known);
    let messages: Vec<Message> = match update {
        Update::None => Vec::new(),
        Update::Steps(steps) => {
            steps.iter().map(|step| Message::Change(delta_to_wire(origin.ledger, step))).collect()
        }
        Update::Snapshot(state) => snapshot_to_wire(origin, state).map(Message::Snapshot).collect(),
    };
    Ok(messages.into_iter().map(|update| v1::StateUpdate { update: Some(update) }).collect())
}

impl LeaderClient for Line {
    async fn register(&self, request: v1::RegisterRequest) -> Result<v1::RegisterResponse, LeaderError> {
        if request.node_id.is_empty() {
            self.net.world.happened("a nameless registration");
        }
        let mut answer = self
            .call(request, |leader, request| Box::pin(async move { leader.register(request).await }))
            .await?;
        if *lock(&self.net.old) {
            (answer.leader_instance_id, answer.batches_taken) = (String::new(), None);
        }
        Ok(answer)
    }

    async fn heartbeat(&self, request: v1::HeartbeatRequest) -> Result<v1::HeartbeatResponse, LeaderError> {
        self.call(request, |leader, request| Box::pin(async move { leader.heartbeat(&request).await })).await
    }

    async fn leave(&self, request: v1::LeaveRequest) -> Result<v1::LeaveResponse, LeaderError> {
        self.call(request, |leader, request| Box::pin(async move { leader.leave(&request).await })).await
    }

    async fn push_usage(&self, request: v1::PushUsageRequest) -> Result<v1::PushUsageResponse, LeaderError> {
        let mut answer = self
            .call(request, |leader, request| Box::pin(async move { leader.push_usage(request).await }))
            .await?;
        if *lock(&self.net.old) {
            answer.batch = None;
        }
        Ok(answer)
    }

    async fn offer_state(&self, pieces: SnapshotWriter) -> Result<v1::OfferStateResponse, LeaderError> {
        self.call(pieces, |leader, pieces| {
            Box::pin(async move {
                let mut reader = SnapshotReader::default();
                for part in pieces {
                    if let Some((origin, state)) = reader.read_piece(part)? {
                        return leader.offer_state(origin, state).await;
                    }
                }
                Err(Failure::new(Kind::Invalid, "no last piece"))
            })
        })
        .await
    }
}
