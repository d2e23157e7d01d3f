//! The simulation's world clock, its dice and its scheduler: one thread, no real time, the same steps for the same seed.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use sproxy::domain::clock::Timestamp;
use tokio::sync::oneshot;

use super::dice::Dice;

/// Whose work a task is; a process that dies takes its tasks along.
pub type Owner = u64;

/// What happened, and how often.
pub type Happened = BTreeMap<&'static str, u64>;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// When histories start: an ordinary noon, the last minute of a day, and that of a month. Microseconds.
const STARTS: [i64; 3] = [1_795_348_800_000_000, 1_795_391_940_000_000, 1_796_083_140_000_000];

/// A cheap handle that tasks share.
#[derive(Clone)]
pub struct World {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    dice: Dice,
    now_micros: i64,
    order: u64,
    timers: BTreeMap<(i64, u64), oneshot::Sender<()>>,
    born: Vec<(Owner, Work)>,
    happened: Happened,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let start = STARTS[usize::try_from(dice.between(0, 3)).expect("small")];
        let inner = Inner {
            dice,
            now_micros: start,
            order: 0,
            timers: BTreeMap::new(),
            born: Vec::new(),
            happened: Happened::new(),
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn random(&self) -> u64 {
        self.lock().dice.random()
    }

    /// A number in `from..to`.
    pub fn between(&self, from: u64, to: u64) -> u64 {
        self.lock().dice.between(from, to)
    }

    /// True so many times in a thousand.
    pub fn chance(&self, per_mille: u64) -> bool {
        self.between(0, 1_000) < per_mille
    }

    /// Notes that something of this kind happened.
    pub fn happened(&self, kind: &'static str) {
        *self.lock().happened.entry(kind).or_default() += 1;
    }

    pub fn all_that_happened(&self) -> Happened {
        self.lock().happened.clone()
    }

    /// An id of this seed: the same in every run. Version 7, as the product's own.
    pub fn uuid(&self) -> uuid::Uuid {
        self.uuid_at(self.now())
    }

    /// The same, made at a time that a node believes it to be.
    pub fn uuid_at(&self, now: Timestamp) -> uuid::Uuid {
        let (high, low) = (self.random().to_be_bytes(), self.random().to_be_bytes());
        let bytes: [u8; 10] =
            [high[0], high[1], low[0], low[1], low[2], low[3], low[4], low[5], low[6], low[7]];
        let millis = u64::try_from(now.as_micros() / 1_000).expect("after 1970");
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }

    /// The true time, which no node need know.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.lock().now_micros)
    }

    /// Lets `wait` pass.
    pub async fn sleep(&self, wait: Duration) {
        let (sender, receiver) = oneshot::channel();
        {
            let mut inner = self.lock();
            inner.order += 1;
            let at = inner.now_micros + i64::try_from(wait.as_micros()).expect("a short wait");
            let key = (at, inner.order);
            inner.timers.insert(key, sender);
        }
        let _ = receiver.await;
    }

    pub async fn sleep_millis(&self, from: u64, to: u64) {
        self.sleep(Duration::from_millis(self.between(from, to))).await;
    }

    /// Starts work that dies with its owner.
    pub fn spawn(&self, owner: Owner, work: impl Future<Output = ()> + Send + 'static) {
        self.lock().born.push((owner, Box::pin(work)));
    }
}

/// Which of the tasks that are ready goes on.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// The first woken.
    Queue,
    /// Any.
    Random,
    /// The one with the highest priority, which changes now and then: one task runs far ahead of the others, or far behind.
    Priorities,
}

/// Runs tasks, and turns the clock when all of them wait.
pub struct Scheduler {
    world: World,
    tasks: BTreeMap<u64, Task>,
    ready: Arc<Mutex<Vec<u64>>>,
    next_task: u64,
    order: Order,
    /// Those whose tasks stand still: stopped processes, to go on later.
    stopped: BTreeSet<Owner>,
    /// Their tasks that could go on.
    waiting: Vec<u64>,
    /// Apart from the world's dice: who goes first changes nothing of what happens to calls.
    dice: Dice,
    pub steps: u64,
    /// Everything that was done, in its order.
    trace: u64,
}

