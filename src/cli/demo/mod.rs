//! `sproxy demo`: a whole cluster on this machine, with a mock provider, real processes and real traffic. It does to
//! the cluster what life does, and then compares what clients received with what sp-1 has booked.

mod cast;
mod error;
mod link;
mod table;
mod traffic;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use cast::Cast;
pub use error::Error;
use table::Table;
use traffic::Traffic;

/// How the demo is run.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Nodes of the cluster: sp-1 leads, the others follow
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: u8,
    /// Requests that clients make
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    requests: u64,
    /// Print the verdict as JSON, and nothing else
    #[arg(long)]
    json: bool,
}

/// How long the cluster may take to catch up when the traffic is over.
const CATCH_UP_MAX: Duration = Duration::from_mins(1);

/// Plays the demo; true if the books are right.
///
/// # Errors
/// When it could not be played to its end.
pub async fn run(args: DemoArgs) -> Result<bool, Error> {
    let mut cast = Cast::assemble(args.nodes).await?;
    let keys = cast.hire().await?;
    let mut table = Table::new(!args.json);
    for (name, url) in cast.urls() {
        let role = if name == "sp-1" { "leads" } else { "follows" };
        table.say(&format!("{name} {role}: {url}"));
    }
    table.say(&format!("{} requests begin", args.requests));
    let traffic = Arc::new(Traffic::new(args.requests, keys, cast.urls()));
    let mut clients = traffic.begin();
    let mut acts = acts(args.nodes);
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    while !clients.is_empty() {
        tokio::select! {
            Some(ended) = clients.join_next() => ended.map_err(|e| Error::Node(format!("a client failed: {e}")))?,
            _ = tick.tick() => {
                table.draw(&cast, &traffic).await;
                while acts.first().is_some_and(|(at, _)| traffic.progress() >= *at) {
                    let (_, act) = acts.remove(0);
                    perform(act, &mut cast, &traffic, &mut table).await?;
                }
            }
        }
    }
    // What was due after the last request still has to be set right.
    for (_, act) in acts {
        perform(act, &mut cast, &traffic, &mut table).await?;
    }
    let received = traffic.received();
    let deadline = Instant::now() + CATCH_UP_MAX;
    let verdict = loop {
        table.draw(&cast, &traffic).await;
        let verdict = verdict::compare(&cast, &received).await?;
        let settled = verdict.is_clean() && table::nothing_is_owed(&cast).await;
        if settled || Instant::now() > deadline {
            break verdict;
        }
        sleep(Duration::from_millis(500)).await;
    };
    table.verdict(&verdict, args.json, &cast, &traffic).await;
    cast.dismiss().await;
    Ok(verdict.is_clean())
}

/// What happens to the cluster while the traffic flows.
#[derive(Clone, Copy, Debug)]
enum Act {
    KillFollower,
    CutLeaderOff,
    RejoinLeader,
    KillLeader,
}

/// The acts by the share of the requests that are over. A single node is killed too: its books have to survive.
fn acts(nodes: u8) -> Vec<(f64, Act)> {
    if nodes == 1 {
        return vec![(0.5, Act::KillLeader)];
    }
    vec![
        (0.2, Act::KillFollower),
        (0.4, Act::CutLeaderOff),
        (0.6, Act::RejoinLeader),
        (0.75, Act::KillLeader),
    ]
}

async fn perform(act: Act, cast: &mut Cast, traffic: &Traffic, table: &mut Table) -> Result<(), Error> {
    match act {
        Act::KillFollower => {
            let name = cast.kill_and_restart(cast.last()).await?;
            table.say(&format!("kill -9 {name}; started again"));
        }
        Act::CutLeaderOff => {
            cast.cut_leader_off(true);
            table.say("sp-1 is cut off from its followers; they go on");
        }
        Act::RejoinLeader => {
            cast.cut_leader_off(false);
            table.say("sp-1 is back; followers catch up");
        }
        Act::KillLeader => {
            let name = cast.kill_and_restart(0).await?;
            table.say(&format!("kill -9 {name}; started again"));
        }
    }
    traffic.nodes_are_at(cast.urls());
    Ok(())
}
