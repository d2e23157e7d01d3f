//! Chaos: three nodes under traffic, killed with `kill -9` at any moment, the lines between them cut, at a standstill,
//! losing what is said, or swallowing what the leader says. In the end the leader's ledger is what the clients received.
//! One seed is one plan (`SPROXY_CHAOS_SEED`); what the processes make of it differs from run to run.
//! `SPROXY_CHAOS_SECONDS` says for how long.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Traffic, compare_books, follower_behind, leader, leader_behind_links, metric, ready, settled};
use crate::harness::postgres::Postgres;
use crate::harness::{DEADLINE, Link, Mock, Mode, Node, until};

/// Chaos in `cargo test`.
const SECONDS: u64 = 10;
const CLIENTS: usize = 12;
/// The leader is `nodes[LEADER]`; the follower `nodes[n + 1]` has the line `links[n]`.
const LEADER: usize = 0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_and_whatever_the_network_does_every_answer_is_booked_once() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    chaos(&mock, one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_with_the_leaders_books_on_postgresql_too() {
    let Some(server) = Postgres::shared() else { return };
    let mock = Mock::start().await;
    let one = leader_behind_links(&mock, &server.new_database()).start().await;
    chaos(&mock, one).await;
}

async fn chaos(mock: &Mock, one: Node) {
    let key = one.user_with_key("alice").await;
    let links = [Link::to(one.grpc.unwrap()).await, Link::to(one.grpc.unwrap()).await];
    let (two, three) =
        (follower_behind(&links[0], mock, "sp-2").await, follower_behind(&links[1], mock, "sp-3").await);
    let traffic = Traffic::on(&[&one, &two, &three], &key, CLIENTS);
    let seconds = setting("SPROXY_CHAOS_SECONDS").unwrap_or(SECONDS);
    let mut stage = Stage {
        dice: Dice::new(setting("SPROXY_CHAOS_SEED").unwrap_or_else(seed)),
        nodes: [one, two, three],
        links,
        dead: [None; 3],
        duplicates_before: 0,
        done: Done::default(),
        history: Vec::new(),
        traffic,
    };
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) || !stage.done.is_enough() {
        assert!(began.elapsed() < Duration::from_secs(seconds) + DEADLINE, "too little: {:?}", stage.done);
        stage.act().await;
    }
    let received = stage.calm().await;
    println!("seed {}: {:?} in {:?}", stage.dice.seed, stage.done, began.elapsed());
    println!("{} answers received", received.len());
    let [one, two, three] = &stage.nodes;
    settled(one, &[one, two, three]).await;
    compare_books(one, &received).await;
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn seed() -> u64 {
    u64::from(uuid::Uuid::new_v4().as_fields().0)
}

/// xorshift64*.
struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { seed, state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    /// One of `sides`, from 0.
    fn throw(&mut self, sides: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let high = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % sides
    }
}

/// What really happened, not what was tried.
#[derive(Debug, Default)]
struct Done {
    leader_kills: u64,
    follower_kills: u64,
    /// Times that a line with a living connection was cut.
    cuts: u64,
    stalls: u64,
    /// Times that the leader committed what a follower pushed, and its word was swallowed.
    lost_acknowledgements: u64,
    /// Records that the leader had already when they were pushed again.
    duplicates: u64,
    /// Answers that clients received while there was no leader.
    without_leader: usize,
}

impl Done {
    fn is_enough(&self) -> bool {
        self.leader_kills >= 3
            && self.follower_kills >= 3
            && self.cuts >= 2
            && self.stalls >= 1
            && self.lost_acknowledgements >= 2
            && self.duplicates >= 1
            && self.without_leader >= 50
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Kill(usize),
    Start(usize),
    Line(usize, Mode),
}

struct Stage {
    dice: Dice,
    nodes: [Node; 3],
    links: [Link; 2],
    /// How many answers had been received when it was killed.
    dead: [Option<usize>; 3],
    /// Counted by the leader in its earlier lives.
    duplicates_before: u64,
    done: Done,
    history: Vec<Act>,
    traffic: Traffic,
}

/// Says what the plan was when anything fails in it.
impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("repeat the plan with SPROXY_CHAOS_SEED={}; so far: {:?}", self.dice.seed, self.history);
        }
    }
}

impl Stage {
    /// One thing happens, after anything between no and many answers.
    async fn act(&mut self) {
        let answers = self.dice.throw(50);
        self.traffic.more(answers).await;
        self.count_duplicates().await;
        let choices = self.choices();
        let act = choices[self.dice.throw(choices.len())];
        self.history.push(act);
        match act {
            Act::Kill(node) => self.kill(node).await,
            Act::Start(node) => self.start(node).await,
            Act::Line(line, mode) => self.set(line, mode).await,
        }
    }

