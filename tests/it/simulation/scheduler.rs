//! The simulation's world clock, its dice and its scheduler: one thread, no real time, the same steps for the same seed.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use sproxy::domain::clock::{ManualClock, Timestamp};
use tokio::sync::oneshot;

/// Whose work a task is; a process that dies takes its tasks along.
pub type Owner = u64;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A cheap handle that tasks share.
#[derive(Clone)]
pub struct World {
    inner: Arc<Mutex<Inner>>,
    pub clock: Arc<ManualClock>,
}

struct Inner {
    dice: u64,
    now_micros: i64,
    order: u64,
    timers: BTreeMap<(i64, u64), oneshot::Sender<()>>,
    born: Vec<(Owner, Work)>,
}

/// 2026-11-22T00:00:00Z: simulations start at midnight and stay within one day.
const START_MICROS: i64 = 1_795_305_600_000_000;

impl World {
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            dice: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now_micros: START_MICROS,
            order: 0,
            timers: BTreeMap::new(),
            born: Vec::new(),
        };
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(START_MICROS)));
        Self { inner: Arc::new(Mutex::new(inner)), clock }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next throw (xorshift64*).
    pub fn random(&self) -> u64 {
        let dice = &mut self.lock().dice;
        *dice ^= *dice >> 12;
        *dice ^= *dice << 25;
        *dice ^= *dice >> 27;
        dice.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `from..to`.
    pub fn between(&self, from: u64, to: u64) -> u64 {
        from + self.random() % (to - from)
    }

    /// True so many times in a thousand.
    pub fn chance(&self, per_mille: u64) -> bool {
        self.between(0, 1_000) < per_mille
    }

    /// An id of this seed: the same in every run. Version 7, as the product's own.
    pub fn uuid(&self) -> uuid::Uuid {
        let (high, low) = (self.random().to_be_bytes(), self.random().to_be_bytes());
        let bytes: [u8; 10] =
            [high[0], high[1], low[0], low[1], low[2], low[3], low[4], low[5], low[6], low[7]];
        let millis = u64::try_from(self.now().as_micros() / 1_000).expect("after 1970");
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }

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

/// Runs tasks, the first woken first, and turns the clock when all of them wait.
pub struct Scheduler {
    world: World,
    tasks: BTreeMap<u64, (Owner, Work)>,
    ready: Arc<Mutex<VecDeque<u64>>>,
    next_task: u64,
    pub steps: u64,
}

struct TaskWaker {
    task: u64,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.task);
    }
}

impl Scheduler {
    pub fn new(world: World) -> Self {
        Self { world, tasks: BTreeMap::new(), ready: Arc::default(), next_task: 0, steps: 0 }
    }

    /// Everything that belongs to `owner` stops where it is, as by `kill -9`.
    pub fn kill(&mut self, owner: Owner) {
        self.take_born();
        self.tasks.retain(|_, (of, _)| *of != owner);
    }

    /// Lets time pass until `until`.
    pub fn run_until(&mut self, until: Timestamp) {
        loop {
            self.take_born();
            let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(task) = ready {
                self.step(task);
                continue;
            }
            let mut inner = self.world.lock();
            let next = inner.timers.first_key_value().map(|((at, _), _)| *at);
            match next.filter(|at| *at <= until.as_micros()) {
                None => {
                    inner.now_micros = until.as_micros();
                    drop(inner);
                    self.world.clock.set(until);
                    return;
                }
                Some(at) => {
                    inner.now_micros = at;
                    let timer = inner.timers.pop_first().map(|(_, timer)| timer);
                    drop(inner);
                    self.world.clock.set(Timestamp::from_micros(at));
                    // Nobody waits any more when the task has died or had another answer sooner.
                    let _ = timer.map(|timer| timer.send(()));
                }
            }
        }
    }

    fn take_born(&mut self) {
        for (owner, work) in std::mem::take(&mut self.world.lock().born) {
            self.tasks.insert(self.next_task, (owner, work));
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.next_task);
            self.next_task += 1;
        }
    }

    fn step(&mut self, task: u64) {
        let Some((_, work)) = self.tasks.get_mut(&task) else { return };
        self.steps += 1;
        let waker = Waker::from(Arc::new(TaskWaker { task, ready: Arc::clone(&self.ready) }));
        if let Poll::Ready(()) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.tasks.remove(&task);
        }
    }
}
