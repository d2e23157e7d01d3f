//! `sproxy stats`: what the whole cluster has used.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::Query;
use super::error::Error;
use super::output::{at_least_one, count, nanousd, print, text, time};
use super::session::Session;
use super::when;
use crate::domain::clock::Timestamp;

/// Totals of tokens, requests and money, of the whole cluster: asked of its leader, or by an admin through a follower
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sproxy stats --from 2026-11 --to 2026-12\n  sproxy stats --by user --from 7d\n  sproxy stats --by group --from yesterday --json"
)]
pub struct StatsArgs {
    #[command(flatten)]
    session: Session,
    /// Not before: a time, a UTC day (2026-11-22) or month (2026-11), today, yesterday, or how long ago (7d)
    #[arg(long, value_name = "TIME", value_parser = when::past)]
    from: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = when::past)]
    to: Option<Timestamp>,
    /// Totals of each, instead of one for all
    #[arg(long)]
    by: Option<By>,
    /// Most rows; all without it
    #[arg(long, value_name = "N", value_parser = at_least_one, requires = "by")]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    User,
    Group,
    Model,
    Node,
    Day,
}

impl By {
    /// The word for one, and the resource of all.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::User => ("user", "users"),
            Self::Group => ("group", "groups"),
            Self::Model => ("model", "models"),
            Self::Node => ("node", "nodes"),
            Self::Day => ("day", "days"),
        }
    }
}

pub async fn run(args: StatsArgs) -> Result<(), Error> {
    let (client, output) = (args.session.client()?, args.session.output());
    let window = [("from", args.from), ("to", args.to)];
    let query: Query =
        window.into_iter().filter_map(|(name, time)| Some((name, time?.to_string()))).collect();
    let sums = [
        count("requests", "request_count"),
        count("errors", "error_count"),
        count("input", "total_input"),
        count("output", "total_output"),
        count("tokens", "total_tokens"),
        nanousd("cost", "cost_nanousd"),
    ];
    let Some(by) = args.by else {
        let totals = client.get(&["admin", "v1", "stats"], &query).await?;
        let mut columns = sums.to_vec();
        columns.push(time("complete through", "complete_through"));
        if totals["default_priced_requests"].as_u64().is_some_and(|requests| requests > 0) {
            columns.push(count("priced by default", "default_priced_requests"));
        }
        output.one(&totals, &columns)?;
        return if output.is_json() { Ok(()) } else { say_incomplete(&totals) };
    };
    let (one, all) = by.words();
    let listed =
        client.list(&["admin", "v1", "stats", all], &query, args.limit.unwrap_or(usize::MAX)).await?;
    listed.warn_if_cut("leave --limit out, or give a larger one");
    let mut columns = vec![text(one, one)];
    columns.extend(sums);
    output.list(&listed.rows, &columns)
}

/// Says who keeps totals from being complete, a line each; nothing when nobody does.
pub fn say_incomplete(totals: &Value) -> Result<(), Error> {
    let nodes = totals.get("incomplete").and_then(Value::as_array).into_iter().flatten();
    for node in nodes {
        let field =
            |name: &str| node.get(name).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
        let [name, since, owes] = ["node", "since", "unsynced"].map(|name| field(name).unwrap_or_default());
        print(&format!(
            "not complete from {since} on: usage of {name} may be missing, {owes} logs that are known of; \
             if it never comes back: sproxy peer forget {name}; \
             if its leader refuses them: sproxy usage retry-rejected or dismiss-rejected there"
        ))?;
    }
    Ok(())
}
