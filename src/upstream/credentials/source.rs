//! A credential that is kept, and exchanged for a new one before it ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::domain::clock::{Clock, Timestamp};

/// The longest that one exchange may take.
const FETCH_MAX: Duration = Duration::from_secs(30);
/// What is left of a credential's time when it is no longer sent: it would end on the way.
const LEEWAY: Duration = Duration::from_secs(10);
/// After a failure the next attempt waits for this long, and twice as long after each further one…
const RETRY_MIN: Duration = Duration::from_secs(1);
/// …up to this.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// A credential that is younger is not given up because somebody refuses it: a new one would fare no better.
const REJECTABLE_AFTER: Duration = Duration::from_mins(1);

/// A credential, and how long it is good for.
#[derive(Clone, Debug)]
pub struct Lease<T> {
    pub value: T,
    /// `None`: it does not end.
    pub expires_at: Option<Timestamp>,
}

type Fetching<T> = Pin<Box<dyn Future<Output = Result<Lease<T>, String>> + Send>>;

/// Gives out a credential. However many callers there are, it is exchanged once; and while the old one is good, nobody
/// waits for the new one.
pub struct CredentialSource<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    /// Who it is for, in logs and errors.
    name: String,
    fetch: Box<dyn Fn() -> Fetching<T> + Send + Sync>,
    /// How long before its end a credential is exchanged.
    early: Duration,
    clock: Arc<dyn Clock>,
    state: Mutex<State<T>>,
    /// Counts exchanges that have ended, well or not.
    settled: watch::Sender<u64>,
}

struct State<T> {
    current: Option<Current<T>>,
    is_fetching: bool,
    /// In a row.
    failures: u32,
    last_error: Option<String>,
    retry_at: Option<Timestamp>,
}

struct Current<T> {
    value: Arc<T>,
    since: Timestamp,
    expires_at: Option<Timestamp>,
    /// When a new one is asked for, and until when this one is sent.
    times: Option<(Timestamp, Timestamp)>,
}

/// There is no credential, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no credentials for {name}: {reason}")]
pub struct Unavailable {
    pub name: String,
    pub reason: String,
}

/// How a source is, for people; never what it gives out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CredentialStatus {
    /// There is one that can be sent.
    pub is_available: bool,
    pub expires_at: Option<Timestamp>,
    /// Exchanges that failed, in a row.
    pub failures: u32,
    pub last_error: Option<String>,
    /// When the next exchange may be tried.
    pub retry_at: Option<Timestamp>,
}

/// What a caller does.
enum Step<T> {
    Use(Arc<T>),
    /// A fetch has to be begun, too.
    UseAndFetch(Arc<T>),
    FetchAndWait,
    Wait,
    Fail(String),
}

impl<T> fmt::Debug for CredentialSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialSource({})", self.shared.name)
    }
}

