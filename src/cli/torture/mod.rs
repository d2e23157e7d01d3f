//! `sproxy torture`: a cluster of real processes on this machine is broken again and again under load: nodes killed,
//! stopped and robbed of their disks, links cut and made to lose what is said, the database crashed and failed over. Then
//! it is compared what callers received with what every leader has booked.

#![allow(clippy::print_stdout, reason = "its report is read on a terminal")]

mod callers;
mod check;
mod cluster;
mod database;
mod dice;
mod event;
mod link;
mod node;
mod report;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::local_cluster::error::Error;
use super::local_cluster::postgres::Programs;
use super::stop::asked_to_stop;
use cluster::Cluster;
use dice::Dice;
use event::{Event, Kind};
use report::Report;
use stage::Stage;

/// How a cluster is tortured.
#[derive(Debug, Args)]
pub struct TortureArgs {
    /// How long events go on [default: 10, or until --events are over]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: Option<u64>,
    /// How many events there are
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// Only events of one kind
    #[arg(long, value_name = "KIND")]
    only: Option<Kind>,
    /// Repeats the plan of another run: what happens, to what, how long. What the processes make of it differs
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Nodes that lead. More than one lead on a private PostgreSQL with a standby, where its server is installed; else
    /// one leads, on SQLite
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    leaders: u8,
    /// Nodes that follow
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=9))]
    followers: u8,
    /// Write the report as Markdown too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keep logs and databases; they are kept anyway when something is wrong
    #[arg(long)]
    keep: bool,
}

/// Events from one check to the next.
const EVENTS_PER_CHECK: u64 = 50;
/// Without any other end.
const MINUTES: u64 = 10;

/// Runs the torture; true if the books are right and nobody had to step in.
///
/// # Errors
/// When it could not go on.
pub async fn run(args: TortureArgs) -> Result<bool, Error> {
    let seed = args.seed.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
    println!("seed {seed}");
    let is_on_postgres = args.leaders > 1
        && Programs::find().inspect_err(|reason| println!("one leader on SQLite instead: {reason}")).is_ok();
    let leaders = if is_on_postgres { usize::from(args.leaders) } else { 1 };
    let cluster = Cluster::prepare(leaders, usize::from(args.followers), is_on_postgres).await?;
    let engine = match &cluster.database {
        Some(database) => database.version.clone(),
        None => "SQLite".to_owned(),
    };
    println!(
        "{engine}, {leaders} of {} nodes lead; {}",
        cluster.nodes.len(),
        cluster.directory.path().display()
    );
    let mut stage = Stage::begin(cluster).await?;
    let (played, is_interrupted) = tokio::select! {
        played = play(&mut stage, &args, seed) => (played, false),
        () = asked_to_stop() => (Ok(()), true),
    };
    let last = stage.tally.last.as_ref();
    let is_clean = played.is_ok() && last.map_or(is_interrupted, check::Verdict::is_clean);
    // A node that ends by itself loses nothing, and somebody will want to know why it did.
    let is_kept = args.keep || !is_clean || stage.odd().own_ends > 0;
    if is_kept {
        stage.keep_evidence().await?;
    }
    let directory = stage.cluster.directory.path().display().to_string();
    let callers = stage.callers.as_ref();
    let report = Report {
        engine,
        nodes: format!("{leaders} of {} lead", stage.cluster.nodes.len()),
        seed,
        took: stage.began.elapsed(),
        calls: callers.map_or(0, |callers| callers.calls()),
        outcomes: callers.map(|callers| callers.outcomes()).unwrap_or_default(),
        odd: stage.odd(),
        tally: stage.tally.clone(),
        is_interrupted,
        kept_in: is_kept.then_some(directory),
    };
    println!("{}", report.text());
    for refusal in report.outcomes.refusals.values() {
        println!("refused: {refusal}");
    }
    if let Some(file) = &args.report {
        let what = format!("writing {}", file.display());
        std::fs::write(file, report.markdown()).map_err(Error::io(what))?;
    }
    played?;
    if is_interrupted && report.tally.last.is_none() {
        return Err(Error::Node(
            "it was interrupted before the first check: nothing is compared yet".to_owned(),
        ));
    }
    Ok(report.is_clean())
}

/// Events until the time is over, and a check now and then; the first that fails is the last.
async fn play(stage: &mut Stage, args: &TortureArgs, seed: u64) -> Result<(), Error> {
    let callers = stage.callers.clone();
    let _calling = callers.as_ref().map(callers::Callers::begin);
    let minutes = args.minutes.or(if args.events.is_none() { Some(MINUTES) } else { None });
    let deadline = minutes.map(|minutes| Instant::now() + Duration::from_mins(minutes));
    let shape = stage.cluster.shape();
    if let Some(only) = args.only.filter(|only| !only.comes(&shape)) {
        let advice = if shape.is_on_postgres { "let one node lead, on SQLite" } else { "add --leaders 3" };
        return Err(Error::Node(format!("there is nothing here for {only:?} to happen to: {advice}")));
    }
    let mut dice = Dice::new(seed);
    let mut events = 0;
    while args.events.is_none_or(|most| events < most) && deadline.is_none_or(|end| Instant::now() < end) {
        let (pause, event) = Event::draw_only(args.only, &mut dice, &shape);
        stage.pass(pause).await?;
        stage.act(event).await?;
        events += 1;
        if events % EVENTS_PER_CHECK == 0 {
            let is_clean = stage.check().await?;
            println!(
                "{events} events, {} calls in {:.1} minutes; checked: {}",
                callers.as_ref().map_or(0, |callers| callers.calls()),
                stage.began.elapsed().as_secs_f64() / 60.0,
                if is_clean { "the books are right" } else { "SOMETHING IS WRONG" }
            );
            if !is_clean {
                return Ok(());
            }
        }
    }
    stage.check().await.map(drop)
}