struct Task {
    owner: Owner,
    work: Work,
    priority: u64,
}

struct TaskWaker {
    task: u64,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(self.task);
    }
}

impl Scheduler {
    pub fn new(world: World, seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5EED);
        let order = match dice.between(0, 3) {
            0 => Order::Queue,
            1 => Order::Random,
            _ => Order::Priorities,
        };
        world.happened(match order {
            Order::Queue => "scheduled in a queue",
            Order::Random => "scheduled at random",
            Order::Priorities => "scheduled by priorities",
        });
        Self {
            world,
            tasks: BTreeMap::new(),
            ready: Arc::default(),
            next_task: 0,
            order,
            stopped: BTreeSet::new(),
            waiting: Vec::new(),
            dice,
            steps: 0,
            trace: 0,
        }
    }

    /// One number for the whole history: equal when every step was.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace.rotate_left(5) ^ what).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    /// Everything that belongs to `owner` stops where it is, as by `kill -9`.
    pub fn kill(&mut self, owner: Owner) {
        self.take_born();
        self.tasks.retain(|_, task| task.owner != owner);
    }

    /// Everything that belongs to `owner` stands still, as by `kill -STOP`.
    pub fn stop(&mut self, owner: Owner) {
        self.stopped.insert(owner);
    }

    /// And goes on.
    pub fn resume(&mut self, owner: Owner) {
        self.stopped.remove(&owner);
        // Those that still stand still are put aside again.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.waiting);
    }

    /// Lets time pass until `until`.
    pub fn run_until(&mut self, until: Timestamp) {
        loop {
            self.take_born();
            if let Some(task) = self.next() {
                self.step(task);
                continue;
            }
            let mut inner = self.world.lock();
            let next = inner.timers.first_key_value().map(|((at, _), _)| *at);
            match next.filter(|at| *at <= until.as_micros()) {
                None => {
                    inner.now_micros = until.as_micros();
                    return;
                }
                Some(at) => {
                    inner.now_micros = at;
                    let timer = inner.timers.pop_first().map(|(_, timer)| timer);
                    drop(inner);
                    self.note(at.unsigned_abs());
                    // Nobody waits any more when the task has died or had another answer sooner.
                    let _ = timer.map(|timer| timer.send(()));
                }
            }
        }
    }

    fn take_born(&mut self) {
        let born = std::mem::take(&mut self.world.lock().born);
        for (owner, work) in born {
            let task = Task { owner, work, priority: self.dice.random() };
            self.tasks.insert(self.next_task, task);
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(self.next_task);
            self.next_task += 1;
        }
    }

    fn next(&mut self) -> Option<u64> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stopped =
            |task: &u64| self.tasks.get(task).is_some_and(|task| self.stopped.contains(&task.owner));
        if !self.stopped.is_empty() && ready.iter().any(is_stopped) {
            let (later, now) = ready.drain(..).partition(is_stopped);
            *ready = now;
            self.waiting.extend::<Vec<u64>>(later);
        }
        if ready.is_empty() {
            return None;
        }
        let at = match self.order {
            Order::Queue => 0,
            Order::Random => usize::try_from(self.dice.between(0, ready.len() as u64)).expect("small"),
            Order::Priorities => {
                let priority = |task: &u64| self.tasks.get(task).map_or(u64::MAX, |task| task.priority);
                let (at, _) = ready.iter().enumerate().max_by_key(|(_, task)| priority(task)).expect("one");
                at
            }
        };
        Some(ready.remove(at))
    }

    fn step(&mut self, id: u64) {
        let changes = matches!(self.order, Order::Priorities) && self.dice.between(0, 50) == 0;
        let lower = self.dice.random();
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if changes {
            task.priority = lower % task.priority.max(1);
        }
        self.steps += 1;
        let waker = Waker::from(Arc::new(TaskWaker { task: id, ready: Arc::clone(&self.ready) }));
        if let Poll::Ready(()) = task.work.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.tasks.remove(&id);
        }
        self.note(id);
    }
}
