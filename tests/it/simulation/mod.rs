//! A whole cluster in one thread: the product's own leader and follower on simulated disks and a simulated network, under
//! everything that can go wrong. One seed is one history; `SPROXY_SIM_SEEDS=10000` asks for more of them and
//! `SPROXY_SIM_SEED=17` for one.

#![allow(clippy::print_stdout, reason = "a test's report; shown when it fails or is asked for")]

mod disks;
mod history;
mod net;
mod scheduler;

use history::History;

/// Histories in `cargo test`.
const SEEDS: u64 = 200;

/// Says which history it was when an assertion fails somewhere in it.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the simulation failed: repeat it with SPROXY_SIM_SEED={}", self.0);
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn whatever_happens_every_record_is_booked_once_and_no_user_is_lost() {
    if let Some(seed) = setting("SPROXY_SIM_SEED") {
        run(seed);
        return;
    }
    let seeds = setting("SPROXY_SIM_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let workers: Vec<_> = (0..threads as u64)
        .map(|first| std::thread::spawn(move || (first..seeds).step_by(threads).map(run).fold((0, 0), add)))
        .collect();
    let (steps, records) =
        workers.into_iter().map(|worker| worker.join().expect("no invariant is broken")).fold((0, 0), add);
    println!("{seeds} histories, {steps} steps, {records} records");
}

fn add(sum: (u64, u64), more: (u64, u64)) -> (u64, u64) {
    (sum.0 + more.0, sum.1 + more.1)
}

/// One history; how many steps and records it had.
fn run(seed: u64) -> (u64, u64) {
    let _seed = SeedOnPanic(seed);
    let mut history = History::new(seed);
    history.trouble();
    history.calm();
    history.check_the_end();
    (history.steps(), history.records())
}
