//! `sproxy usage`: usage logs, one by one, in the format that is asked for.

use clap::{Args, Subcommand, ValueEnum};

use super::client::{Client, Query};
use super::error::Error;
use super::export;
use super::output::{Column, Output, at_least_one, count, nanousd, note, text, time};
use super::session::Session;
use super::{rejected, when};
use crate::domain::clock::Timestamp;

/// Usage logs, newest first; users and groups by the names they have now
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  sproxy usage --user alice --from today\n  sproxy usage --from 2026-11 --to 2026-12 --format csv > november.csv"
)]
pub struct UsageArgs {
    #[command(flatten)]
    session: Session,
    /// Only this user's: name or id
    #[arg(long)]
    user: Option<String>,
    /// Only this group's: name or id
    #[arg(long)]
    group: Option<String>,
    /// Only calls that asked for this model, or a glob such as 'claude-*'
    #[arg(long)]
    model: Option<String>,
    /// Only what this node served
    #[arg(long)]
    node: Option<String>,
    /// Not before: a time, a UTC day (2026-11-22) or month (2026-11), today, yesterday, or how long ago (7d)
    #[arg(long, value_name = "TIME", value_parser = when::past)]
    from: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = when::past)]
    to: Option<Timestamp>,
    /// Most rows; a table has 50 without it, every other format has all
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    limit: Option<usize>,
    /// How rows are written: table, json (one array), jsonl (an object per line) or csv
    #[arg(long, default_value = "table", conflicts_with = "json", hide_possible_values = true)]
    format: Format,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Offer the leader again what it refused of a follower's usage, such as after that node's clock was set right
    RetryRejected,
    /// Give up what the leader refused of a follower's usage and will never take: it stays in that node's own usage
    /// log, and is owed no more, never pushed and in no total
    DismissRejected {
        /// Do not ask
        #[arg(long, conflicts_with = "dry_run")]
        yes: bool,
        /// Only say what would be given up
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One array
    Json,
    /// An object per line
    Jsonl,
    /// With a line of names first
    Csv,
}

/// Rows of a table that does not ask for a number.
const TABLE_ROWS: usize = 50;

const COLUMNS: [Column; 10] = [
    time("time", "created_at"),
    text("user", "user"),
    text("model", "model"),
    text("node", "source_node"),
    count("status", "status_code"),
    text("outcome", "outcome"),
    count("input", "input_tokens"),
    count("output", "output_tokens"),
    text("counted", "token_source"),
    nanousd("cost", "cost_nanousd"),
];

pub async fn run(args: UsageArgs) -> Result<(), Error> {
    let client = args.session.client()?;
    match args.action {
        None => {}
        Some(Action::RetryRejected) => return rejected::retry(&client, args.session.output()).await,
        Some(Action::DismissRejected { yes, dry_run }) => {
            return rejected::dismiss(&client, args.session.output(), yes, dry_run).await;
        }
    }
    let query = args.query();
    let json = args.session.output().is_json();
    match args.format {
        Format::Jsonl => stream(&client, query, "jsonl", args.limit).await,
        Format::Csv => stream(&client, query, "csv", args.limit).await,
        Format::Json => list(&client, &query, Output::new(true), args.limit.unwrap_or(usize::MAX)).await,
        Format::Table if json => {
            list(&client, &query, Output::new(true), args.limit.unwrap_or(usize::MAX)).await
        }
        Format::Table => list(&client, &query, Output::new(false), args.limit.unwrap_or(TABLE_ROWS)).await,
    }
}

impl UsageArgs {
    fn query(&self) -> Query {
        let fields = [
            ("user", self.user.clone()),
            ("group", self.group.clone()),
            ("model", self.model.clone()),
            ("node", self.node.clone()),
            ("from", self.from.map(|time| time.to_string())),
            ("to", self.to.map(|time| time.to_string())),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// What to do for the rows that are not shown.
const MORE: &str = "give a larger --limit; --format csv and jsonl without one give all";
const PATH: [&str; 3] = ["admin", "v1", "usage"];

async fn list(client: &Client, query: &Query, output: Output, limit: usize) -> Result<(), Error> {
    let listed = client.list(&PATH, query, limit).await?;
    listed.warn_if_cut(MORE);
    output.list(&listed.rows, &COLUMNS)
}

/// The node's own stream, as it comes: any number of rows in bounded memory.
async fn stream(
    client: &Client,
    mut query: Query,
    format: &'static str,
    limit: Option<usize>,
) -> Result<(), Error> {
    query.push(("format", format.to_owned()));
    let head = usize::from(format == "csv");
    let mut rows = export::Rows::new(limit.map(|limit| limit.saturating_add(head)));
    let mut answer = client.stream(&PATH, &query).await?;
    while let Some(piece) = answer.piece().await? {
        let passed = rows.pass(&piece);
        export::write(passed)?;
        if passed.len() < piece.len() {
            note(&format!("the first {}; there are more: {MORE}", limit.unwrap_or_default()));
            break;
        }
    }
    Ok(())
}