impl<T: Send + Sync + 'static> CredentialSource<T> {
    /// A source that asks `fetch`, for the first time when somebody wants a credential, and again `early` before its
    /// end (half of its time before, if it is that short).
    pub fn new<F>(
        name: impl Into<String>,
        early: Duration,
        clock: Arc<dyn Clock>,
        fetch: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Lease<T>, String>> + Send + 'static,
    {
        Self {
            shared: Arc::new(Shared {
                name: name.into(),
                fetch: Box::new(move || Box::pin(fetch())),
                early,
                clock,
                state: Mutex::new(State {
                    current: None,
                    is_fetching: false,
                    failures: 0,
                    last_error: None,
                    retry_at: None,
                }),
                settled: watch::Sender::new(0),
            }),
        }
    }

    /// The credential. Waits only if there is none that can be sent.
    ///
    /// # Errors
    /// [`Unavailable`]: the exchange failed, now or a short time ago.
    pub async fn get(&self) -> Result<Arc<T>, Unavailable> {
        loop {
            let mut settled = {
                let mut state = self.shared.state.lock();
                match state.step(self.shared.clock.now()) {
                    Step::Use(value) => return Ok(value),
                    Step::UseAndFetch(value) => {
                        self.begin(&mut state);
                        return Ok(value);
                    }
                    Step::FetchAndWait => self.begin(&mut state),
                    Step::Wait => {}
                    Step::Fail(reason) => {
                        return Err(Unavailable { name: self.shared.name.clone(), reason });
                    }
                }
                self.shared.settled.subscribe()
            };
            // The sender lives as long as `self` does.
            let _ = settled.changed().await;
        }
    }

    /// Has a credential exchanged if there is none, or if it is time to. Waits for nothing.
    pub fn refresh(&self) {
        let mut state = self.shared.state.lock();
        match state.step(self.shared.clock.now()) {
            Step::UseAndFetch(_) | Step::FetchAndWait => self.begin(&mut state),
            Step::Use(_) | Step::Wait | Step::Fail(_) => {}
        }
    }

    /// Somebody who was sent this credential does not accept it: it is given up, unless it is new.
    pub fn reject(&self, rejected: &Arc<T>) {
        let mut state = self.shared.state.lock();
        let now = self.shared.clock.now();
        let is_old = |current: &Current<T>| {
            Arc::ptr_eq(&current.value, rejected) && now.since(current.since) >= REJECTABLE_AFTER
        };
        if state.current.as_ref().is_some_and(is_old) {
            state.current = None;
        }
    }

    #[must_use]
    pub fn status(&self) -> CredentialStatus {
        let state = self.shared.state.lock();
        let now = self.shared.clock.now();
        let current = state.current.as_ref();
        CredentialStatus {
            is_available: current.is_some_and(|current| current.is_good(now)),
            expires_at: current.and_then(|current| current.expires_at),
            failures: state.failures,
            last_error: state.last_error.clone(),
            retry_at: state.retry_at,
        }
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a caller who hangs up must not end what others wait for; it ends by itself, in FETCH_MAX at the latest"
    )]
    fn begin(&self, state: &mut State<T>) {
        state.is_fetching = true;
        let exchange = Exchanging { shared: Arc::clone(&self.shared), ended: None };
        tokio::spawn(exchange.run());
    }
}

/// An exchange under way. However it ends, those who wait are told.
struct Exchanging<T> {
    shared: Arc<Shared<T>>,
    ended: Option<Result<Lease<T>, String>>,
}

impl<T: Send + Sync + 'static> Exchanging<T> {
    async fn run(mut self) {
        let fetched = tokio::time::timeout(FETCH_MAX, (self.shared.fetch)()).await;
        let late = || format!("no answer within {}", humantime::format_duration(FETCH_MAX));
        self.ended = Some(fetched.unwrap_or_else(|_| Err(late())));
    }
}

impl<T> Drop for Exchanging<T> {
    fn drop(&mut self) {
        let shared = &self.shared;
        let ended = self.ended.take().unwrap_or_else(|| Err("the exchange was broken off".to_owned()));
        let now = shared.clock.now();
        let mut state = shared.state.lock();
        state.is_fetching = false;
        let failed = match ended {
            Ok(lease) => state.take(lease, now, shared.early),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = failed {
            tracing::warn!(source = shared.name, %reason, "credentials could not be exchanged");
            state.fail(reason, now);
        }
        drop(state);
        shared.settled.send_modify(|count| *count += 1);
    }
}

impl<T> State<T> {
    fn step(&self, now: Timestamp) -> Step<T> {
        let may_fetch = !self.is_fetching && self.retry_at.is_none_or(|at| now >= at);
        match &self.current {
            Some(current) if current.is_good(now) => {
                let value = Arc::clone(&current.value);
                let is_due = current.times.is_some_and(|(refresh_at, _)| now >= refresh_at);
                if is_due && may_fetch { Step::UseAndFetch(value) } else { Step::Use(value) }
            }
            _ if self.is_fetching => Step::Wait,
            _ if may_fetch => Step::FetchAndWait,
            _ => Step::Fail(self.last_error.clone().unwrap_or_default()),
        }
    }

