//! What receivers are still to be told: rows in the databases of this node, and, while its own takes none, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::alerts::event::Event;
use crate::alerts::metrics::{Metrics, Outcome};
use crate::alerts::receiver::Receiver;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::ids::NodeId;
use crate::store::{AlertEnd, AlertRepo, AlertRow, Error, Store};

/// Rows that may wait for one receiver.
const WAITING_MAX: u64 = 1_000;
/// Rows that may be held in memory.
const HELD_MAX: usize = 256;
/// A database that takes longer is as good as away.
const STORE_MAX: Duration = Duration::from_secs(5);
/// What is not delivered by then is given up.
const UNDELIVERED_MAX: Duration = Duration::from_hours(24);
/// Rows tell for so long that their event was told: longer than any window of a limit.
const KEPT_FOR: Duration = Duration::from_hours(40 * 24);
/// And so many of them.
const KEPT_MAX: u64 = 100_000;
/// Rows that are removed at once.
const REMOVED_AT_ONCE: u64 = 1_000;

/// The rows of a node, wherever they are.
pub struct Outbox {
    /// The node's own database.
    own: Store,
    /// The one that leaders share, where this node is one of them.
    shared: Option<Store>,
    node: NodeId,
    clock: Arc<dyn Clock>,
    /// Rows that the node's own database did not take.
    held: Mutex<VecDeque<AlertRow>>,
    news: watch::Sender<u64>,
    pub(super) metrics: Metrics,
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Held,
    Own,
    Shared,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Outbox {
    #[must_use]
    pub fn new(own: Store, shared: Option<Store>, node: NodeId, clock: Arc<dyn Clock>) -> Self {
        let (news, _) = watch::channel(0);
        let held = Mutex::default();
        Self { own, shared, node, clock, held, news, metrics: Metrics::new() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn node(&self) -> &NodeId {
        &self.node
    }

    /// Changes when there is something to be sent.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// There may be something to be sent, or a receiver that was down may be up.
    pub(super) fn nudge(&self) {
        self.news.send_modify(|news| *news = news.wrapping_add(1));
    }

    /// The database that an event of the cluster, or of the node, lies in.
    pub(super) fn store_of(&self, is_of_cluster: bool) -> &Store {
        self.shared.as_ref().filter(|_| is_of_cluster).unwrap_or(&self.own)
    }

    fn stores(&self) -> impl Iterator<Item = (Place, &Store)> {
        [(Place::Own, &self.own)].into_iter().chain(self.shared.as_ref().map(|store| (Place::Shared, store)))
    }

    fn at(&self, place: Place) -> &Store {
        match place {
            Place::Held | Place::Own => &self.own,
            Place::Shared => self.shared.as_ref().unwrap_or(&self.own),
        }
    }

    /// Adds a row for each receiver. True: at least one of them was not told of the event before.
    ///
    /// # Errors
    /// That of the database, for an event of the cluster: somebody has to raise it once more.
    pub(super) async fn add(&self, event: &Event, receivers: &[&Receiver]) -> Result<bool, Error> {
        let body = serde_json::to_string(&event.body)
            .map_err(|error| Error::Failed(format!("an event cannot be written: {error}")))?;
        let rows: Vec<AlertRow> =
            receivers.iter().map(|receiver| row(event, &body, &receiver.name)).collect();
        let is_of_cluster = event.kind.is_of_cluster();
        let added = self.add_to(self.store_of(is_of_cluster), &rows).await;
        let is_new = match added {
            Ok(is_new) => is_new,
            Err(error) if is_of_cluster => return Err(error),
            Err(error) => {
                tracing::debug!(%error, event = %event.kind, "the database takes no alert: it is held in memory");
                self.hold(rows)
            }
        };
        if is_new {
            self.metrics.raised(event.kind);
            self.nudge();
        }
        Ok(is_new)
    }

    async fn add_to(&self, store: &Store, rows: &[AlertRow]) -> Result<bool, Error> {
        let repo = AlertRepo::on(store);
        let waiting = within(repo.waiting()).await?;
        let mut is_new = false;
        for row in rows {
            if waiting.get(&row.receiver).copied().unwrap_or(0) >= WAITING_MAX {
                self.dropped(row);
            } else {
                is_new |= within(repo.add(row)).await?;
            }
        }
        Ok(is_new)
    }

    /// Keeps rows in memory; false: all of them are there.
    fn hold(&self, rows: Vec<AlertRow>) -> bool {
        let mut held = self.held.lock();
        let mut is_new = false;
        for row in rows {
            if held.iter().any(|one| (&one.receiver, &one.dedupe_key) == (&row.receiver, &row.dedupe_key)) {
                continue;
            }
            if held.len() >= HELD_MAX {
                self.dropped(&row);
                continue;
            }
            held.push_back(row);
            is_new = true;
        }
        is_new
    }

    fn dropped(&self, row: &AlertRow) {
        self.metrics.ended(Outcome::Dropped);
        tracing::warn!(
            receiver = row.receiver,
            event = row.kind,
            subject = row.subject,
            "an alert is dropped: too many wait for its receiver"
        );
    }

    /// Takes a row of a receiver for this process, until `until`.
    pub(super) async fn claim(&self, receiver: &str, until: Timestamp) -> Option<(Place, AlertRow)> {
        let now = self.now();
        if let Some(row) = self.claim_held(receiver, now, until) {
            return Some((Place::Held, row));
        }
        for (place, store) in self.stores() {
            let claimed = within(AlertRepo::on(store).claim(receiver, &self.node, now, until)).await;
            match claimed {
                Ok(Some(row)) if place == Place::Own && self.was_sent_from_memory(&row).await => {}
                Ok(Some(row)) => return Some((place, row)),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, receiver, "the database gives no alert to send"),
            }
        }
        None
    }

    /// A row that the database was thought not to take, and took all the same, is held as well: true if it was sent from
    /// there, which is written down then.
    async fn was_sent_from_memory(&self, row: &AlertRow) -> bool {
        let Some(sent) = self.take_held(row.id) else { return false };
        if sent.ended.is_some() {
            self.settle(Place::Own, &sent).await;
        }
        sent.ended.is_some()
    }

    fn take_held(&self, id: Uuid) -> Option<AlertRow> {
        let mut held = self.held.lock();
        let at = held.iter().position(|kept| kept.id == id)?;
        held.remove(at)
    }

    fn claim_held(&self, receiver: &str, now: Timestamp, until: Timestamp) -> Option<AlertRow> {
        let mut held = self.held.lock();
        let is_due =
            |row: &&mut AlertRow| row.receiver == receiver && row.ended.is_none() && row.next_try <= now;
        let row = held.iter_mut().find(is_due)?;
        row.attempts = row.attempts.saturating_add(1);
        row.next_try = until;
        Some(row.clone())
    }

    /// Writes how a try ended. Where that fails, the row is tried once more when its claim is over.
    pub(super) async fn settle(&self, place: Place, row: &AlertRow) {
        if place == Place::Held {
            let mut held = self.held.lock();
            if let Some(kept) = held.iter_mut().find(|kept| kept.id == row.id) {
                kept.clone_from(row);
                return;
            }
            // The database has taken it meanwhile.
        }
        if let Err(error) = within(AlertRepo::on(self.at(place)).settle(row)).await {
            let receiver = &row.receiver;
            tracing::warn!(%error, receiver, event = row.kind, "how an alert was delivered cannot be written");
        }
    }

    /// What this node was sending when it ended may be sent at once.
    pub(super) async fn release_own(&self) {
        for (_, store) in self.stores() {
            if let Err(error) = within(AlertRepo::on(store).release(&self.node, self.now())).await {
                tracing::debug!(%error, "alerts that were being sent wait until their claims are over");
            }
        }
    }

    /// Puts what is held in memory into the database, ends what nobody could be told for too long, and removes what is old.
    pub(super) async fn tidy(&self) {
        self.write_held().await;
        let now = self.now();
        let end = AlertEnd { at: now, outcome: Outcome::GivenUp.as_str().to_owned() };
        for (_, store) in self.stores() {
            let repo = AlertRepo::on(store);
            match within(repo.expire(now.minus(UNDELIVERED_MAX), &end)).await {
                Ok(0) => {}
                Ok(given_up) => {
                    self.metrics.ended_by(Outcome::GivenUp, given_up);
                    tracing::warn!(given_up, "alerts could not be delivered for a day, and are given up");
                }
                Err(error) => tracing::debug!(%error, "old alerts cannot be ended"),
            }
            if let Err(error) = within(remove_old(&repo, now)).await {
                tracing::debug!(%error, "old alerts cannot be removed");
            }
        }
        self.count_waiting().await;
    }

    async fn write_held(&self) {
        let held: Vec<AlertRow> = self.held.lock().iter().cloned().collect();
        for row in held {
            if within(AlertRepo::on(&self.own).add(&row)).await.is_err() {
                return;
            }
            // Sent before, it was written down as that, unless the database had it from before.
            if let Some(now) = self.take_held(row.id).filter(|now| now.ended.is_some()) {
                self.settle(Place::Own, &now).await;
            }
        }
    }

    pub(super) async fn count_waiting(&self) {
        if let Ok(waiting) = self.waiting().await {
            self.metrics.set_waiting(waiting.values().sum());
        }
    }

    /// The number of rows that wait for each receiver.
    pub(super) async fn waiting(&self) -> Result<BTreeMap<String, u64>, Error> {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        for row in self.held.lock().iter().filter(|row| row.ended.is_none()) {
            *all.entry(row.receiver.clone()).or_default() += 1;
        }
        for (_, store) in self.stores() {
            for (receiver, rows) in within(AlertRepo::on(store).waiting()).await? {
                *all.entry(receiver).or_default() += rows;
            }
        }
        Ok(all)
    }

    /// When each receiver was last told something, or when telling it last ended in vain.
    pub(super) async fn last_ends(&self, delivered: bool) -> Result<BTreeMap<String, Timestamp>, Error> {
        let mut all = BTreeMap::new();
        for (_, store) in self.stores() {
            for (receiver, at) in within(AlertRepo::on(store).last_ends(delivered)).await? {
                let last = all.entry(receiver).or_insert(at);
                *last = at.max(*last);
            }
        }
        Ok(all)
    }
}

async fn remove_old<G: crate::store::Executor>(repo: &AlertRepo<'_, G>, now: Timestamp) -> Result<(), Error> {
    let by_age = now.minus(KEPT_FOR);
    let before = repo.nth_newest(KEPT_MAX).await?.map_or(by_age, |by_number| by_number.max(by_age));
    repo.delete_done_before(before, REMOVED_AT_ONCE).await.map(drop)
}

async fn within<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Err(Error::Unavailable("it takes too long to answer".to_owned()));
    timeout(STORE_MAX, work).await.unwrap_or_else(|_| late())
}

fn row(event: &Event, body: &str, receiver: &str) -> AlertRow {
    AlertRow {
        id: Uuid::now_v7(),
        event: event.body.id,
        receiver: receiver.to_owned(),
        kind: event.body.event.clone(),
        subject: event.body.subject.key(),
        dedupe_key: event.key.clone(),
        node: event.body.node.to_string(),
        body: body.to_owned(),
        created_at: event.body.at,
        attempts: 0,
        next_try: event.body.at,
        ended: None,
        status: None,
        error: None,
    }
}