    /// What could happen now. One node always lives, so that traffic goes on; repair is as likely as harm.
    fn choices(&self) -> Vec<Act> {
        let alive = self.dead.iter().filter(|dead| dead.is_none()).count();
        let mut choices = Vec::new();
        for node in 0..self.nodes.len() {
            match self.dead[node] {
                None if alive > 1 => choices.push(Act::Kill(node)),
                None => {}
                Some(_) => choices.extend([Act::Start(node); 2]),
            }
        }
        for (line, link) in self.links.iter().enumerate() {
            match link.mode() {
                Mode::Open => {
                    let harm = [Mode::Cut, Mode::Stalled, Mode::Lost];
                    choices.extend(harm.map(|mode| Act::Line(line, mode)));
                    // Both have to live, or nothing is said that could be swallowed.
                    if self.dead[LEADER].is_none() && self.dead[line + 1].is_none() {
                        choices.push(Act::Line(line, Mode::Swallowing));
                    }
                }
                Mode::Swallowing => choices.extend([Act::Line(line, Mode::Cut); 2]),
                Mode::Stalled | Mode::Lost => {
                    choices.extend([Mode::Open, Mode::Cut].map(|mode| Act::Line(line, mode)));
                }
                Mode::Cut => choices.extend([Act::Line(line, Mode::Open); 2]),
            }
        }
        choices
    }

    async fn kill(&mut self, node: usize) {
        if node == LEADER {
            self.duplicates_before = self.done.duplicates;
            self.done.leader_kills += 1;
        } else {
            self.done.follower_kills += 1;
        }
        self.nodes[node].kill().await;
        self.dead[node] = Some(self.traffic.received().await);
    }

    async fn start(&mut self, node: usize) {
        self.nodes[node].restart().await;
        let before = self.dead[node].take().unwrap_or_default();
        if node == LEADER {
            self.done.without_leader += self.traffic.received().await - before;
        }
    }

    async fn set(&mut self, line: usize, mode: Mode) {
        if mode == Mode::Swallowing {
            return self.lose_acknowledgement(line).await;
        }
        let cut_before = self.links[line].cut();
        self.links[line].set(mode);
        match mode {
            Mode::Stalled => self.done.stalls += 1,
            Mode::Cut => {
                self.traffic.more(1).await;
                self.done.cuts += u64::from(self.links[line].cut() > cut_before);
            }
            Mode::Open | Mode::Swallowing | Mode::Lost => {}
        }
    }

    /// Waits until the follower of a line is at pushing, lets the line swallow, and gives it the time for a push. What the
    /// leader books from then on, the follower cannot hear of. A push that is large may not get through at all, for the
    /// leader's leave to send more is swallowed too.
    async fn lose_acknowledgement(&mut self, line: usize) {
        let before = self.booked_of(line).await;
        let more = async || (self.booked_of(line).await > before).then_some(());
        until("the leader books what the follower serves", more).await;
        self.links[line].set(Mode::Swallowing);
        let before = self.booked_of(line).await;
        for _ in 0..20 {
            if self.booked_of(line).await > before {
                self.done.lost_acknowledgements += 1;
                return;
            }
            self.traffic.more(5).await;
        }
    }

    /// Usage logs of a line's follower in the leader's ledger.
    async fn booked_of(&self, line: usize) -> u64 {
        let answer = self.nodes[LEADER].call(Method::GET, "/admin/v1/stats/nodes", None).await;
        let stats: Value = answer.json().await.unwrap();
        let follower = json!(format!("sp-{}", line + 2));
        let row = stats["items"].as_array().unwrap().iter().find(|row| row["node"] == follower).cloned();
        row.map_or(0, |row| row["request_count"].as_u64().unwrap())
    }

    async fn count_duplicates(&mut self) {
        if self.dead[LEADER].is_none() {
            let living = metric(&self.nodes[LEADER], "sproxy_cluster_usage_duplicates_total").await;
            self.done.duplicates = self.duplicates_before + living;
        }
    }

    /// Everything is repaired, traffic goes on for a while on all nodes, and ends.
    async fn calm(&mut self) -> HashMap<String, (u64, u64)> {
        for link in &self.links {
            link.set(Mode::Open);
        }
        for node in 0..self.nodes.len() {
            if self.dead[node].is_some() {
                self.start(node).await;
            }
            ready(&self.nodes[node]).await;
        }
        self.traffic.more(100).await;
        self.count_duplicates().await;
        self.traffic.end().await
    }
}