    fn take(&mut self, lease: Lease<T>, now: Timestamp, early: Duration) -> Result<(), String> {
        let times = lease.expires_at.map(|end| {
            let left = end.since(now);
            (end.minus(early.min(left / 2)), end.minus(LEEWAY.min(left / 10)))
        });
        if times.is_some_and(|(_, until)| now >= until) {
            return Err("what was given has ended already; is this machine's clock right?".to_owned());
        }
        let value = Arc::new(lease.value);
        self.current = Some(Current { value, since: now, expires_at: lease.expires_at, times });
        self.failures = 0;
        self.last_error = None;
        self.retry_at = None;
        Ok(())
    }

    fn fail(&mut self, reason: String, now: Timestamp) {
        let doubled = RETRY_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(reason);
        self.retry_at = Some(now.plus(doubled.min(RETRY_MAX)));
    }
}

impl<T> Current<T> {
    /// Whether it can be sent.
    fn is_good(&self, now: Timestamp) -> bool {
        self.times.is_none_or(|(_, until)| now < until)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::domain::clock::ManualClock;

    const HOUR: Duration = Duration::from_hours(1);
    const EARLY: Duration = Duration::from_mins(5);
    const UNTIL_DUE: Duration = Duration::from_mins(55);

    /// An issuer that numbers what it gives out, each for an hour.
    struct Issuer {
        clock: Arc<ManualClock>,
        asked: AtomicU32,
        /// Answers may be given.
        open: Semaphore,
        fails: Mutex<bool>,
    }

    fn issuer() -> (Arc<Issuer>, CredentialSource<u32>) {
        let clock = Arc::new(ManualClock::new("2026-11-28T21:00:00Z".parse().expect("a time")));
        let issuer = Arc::new(Issuer {
            clock: Arc::clone(&clock),
            asked: AtomicU32::new(0),
            open: Semaphore::new(0),
            fails: Mutex::new(false),
        });
        let asked = Arc::clone(&issuer);
        let source = CredentialSource::new("t", EARLY, clock, move || {
            let issuer = Arc::clone(&asked);
            async move {
                let number = issuer.asked.fetch_add(1, Ordering::SeqCst) + 1;
                issuer.open.acquire().await.expect("open").forget();
                if *issuer.fails.lock() {
                    return Err(format!("failure {number}"));
                }
                Ok(Lease { value: number, expires_at: Some(issuer.clock.now().plus(HOUR)) })
            }
        });
        (issuer, source)
    }

    async fn settled(source: &CredentialSource<u32>, wanted: u64) {
        let mut settled = source.shared.settled.subscribe();
        settled.wait_for(|count| *count >= wanted).await.expect("the source lives");
    }

    #[tokio::test]
    async fn one_exchange_serves_all_who_wait_and_outlives_who_hangs_up() {
        fn may_move_between_threads<T: Send>(future: T) -> T {
            future
        }
        let (issuer, source) = issuer();
        let gone = tokio::time::timeout(Duration::ZERO, may_move_between_threads(source.get())).await;
        assert!(gone.is_err(), "nothing is there yet");
        let all = futures_util::future::join_all((0..50).map(|_| source.get()));
        let ((), all) = tokio::join!(async { issuer.open.add_permits(1) }, all);
        assert!(all.iter().all(|got| got.as_deref() == Ok(&1)), "{all:?}");
        assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_new_one_while_the_old_one_is_good() {
        let (issuer, source) = issuer();
        issuer.open.add_permits(1);
        assert_eq!(source.get().await.as_deref(), Ok(&1));
        issuer.clock.advance(UNTIL_DUE);
        for _ in 0..10 {
            assert_eq!(source.get().await.as_deref(), Ok(&1), "the issuer does not answer");
        }
        issuer.open.add_permits(1);
        settled(&source, 2).await;
        assert_eq!(source.get().await.as_deref(), Ok(&2));
        assert_eq!(issuer.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn failures_are_shown_and_repeated_ever_later_and_the_old_one_is_used_to_its_end() {
        let (issuer, source) = issuer();
        issuer.open.add_permits(100);
        assert_eq!(source.get().await.as_deref(), Ok(&1));
        *issuer.fails.lock() = true;
        issuer.clock.advance(UNTIL_DUE);
        for failures in 1..=3_u32 {
            assert_eq!(source.get().await.as_deref(), Ok(&1));
            settled(&source, u64::from(failures) + 1).await;
            let status = source.status();
            let wait = Duration::from_secs(1 << (failures - 1));
            assert_eq!((status.failures, status.is_available), (failures, true));
            assert_eq!(status.last_error, Some(format!("failure {}", failures + 1)));
            assert_eq!(status.retry_at, Some(issuer.clock.now().plus(wait)));
            assert_eq!(source.get().await.as_deref(), Ok(&1));
            issuer.clock.advance(wait);
        }
        assert_eq!(issuer.asked.load(Ordering::SeqCst), 4, "none in between");
        issuer.clock.advance(EARLY);
        let failed = source.get().await.expect_err("it has ended");
        assert_eq!(failed.to_string(), "no credentials for t: failure 5");
        assert_eq!(source.get().await, Err(failed), "at once, without another attempt");
        assert_eq!(issuer.asked.load(Ordering::SeqCst), 5);
        for _ in 0..10 {
            issuer.clock.advance(RETRY_MAX);
            assert!(source.get().await.is_err());
            let at = source.status().retry_at.expect("a time");
            assert!(at <= issuer.clock.now().plus(RETRY_MAX));
        }
        *issuer.fails.lock() = false;
        issuer.clock.advance(RETRY_MAX);
        assert_eq!(source.get().await.as_deref(), Ok(&16));
        assert_eq!(source.status().failures, 0);
    }

    #[tokio::test]
    async fn a_refused_one_is_given_up_unless_it_is_new() {
        let (issuer, source) = issuer();
        issuer.open.add_permits(100);
        let first = source.get().await.expect("a credential");
        source.reject(&first);
        assert_eq!(source.get().await.as_deref(), Ok(&1));
        issuer.clock.advance(REJECTABLE_AFTER);
        source.reject(&first);
        assert_eq!(source.get().await.as_deref(), Ok(&2));
        issuer.clock.advance(REJECTABLE_AFTER);
        source.reject(&first);
        assert_eq!(source.get().await.as_deref(), Ok(&2), "another one is meant");
    }

    #[tokio::test]
    async fn what_has_ended_already_is_a_failure_and_what_does_not_end_is_kept() {
        let clock = Arc::new(ManualClock::new("2026-11-28T21:00:00Z".parse().expect("a time")));
        let now = clock.now();
        let ended =
            CredentialSource::new("t", EARLY, Arc::clone(&clock) as Arc<dyn Clock>, move || async move {
                Ok(Lease { value: (), expires_at: Some(now) })
            });
        assert!(ended.get().await.expect_err("it has ended").reason.contains("clock"));
        let kept = CredentialSource::new("t", EARLY, Arc::clone(&clock) as Arc<dyn Clock>, || async {
            Ok(Lease { value: 7, expires_at: None })
        });
        let first = kept.get().await.expect("a credential");
        clock.advance(HOUR * 10_000);
        assert!(Arc::ptr_eq(&first, &kept.get().await.expect("the same")));
    }

    #[tokio::test]
    async fn an_exchange_that_panics_leaves_nobody_waiting() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let source: CredentialSource<u32> =
            CredentialSource::new("t", EARLY, clock, || async { panic!("a defect") });
        assert_eq!(source.get().await.expect_err("none").reason, "the exchange was broken off");
    }
}
