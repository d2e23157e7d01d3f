//! One run of a follower: it answers clients, and its product code pushes, beats and follows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select;
use sproxy::cluster::follower::leader_client::LeaderClient as _;
use sproxy::cluster::follower::{Connected, Follower};
use sproxy::cluster::registration::Registration;
use sproxy::domain::ids::{GroupId, InstanceId, LedgerId, NodeId, RequestId, UserId};
use sproxy::domain::provider::Provider;
use sproxy::domain::usage::{Outcome, TokenSource, Tokens, UsageRecord};
use sproxy::wire::v1;
use uuid::Uuid;

use super::checks::Oracle;
use super::clocks::{NodeClock, Stamps};
use super::disks::{LeaderData, Shared, lock};
use super::follower_disk::{FollowerData, FollowerDisk};
use super::history::HEARTBEAT;
use super::net::Lines;
use super::scheduler::{Owner, World};

/// How long a follower that goes may take for its last push and its farewell.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

pub type Running = Arc<Follower<FollowerDisk, Lines>>;

/// A machine: what outlives the processes on it.
#[derive(Clone)]
pub struct Machine {
    pub disk: Shared<FollowerData>,
    pub clock: NodeClock,
    pub stamps: Shared<Stamps>,
}

/// No leader ever takes a record with such a model.
pub fn is_poison(record: &UsageRecord) -> bool {
    record.model.len() > sproxy::wire::usage::TEXT_BYTES_MAX
}

/// One run of a follower.
#[derive(Clone)]
pub struct Process {
    pub world: World,
    pub owner: Owner,
    pub machine: Machine,
    pub ledgers: Shared<HashMap<LedgerId, Shared<LeaderData>>>,
    pub lines: Lines,
    pub open: Shared<bool>,
    pub oracle: Shared<Oracle>,
    /// Set once it has a name and works.
    pub running: Shared<Option<Running>>,
}

impl Process {
    pub async fn run(self) {
        let (instance, former) = self.runs();
        // What is given here is a name, no place: it registers by it in its first round.
        while lock(&self.machine.disk).node_id.is_none() {
            let nameless = v1::RegisterRequest {
                instance_id: instance.to_string(),
                former_instance_ids: former.iter().map(InstanceId::to_string).collect(),
                advertise_url: self.addr(),
                ..v1::RegisterRequest::default()
            };
            match self.lines.present().register(nameless).await {
                Ok(answer) => {
                    lock(&self.machine.disk).node_id = Some(answer.node_id.parse().expect("a node id"));
                }
                Err(_) => self.lines.next(),
            }
            self.world.sleep_millis(100, 3_000).await;
        }
        let follower = self.follower(self.identity(instance, former));
        *lock(&self.running) = Some(Arc::clone(&follower));
        self.world.spawn(self.owner, self.clone().answer());
        self.world.spawn(self.owner, self.clone().sync(Arc::clone(&follower)));
        self.world.spawn(self.owner, self.clone().beat(Arc::clone(&follower)));
        self.world.spawn(self.owner, self.clone().watch(follower));
    }

    fn runs(&self) -> (InstanceId, Vec<InstanceId>) {
        let instance = InstanceId(self.world.uuid());
        let mut disk = lock(&self.machine.disk);
        let former = disk.instances.clone();
        disk.instances.push(instance);
        (instance, former)
    }

    fn addr(&self) -> String {
        format!("http://node-{}", self.lines.present().follower)
    }

    fn identity(&self, instance: InstanceId, former: Vec<InstanceId>) -> Registration {
        Registration {
            led_ledger: None,
            node_id: lock(&self.machine.disk).node_id.clone().expect("named"),
            instance,
            former,
            former_names: Vec::new(),
            addr: self.addr(),
            weight: 50,
            version: "sim".to_owned(),
            leads_at: None,
        }
    }

    fn follower(&self, identity: Registration) -> Running {
        let disk = FollowerDisk {
            world: self.world.clone(),
            data: Arc::clone(&self.machine.disk),
            stamps: Arc::clone(&self.machine.stamps),
            ledgers: Arc::clone(&self.ledgers),
        };
        Arc::new(Follower::new(identity, disk, self.lines.clone(), 4))
    }

