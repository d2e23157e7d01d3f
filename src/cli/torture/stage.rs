//! What happens: events and their repair, while callers go on; and the check in between, with everything whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::callers::Callers;
use super::check::{self, Verdict};
use super::cluster::Cluster;
use super::event::Event;
use super::link::Mode;
use super::node::{Node, Odd};
use crate::cli::local_cluster::error::Error;

const TICK: Duration = Duration::from_millis(20);
/// The longest that the first start of everything may take.
const START_MAX: Duration = Duration::from_mins(3);
/// The longest that an event waits until what it happens to is whole again.
const FREE_MAX: Duration = Duration::from_mins(1);
/// The longest that a cluster without faults may take to have everything in its books.
pub(super) const CATCH_UP_MAX: Duration = Duration::from_mins(4);
const CHECK_PAUSE: Duration = Duration::from_millis(300);
/// The longest that a disk's loss waits until it would be none.
const DISK_MAX: Duration = Duration::from_secs(30);

enum Repair {
    Resume(usize),
    Open(usize),
    StartDatabase,
}

/// What came of it so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Events by kind.
    pub(super) events: BTreeMap<&'static str, u64>,
    /// Events that could not happen, with the reason.
    pub(super) left_out: BTreeMap<&'static str, u64>,
    pub(super) checks: u64,
    /// Checks at which the cluster had not recovered by itself in time.
    pub(super) not_recovered: u64,
    /// From the end of all faults to complete and equal books.
    pub(super) longest_catch_up: Duration,
    pub(super) last: Option<Verdict>,
}

impl Tally {
    pub(super) fn events(&self) -> u64 {
        self.events.values().sum()
    }
}

/// The cluster, its callers, and what is still to be repaired.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) callers: Option<Arc<Callers>>,
    pub(super) tally: Tally,
    pub(super) began: Instant,
    repairs: Vec<(Instant, Repair)>,
    users: Vec<String>,
    history: File,
    backups: u64,
}

impl Stage {
    /// Starts the nodes and makes the users.
    pub(super) async fn begin(cluster: Cluster) -> Result<Self, Error> {
        let path = cluster.directory.path().join("events.log");
        let history = File::create(&path).map_err(Error::io(format!("creating {}", path.display())))?;
        let mut stage = Self {
            cluster,
            callers: None,
            tally: Tally::default(),
            began: Instant::now(),
            repairs: Vec::new(),
            users: Vec::new(),
            history,
            backups: 0,
        };
        let deadline = Instant::now() + START_MAX;
        // One after the other: the first makes the database's tables, and leaders are there before who follows.
        while !stage.all_well() {
            if Instant::now() > deadline {
                let directory = stage.cluster.directory.path().display().to_string();
                stage.cluster.directory.keep();
                return Err(Error::Node(format!(
                    "the nodes did not start in time; their logs are in {directory}"
                )));
            }
            stage.tend().await?;
            sleep(TICK).await;
        }
        let (users, keys) = check::create_users(&stage.cluster, 0).await?;
        let names: Vec<String> = stage.cluster.nodes.iter().map(|node| node.name.clone()).collect();
        let callers = Callers::new(&names, keys, stage.began)?;
        for (at, node) in stage.cluster.nodes.iter().enumerate() {
            callers.node_is_at(at, node.url());
        }
        stage.users = users;
        while check::first_reason_to_wait(&stage.cluster, &callers).await?.is_some() {
            if Instant::now() > deadline {
                return Err(Error::Node("the nodes did not hear of the users in time".to_owned()));
            }
            stage.tend().await?;
            sleep(TICK).await;
        }
        stage.callers = Some(callers);
        Ok(stage)
    }

    fn all_well(&self) -> bool {
        self.cluster.nodes.iter().all(Node::is_well)
    }

    fn is_well(&self, node: usize) -> bool {
        self.cluster.nodes.get(node).is_some_and(Node::is_well)
    }

