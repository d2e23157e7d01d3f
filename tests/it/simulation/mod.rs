//! A whole cluster in one thread: the product's own leader and follower on simulated disks and a simulated network, under
//! everything that can go wrong. One seed is one history.
//!
//! `SPROXY_SIM_SEEDS=10000` asks for more of them, `SPROXY_SIM_STORE_SEEDS=300` for more of those on the product's own
//! database, `SPROXY_SIM_SEED=17` and `SPROXY_SIM_STORE_SEED=17` for one. A history that fails is played again with ever
//! less of its plan, and what is left of it is printed.

#![allow(clippy::print_stdout, reason = "a test's report; shown when it fails or is asked for")]

mod checks;
mod clocks;
mod crew;
mod dice;
mod disks;
mod follower_disk;
mod history;
mod net;
mod plan;
mod process;
mod scheduler;
mod scripted;
mod shared;
mod shared_plan;
mod store;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use history::{History, TROUBLE};
use plan::Plan;
use scheduler::Happened;

/// Histories in `cargo test`, on disks that are models and on databases.
const SEEDS: u64 = 200;
const STORE_SEEDS: u64 = 30;

/// Histories that failed once are played first, always. They are only seeds: each plays another history whenever anything is
/// added to what can happen. What they had found is told in [`scripted`].
const PINNED: &[u64] = &[56, 219, 273, 377, 386, 725, 756, 765, 2728, 2784, 3768, 4739];

/// Each of these has to happen in `cargo test`: a simulation that never does a thing says nothing about it.
const EXPECTED: &[&str] = &[
    "a backup of a lost disk restored",
    "a backup restored",
    "a call doubled",
    "a call late",
    "a call lost",
    "a commit's answer lost",
    "a follower killed",
    "a follower left",
    "a follower lost power",
    "a follower's clock set ahead",
    "a follower's clock set back",
    "a follower's retention removed logs",
    "a handler dropped",
    "a nameless registration",
    "a peer drained or not any more",
    "a peer forgotten",
    "a record after the clock was set back",
    "a record set aside",
    "a state adopted",
    "a state completed",
    "a write failed",
    "everything owed again",
    "later batches owed again",
    "pushed again",
    "pushed below the floor",
    "scheduled at random",
    "scheduled by priorities",
    "scheduled in a queue",
    "the leader killed",
    "the leader lost power",
    "the leader's clock set ahead",
    "the leader's clock set back",
    "the leader's disk lost",
    "the leader's retention removed logs",
    "users changed",
];

/// What came of a history.
#[derive(Debug, Default, PartialEq, Eq)]
struct Played {
    steps: u64,
    records: u64,
    trace: u64,
    happened: Happened,
}

impl Played {
    fn add(mut self, more: Self) -> Self {
        self.steps += more.steps;
        self.records += more.records;
        for (kind, count) in more.happened {
            *self.happened.entry(kind).or_default() += count;
        }
        self
    }
}

fn play(seed: u64, plan: &Plan, is_real: bool) -> Played {
    let mut history = History::new(seed, plan, is_real);
    history.trouble(plan);
    history.calm();
    history.check_the_end();
    let (steps, records) = (history.steps(), history.records());
    Played { steps, records, trace: history.trace(), happened: history.happened() }
}

/// Plays a seed; one that fails is reported with the least that makes it fail.
fn run(seed: u64, is_real: bool) -> Played {
    let plan = Plan::new(seed, TROUBLE, is_real);
    catch_unwind(AssertUnwindSafe(|| play(seed, &plan, is_real))).unwrap_or_else(|panic| {
        let variable = if is_real { "SPROXY_SIM_STORE_SEED" } else { "SPROXY_SIM_SEED" };
        let fails = |plan: &Plan| catch_unwind(AssertUnwindSafe(|| play(seed, plan, is_real))).is_err();
        let least = least(plan, |plan| plan.steps.len(), Plan::without, fails);
        println!("the simulation failed: repeat it with {variable}={seed}");
        println!("with {} followers, this is enough:", least.followers);
        for (pause, event) in &least.steps {
            println!("  {event:?}, then {pause:?}");
        }
        std::panic::resume_unwind(panic)
    })
}

/// Leaves out what can be left out: halves first, single steps last, for so many tries.
fn least<P>(
    mut plan: P,
    steps: impl Fn(&P) -> usize,
    without: impl Fn(&P, usize, usize) -> P,
    fails: impl Fn(&P) -> bool,
) -> P {
    let (mut size, mut tries) = (steps(&plan) / 2, 200);
    while size > 0 {
        let mut at = 0;
        while at < steps(&plan) && tries > 0 {
            tries -= 1;
            let shorter = without(&plan, at, at + size);
            if fails(&shorter) {
                plan = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    plan
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn run_all(seeds: &[u64], is_real: bool) -> Played {
    run_seeds(seeds, |seed| run(seed, is_real))
}

/// Plays seeds on all processors; the first that fails ends it.
fn run_seeds(seeds: &[u64], run: impl Fn(u64) -> Played + Sync) -> Played {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            let mut sum = Played::default();
            while let Some(seed) =
                seeds.get(usize::try_from(next.fetch_add(1, Ordering::SeqCst)).expect("small"))
            {
                sum = sum.add(run(*seed));
            }
            sum
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let played = workers.into_iter().map(|worker| worker.join().expect("no invariant is broken"));
        played.fold(Played::default(), Played::add)
    })
}

#[test]
fn whatever_happens_every_record_is_booked_once_and_no_user_is_lost() {
    if let Some(seed) = setting("SPROXY_SIM_SEED") {
        run(seed, false);
        return;
    }
    let count = setting("SPROXY_SIM_SEEDS").unwrap_or(SEEDS);
    let seeds: Vec<u64> = PINNED.iter().copied().chain(0..count).collect();
    let played = run_all(&seeds, false);
    println!("{count} histories, {} steps, {} records: {:#?}", played.steps, played.records, played.happened);
    if count >= SEEDS {
        let missing: Vec<_> = EXPECTED.iter().filter(|kind| !played.happened.contains_key(*kind)).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

#[test]
fn the_database_keeps_the_same_books_as_the_model_of_it() {
    if let Some(seed) = setting("SPROXY_SIM_STORE_SEED") {
        run(seed, true);
        return;
    }
    let count = setting("SPROXY_SIM_STORE_SEEDS").unwrap_or(STORE_SEEDS);
    let played = run_all(&(0..count).collect::<Vec<_>>(), true);
    println!("{count} histories, {} steps, {} records", played.steps, played.records);
}

/// Else a seed that failed could not be looked at again.
#[test]
fn one_seed_is_one_history() {
    for seed in 0..10 {
        let plan = Plan::new(seed, TROUBLE, false);
        assert_eq!(play(seed, &plan, false), play(seed, &plan, false), "seed {seed}");
    }
}
