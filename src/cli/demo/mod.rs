//! `sproxy demo`: a whole cluster on this machine, with a mock provider, real processes and real traffic. It kills
//! nodes and cuts connections meanwhile, and then compares what clients received with what sp-1 has booked.

mod cluster;
mod relay;
mod table;
mod traffic;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::local_cluster::error::Error;
use cluster::DemoCluster;
use table::Table;
use traffic::Traffic;

/// How the demo is run.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Nodes of the cluster: sp-1 leads, the others follow [default: 3, or two more than lead]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: Option<u8>,
    /// Nodes that lead: more than one on a private PostgreSQL, whose server has to be installed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=14))]
    leaders: u8,
    /// Requests that clients make
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    requests: u64,
    /// Print the verdict as JSON, and nothing else
    #[arg(long)]
    json: bool,
}

/// How long the cluster may take to catch up when the traffic is over.
const CATCH_UP_MAX: Duration = Duration::from_mins(1);

/// Runs the demo; true if the books are right.
///
/// # Errors
/// When it could not be run to its end.
pub async fn run(args: DemoArgs) -> Result<bool, Error> {
    let nodes = args.nodes.unwrap_or(args.leaders + 2);
    if nodes < args.leaders {
        let (leaders, least) = (args.leaders, args.leaders);
        return Err(Error::Node(format!(
            "{nodes} nodes cannot be {leaders} leaders: --nodes {least} or more"
        )));
    }
    let mut cluster = DemoCluster::start(nodes, args.leaders).await?;
    let leaders = cluster.leaders();
    let keys = cluster.create_users().await?;
    let mut table = Table::new(!args.json);
    for (name, url) in cluster.urls() {
        let role = if leaders.contains(&name) { "leads" } else { "follows" };
        table.say(&format!("{name} {role}: {url}"));
    }
    table.say(&format!("{} requests begin", args.requests));
    let traffic = Arc::new(Traffic::new(args.requests, keys, cluster.urls()));
    let mut clients = traffic.begin();
    let mut faults = faults(nodes);
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    while !clients.is_empty() {
        tokio::select! {
            Some(ended) = clients.join_next() => ended.map_err(|e| Error::Node(format!("a client failed: {e}")))?,
            _ = tick.tick() => {
                table.draw(&cluster, &traffic).await;
                while faults.first().is_some_and(|(at, _)| traffic.progress() >= *at) {
                    let (_, fault) = faults.remove(0);
                    inject(fault, &mut cluster, &traffic, &mut table).await?;
                }
            }
        }
    }
    // What was due after the last request still has to be set right.
    for (_, fault) in faults {
        inject(fault, &mut cluster, &traffic, &mut table).await?;
    }
    let received = traffic.received();
    let deadline = Instant::now() + CATCH_UP_MAX;
    let verdict = loop {
        table.draw(&cluster, &traffic).await;
        let verdict = verdict::compare(&cluster, &received).await?;
        let settled = verdict.is_clean() && table::nothing_is_owed(&cluster).await;
        if settled || Instant::now() > deadline {
            break verdict;
        }
        sleep(Duration::from_millis(500)).await;
    };
    table.verdict(&verdict, args.json, &cluster, &traffic).await;
    cluster.shut_down().await;
    Ok(verdict.is_clean())
}

/// What happens to the cluster while the traffic flows.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillFollower,
    CutLeaderOff,
    RejoinLeader,
    KillLeader,
}

/// The faults by the share of the requests that are over. A single node is killed too: its books have to survive.
fn faults(nodes: u8) -> Vec<(f64, Fault)> {
    if nodes == 1 {
        return vec![(0.5, Fault::KillLeader)];
    }
    vec![
        (0.2, Fault::KillFollower),
        (0.4, Fault::CutLeaderOff),
        (0.6, Fault::RejoinLeader),
        (0.75, Fault::KillLeader),
    ]
}

async fn inject(
    fault: Fault,
    cluster: &mut DemoCluster,
    traffic: &Traffic,
    table: &mut Table,
) -> Result<(), Error> {
    match fault {
        Fault::KillFollower => {
            let name = cluster.kill_and_restart(cluster.last()).await?;
            table.say(&format!("kill -9 {name}; started again"));
        }
        Fault::CutLeaderOff => {
            cluster.cut_leader_off(true);
            table.say("sp-1 is cut off from its followers; they go on");
        }
        Fault::RejoinLeader => {
            cluster.cut_leader_off(false);
            table.say("sp-1 is back; followers catch up");
        }
        Fault::KillLeader => {
            let name = cluster.kill_and_restart(0).await?;
            table.say(&format!("kill -9 {name}; started again"));
        }
    }
    traffic.set_nodes(cluster.urls());
    Ok(())
}