    /// Lets pass what has to happen meanwhile: nodes start, faults end.
    async fn tend(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.repairs).into_iter().partition(|(at, _)| *at <= now);
        self.repairs = later;
        for (_, repair) in due {
            self.repair(repair).await?;
        }
        for at in self.cluster.tend().await? {
            let url = self.cluster.nodes.get(at).and_then(Node::url);
            let name = self.cluster.nodes.get(at).map_or("", |node| &node.name).to_owned();
            let text = if url.is_some() { format!("{name} is up") } else { format!("{name} is down") };
            self.note(&text);
            if let Some(callers) = &self.callers {
                callers.node_is_at(at, url);
            }
        }
        Ok(())
    }

    async fn repair(&mut self, repair: Repair) -> Result<(), Error> {
        match repair {
            Repair::Resume(node) => {
                if let Some(node) = self.cluster.nodes.get_mut(node) {
                    node.pause(false);
                }
            }
            Repair::Open(link) => {
                if let Some(line) = self.cluster.lines.get(link) {
                    line.link.set(Mode::Open);
                }
            }
            Repair::StartDatabase => self.start_database().await?,
        }
        Ok(())
    }

    async fn start_database(&mut self) -> Result<(), Error> {
        if let Some(database) = &mut self.cluster.database {
            database.start().await?;
        }
        Ok(())
    }

    /// Writes into the history what happened when.
    pub(super) fn note(&mut self, text: &str) {
        let at = self.began.elapsed().as_secs_f64();
        if let Err(error) = writeln!(self.history, "{at:.3} {text}") {
            tracing::warn!(%error, "the history of events is incomplete");
        }
    }

    /// Lets time pass.
    pub(super) async fn pass(&mut self, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        loop {
            self.tend().await?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(TICK)).await;
        }
    }

    /// Whether what an event happens to is whole.
    fn can_happen(&self, event: &Event) -> bool {
        match event {
            Event::Kill { node, .. }
            | Event::Pause { node, .. }
            | Event::Leave { node, .. }
            | Event::LoseDisk { node }
            | Event::Restore { node, .. } => self.is_well(*node),
            Event::Link { link, .. } => {
                self.cluster.lines.get(*link).is_some_and(|line| line.link.mode() == Mode::Open)
            }
            Event::RestartDatabase { .. } | Event::StopDatabase { .. } | Event::FailOver { .. } => {
                self.cluster.database.as_ref().is_some_and(super::database::Database::is_running)
            }
        }
    }

    /// One thing happens, as soon as it can.
    pub(super) async fn act(&mut self, event: Event) -> Result<(), Error> {
        let deadline = Instant::now() + FREE_MAX;
        while !self.can_happen(&event) {
            if Instant::now() > deadline {
                self.leave_out(&event, "what it happens to was not whole in time");
                return Ok(());
            }
            self.pass(TICK).await?;
        }
        self.note(&event.to_string());
        let kind = event.kind();
        match event {
            Event::Kill { node, down } => self.kill(node, down).await?,
            Event::Pause { node, lasts } => {
                if let Some(subject) = self.cluster.nodes.get_mut(node) {
                    subject.pause(true);
                }
                self.later(lasts, Repair::Resume(node));
            }
            Event::Leave { node, down } => {
                if let Some(node) = self.cluster.nodes.get_mut(node) {
                    node.ask_to_leave(down);
                }
            }
            Event::Link { link, mode, lasts } => {
                if let Some(line) = self.cluster.lines.get(link) {
                    line.link.set(mode);
                    let text = format!("  {}", line.name);
                    self.note(&text);
                }
                self.later(lasts, Repair::Open(link));
            }
            Event::LoseDisk { node } => {
                if !self.lose_disk(node).await? {
                    self.leave_out(&event, "the leaders lacked something of it");
                    return Ok(());
                }
            }
            Event::Restore { node, older } => {
                if !self.restore(node, older).await? {
                    self.leave_out(&event, "no backup could be made");
                    return Ok(());
                }
            }
            Event::RestartDatabase { crashes } => {
                let mode = if crashes { "immediate" } else { "fast" };
                if let Some(database) = &mut self.cluster.database {
                    database.stop(mode).await?;
                    database.start().await?;
                }
            }
            Event::StopDatabase { lasts } => {
                if let Some(database) = &mut self.cluster.database {
                    database.stop("fast").await?;
                }
                self.later(lasts, Repair::StartDatabase);
            }
            Event::FailOver { lag } => {
                if let Some(database) = &mut self.cluster.database {
                    database.let_standby_lag().await?;
                }
                self.pass(lag).await?;
                self.cluster.cut_database_off();
                if let Some(database) = &mut self.cluster.database {
                    database.fail_over().await?;
                }
                self.cluster.follow_database();
                self.note("  failed over");
            }
        }
        *self.tally.events.entry(kind).or_default() += 1;
        Ok(())
    }

    fn leave_out(&mut self, event: &Event, reason: &str) {
        self.note(&format!("left out, {reason}: {event}"));
        *self.tally.left_out.entry(event.kind()).or_default() += 1;
    }

    fn later(&mut self, after: Duration, repair: Repair) {
        self.repairs.push((Instant::now() + after, repair));
    }

    async fn kill(&mut self, node: usize, down: Duration) -> Result<(), Error> {
        if let Some(callers) = &self.callers {
            callers.node_is_at(node, None);
        }
        if let Some(subject) = self.cluster.nodes.get_mut(node) {
            subject.kill(down).await?;
        }
        self.cluster.is_gone(node);
        Ok(())
    }

    /// Lets nobody call a node, and waits until nobody waits for its answer.
    async fn calm(&mut self, node: usize) -> Result<bool, Error> {
        let Some(callers) = self.callers.clone() else { return Ok(false) };
        callers.open(node, false);
        let deadline = Instant::now() + DISK_MAX;
        while !callers.is_idle(node) && Instant::now() < deadline {
            self.pass(TICK).await?;
        }
        Ok(callers.is_idle(node))
    }

    /// A node that nobody calls, and of whose answers none is missing in the leaders' books, is killed, and its disk is
    /// gone. False where one would not come to be there.
    async fn lose_disk(&mut self, node: usize) -> Result<bool, Error> {
        let Some(callers) = self.callers.clone() else { return Ok(false) };
        self.cluster.open_those_of(callers.name(node));
        let mut is_synced = false;
        if self.calm(node).await? {
            let deadline = Instant::now() + DISK_MAX;
            while !is_synced && Instant::now() < deadline {
                self.pass(CHECK_PAUSE).await?;
                is_synced = check::has_all_of(&self.cluster, node, &callers).await;
            }
        }
        if is_synced {
            self.note("  its disk is gone");
            self.kill(node, Duration::ZERO).await?;
            if let Some(node) = self.cluster.nodes.get(node) {
                let what = format!("removing {}", node.data_dir.display());
                fs::remove_dir_all(&node.data_dir).map_err(Error::io(what))?;
            }
        }
        self.open(node);
        Ok(is_synced)
    }

    fn open(&self, node: usize) {
        if let Some(callers) = &self.callers {
            callers.open(node, true);
        }
    }

    /// The leader's database becomes an older copy of itself. Nobody calls the leader from the backup on: what it would
    /// serve itself has no second copy. Its followers go on, and still have what they push meanwhile.
    async fn restore(&mut self, node: usize, older: Duration) -> Result<bool, Error> {
        self.backups += 1;
        let file = self.cluster.directory.path().join(format!("backup-{}.db", self.backups));
        let is_made = self.calm(node).await?
            && self.is_well(node)
            && self.cluster.back_up(node, &file).await.inspect_err(|e| tracing::debug!(%e)).is_ok();
        if is_made {
            self.note("  backup made");
            self.pass(older).await?;
            self.kill(node, Duration::ZERO).await?;
            if let Some(node) = self.cluster.nodes.get(node) {
                let database = node.data_dir.join("sproxy.db");
                for rest in ["sproxy.db-wal", "sproxy.db-shm"] {
                    let _not_there = fs::remove_file(node.data_dir.join(rest));
                }
                fs::rename(&file, &database).map_err(Error::io("putting the backup in place"))?;
            }
            self.note("  backup put in place");
        }
        self.open(node);
        Ok(is_made)
    }

    /// Ends all faults, lets nobody call, and waits until the books of all leaders are complete and right. False where
    /// they do not come to be.
    pub(super) async fn check(&mut self) -> Result<bool, Error> {
        let Some(callers) = self.callers.clone() else { return Ok(false) };
        self.note("all faults end");
        callers.go_on(false);
        for (_, repair) in std::mem::take(&mut self.repairs) {
            self.repair(repair).await?;
        }
        self.cluster.open_all();
        let now = Instant::now();
        self.cluster.nodes.iter_mut().for_each(|node| node.start_at(now));
        let verdict = loop {
            self.pass(CHECK_PAUSE).await?;
            let is_late = now.elapsed() > CATCH_UP_MAX;
            if !is_late && (!callers.all_idle() || !self.all_well()) {
                continue;
            }
            let verdict =
                check::check(&self.cluster, &callers, &callers.outcomes(), &self.users, is_late).await;
            if verdict.is_clean() || is_late {
                break verdict;
            }
        };
        let took = now.elapsed();
        let is_clean = verdict.is_clean();
        self.tally.checks += 1;
        self.tally.longest_catch_up = self.tally.longest_catch_up.max(took);
        if verdict.waits_for.is_some() {
            self.tally.not_recovered += 1;
        }
        self.note(&format!("checked after {:.1} s, clean: {is_clean}", took.as_secs_f64()));
        self.tally.last = Some(verdict);
        callers.go_on(is_clean);
        Ok(is_clean)
    }

    /// What should not have happened to nodes, and is no loss either.
    pub(super) fn odd(&self) -> Odd {
        let mut all = Odd::default();
        for node in &self.cluster.nodes {
            all.failed_starts += node.odd.failed_starts;
            all.own_ends += node.odd.own_ends;
            all.bad_leaves += node.odd.bad_leaves;
        }
        all
    }

    /// Writes down what is needed to find a fault: which answers, who gave them when, and each leader's books.
    pub(super) async fn keep_evidence(&mut self) -> Result<(), Error> {
        self.cluster.directory.keep();
        let (Some(callers), Some(verdict)) = (self.callers.clone(), self.tally.last.clone()) else {
            return Ok(());
        };
        let outcomes = callers.outcomes();
        let directory = self.cluster.directory.path().to_owned();
        let mut text = String::new();
        for leader in &verdict.leaders {
            let kinds = [
                ("lost", &leader.found.lost),
                ("double", &leader.found.double),
                ("wrong", &leader.found.wrong),
            ];
            for (kind, ids) in kinds {
                for id in ids {
                    let (node, at) = outcomes.answered.get(id).map_or(("nobody", 0.0), |(node, at)| {
                        (callers.name(*node), Duration::from_millis(*at).as_secs_f64())
                    });
                    let line = format!("{kind} at {}: {id}, answered by {node} at {at:.3} s\n", leader.name);
                    text.push_str(&line);
                }
            }
        }
        fs::write(directory.join("findings.txt"), text).map_err(Error::io("writing findings.txt"))?;
        for (at, node) in self.cluster.nodes.iter().enumerate() {
            if let Ok(books) = self.cluster.get(at, "/admin/v1/usage?format=jsonl").await {
                let file = directory.join(format!("{}.books.jsonl", node.name));
                fs::write(&file, books).map_err(Error::io(format!("writing {}", file.display())))?;
            }
        }
        Ok(())
    }
}