    /// Answers clients and books what they used.
    async fn answer(self) {
        let node = lock(&self.machine.disk).node_id.clone().expect("named");
        loop {
            self.world.sleep_millis(0, 8_000).await;
            if !*lock(&self.open) {
                return;
            }
            for _ in 0..self.world.between(1, 6) {
                let mut record = record(&self.world, &node);
                let (created_at, is_late) = lock(&self.machine.stamps).next();
                record.created_at = created_at;
                if is_late {
                    self.world.happened("a record after the clock was set back");
                }
                lock(&self.oracle).made(&record);
                lock(&self.machine.disk).add(record, is_late);
            }
        }
    }

    async fn sync(self, follower: Running) {
        loop {
            let is_known = follower.session().is_some();
            let wait = if follower.sync_once().await.is_ok() { 2_000 } else { 5_000 };
            if let Some(session) = follower.session() {
                lock(&self.machine.disk).instances = vec![session.instance];
                let leader = lock(&self.ledgers).get(&session.ledger).cloned().filter(|_| !is_known);
                if let Some(leader) = leader {
                    lock(&leader).awaited.insert(session.node_id);
                }
            }
            self.world.sleep_millis(200, wait).await;
        }
    }

    async fn beat(self, follower: Running) {
        loop {
            // Failures show in the session; the next round registers.
            let _ = follower.heartbeat_once(0, false).await;
            self.world.sleep(HEARTBEAT).await;
        }
    }

    async fn watch(self, follower: Running) {
        loop {
            self.world.sleep_millis(200, 4_000).await;
            let Some(Connected { session, leader, .. }) = follower.connected() else { continue };
            let Ok(request) = follower.watch_request(&session).await else { continue };
            for update in leader.watch(request).await.unwrap_or_default() {
                if follower.apply(update).await.is_err() {
                    break;
                }
            }
        }
    }
}

/// The last that a follower does when it is asked to go: pushes once more, and says so.
pub async fn farewell(world: World, follower: Running) {
    let last = async {
        if follower.sync_once().await.is_ok() && follower.leave().await.is_ok() {
            world.happened("a follower left");
        }
    };
    select(Box::pin(last), Box::pin(world.sleep(LEAVE_TIMEOUT))).await;
}

fn record(world: &World, node: &NodeId) -> UsageRecord {
    let model = if world.chance(10) {
        "m".repeat(sproxy::wire::usage::TEXT_BYTES_MAX + 1)
    } else {
        "model".to_owned()
    };
    let user = world.between(1, 4);
    let group = (user > 1).then(|| GroupId(Uuid::from_u128(77)));
    UsageRecord {
        request_id: RequestId(world.uuid()),
        user_id: UserId(Uuid::from_u128(u128::from(user))),
        user: format!("user {user}").into(),
        group_id: group,
        group: group.map(|_| "group".into()),
        model: model.into(),
        actual_model: "model".into(),
        provider: Provider::Anthropic,
        target: "target".into(),
        upstream_url: "http://upstream".into(),
        tokens: Tokens {
            input: world.between(0, 1_000),
            output: world.between(0, 1_000),
            ..Tokens::default()
        },
        token_source: TokenSource::Reported,
        outcome: Outcome::Ok,
        is_streaming: false,
        status_code: 200,
        duration_ms: 1,
        ttfb_ms: None,
        price: Arc::default(),
        parts: Vec::new(),
        attempts: Vec::new(),
        cost_nanousd: i64::try_from(world.between(0, 1_000_000)).expect("small"),
        session_id: None,
        agent_id: None,
        client_request_id: None,
        converted_from: None,
        source_node: node.clone(),
        created_at: world.now(),
    }
}

impl Machine {
    /// A process starts: what the one before knew of the time is gone with it.
    pub fn starts(&self) {
        lock(&self.stamps).restart();
    }
}
