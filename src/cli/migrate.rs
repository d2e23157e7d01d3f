//! `sproxy migrate`: a leader's data from SQLite to PostgreSQL, or back.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::error::Error;
use super::output::{Output, count, note, text};
use crate::config::{self, Database, Secret, Sources};
use crate::node::migration::{self, Moved, Progress};
use crate::store::TableSums;

/// Move a leader's data from SQLite to PostgreSQL, or back
///
/// Every table is copied, then counted and added up on both sides. The ledger stays the same, so followers go on with what
/// they owe, nothing is counted twice, and keys and sessions stay good. No sproxy may run on either database meanwhile.
/// What was broken off goes on where it was when it is run again. Afterwards nothing is served from the old database any
/// more; a file of SQLite is kept under a name that says so.
#[derive(Debug, Args)]
#[command(
    after_help = "Up:    sproxy migrate --to postgres://sproxy@db/sproxy    then set store.url to it, and start\n\
                  Back:  sproxy migrate --to sqlite:DATA_DIR/sproxy.db        then remove store.url, and start"
)]
pub struct MigrateArgs {
    /// Where to: an empty PostgreSQL database (postgres://...), or a SQLite file that is not there yet (sqlite:FILE)
    #[arg(long, value_name = "URL", value_parser = secret, required_unless_present = "to_file")]
    to: Option<Secret>,
    /// The same, read from a file: the list of processes shows no password then
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    to_file: Option<PathBuf>,
    /// Where from [default: store.url of the configuration]
    #[arg(long, value_name = "URL", value_parser = secret)]
    from: Option<Secret>,
    /// The same, read from a file
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    from_file: Option<PathBuf>,
    /// The configuration file of the node [default: ./sproxy.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// `node.data_dir`: the directory of the node, which has files of its own
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// Between two lines of progress where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

#[allow(clippy::unnecessary_wraps, reason = "what clap calls has to be able to fail")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

pub async fn run(args: MigrateArgs) -> Result<(), Error> {
    let data_dir = args.data_dir.map(|directory| directory.display().to_string());
    let flags = [("node.data_dir", data_dir)].into_iter().filter_map(|(key, value)| Some((key, value?)));
    let config = config::load(&Sources { file: args.config, flags: flags.collect() })?;
    let to = database("--to", args.to, args.to_file)?
        .ok_or_else(|| Error::Usage("--to has to say where to move the data".to_owned()))?;
    let from =
        database("--from", args.from, args.from_file)?.unwrap_or_else(|| config.store.database.clone());
    let mut shown = Shown::new();
    let moved = Box::pin(migration::migrate(&config, &from, &to, |progress| shown.tell(progress))).await;
    shown.end();
    report(&moved.map_err(|error| Error::Refused(error.to_string()))?, &to, Output::new(args.json))
}

fn database(flag: &str, url: Option<Secret>, file: Option<PathBuf>) -> Result<Option<Database>, Error> {
    let url = match (url, file) {
        (Some(url), _) => url,
        (None, Some(file)) => {
            let text = std::fs::read_to_string(&file).map_err(Error::io(file.display().to_string()))?;
            Secret::new(text.trim())
        }
        (None, None) => return Ok(None),
    };
    let database = Database::of_url(url.expose());
    database.map(Some).ok_or_else(|| Error::Usage(format!("{flag} has to begin with postgres:// or sqlite:")))
}

/// Progress on standard error: a bar on a terminal, else lines.
struct Shown {
    bar: Option<ProgressBar>,
    line_at: Option<Instant>,
}

impl Shown {
    fn new() -> Self {
        Self { bar: None, line_at: None }
    }

    fn tell(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Copying(at) if std::io::stderr().is_terminal() => {
                let bar = self.bar.get_or_insert_with(|| ProgressBar::new(at.all_rows).with_style(style()));
                bar.set_position(at.all_copied);
                bar.set_message(at.table.to_owned());
            }
            Progress::Copying(at) => {
                // The first line says how much there is.
                if self.line_at.is_some_and(|last| last.elapsed() < LINE_EVERY) {
                    return;
                }
                self.line_at = Some(Instant::now());
                note(&format!(
                    "{} of {} rows; {} of {} of {}",
                    at.all_copied, at.all_rows, at.copied, at.rows, at.table
                ));
            }
            Progress::Checking => {
                self.end();
                note("all rows are copied; both databases are counted and added up");
            }
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template(
        "{bar:40} {percent:>3}% {human_pos}/{human_len} rows, {per_sec}, {eta} left: {msg}",
    );
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What both databases add up to, and what is to be done now.
fn report(moved: &Moved, to: &Database, output: Output) -> Result<(), Error> {
    let kept: Vec<String> = moved.kept.iter().map(|path| path.display().to_string()).collect();
    let next = match to {
        Database::Postgres(_) => {
            "set store.url (or store.url_file) to the PostgreSQL database, and start the node".to_owned()
        }
        Database::Sqlite(path) => format!(
            "start the node without store.url if {} is sproxy.db in its data directory, else with store.url = \"sqlite:{}\"",
            path.display(),
            path.display()
        ),
    };
    let Some(sums) = &moved.sums else {
        let answer = json!({ "moved": false, "kept": kept, "next": next });
        return output.done(&answer, &format!("all of it was moved before; now {next}"));
    };
    if output.is_json() {
        let answer = json!({
            "moved": true,
            "resumed": moved.resumed,
            "tables": tables(sums),
            "sums": main_sums(sums),
            "kept": kept,
            "next": next,
        });
        return output.done(&answer, "");
    }
    output.list(&tables(sums), &[text("table", "table"), count("rows, in both", "rows")])?;
    output.one(
        &main_sums(sums),
        &[
            count("users", "users"),
            count("keys", "keys"),
            count("requests in the sums", "requests"),
            count("tokens in the sums", "tokens"),
            super::output::nanousd("cost in the sums", "cost_nanousd"),
            count("batches taken", "batches"),
        ],
    )?;
    for kept in kept {
        note(&format!("the old file is kept as {kept}; it is not used any more"));
    }
    note(&format!("now {next}"));
    Ok(())
}

fn tables(sums: &[TableSums]) -> Vec<Value> {
    sums.iter().map(|table| json!({ "table": table.table, "rows": number(table.rows) })).collect()
}

fn main_sums(sums: &[TableSums]) -> Value {
    let of = |name: &str| sums.iter().find(|table| table.table == name);
    let rows = |name| of(name).map_or(0, |table| table.rows);
    let sum = |name, columns: &[&str]| {
        of(name).map_or(0, |table| columns.iter().map(|column| table.of(column)).sum())
    };
    json!({
        "users": number(rows("users")),
        "keys": number(rows("api_keys")),
        "requests": number(sum("usage_totals", &["request_count"])),
        "tokens": number(sum("usage_totals", &["input_tokens", "output_tokens"])),
        "cost_nanousd": number(sum("usage_totals", &["cost_nanousd"])),
        "batches": number(sum("usage_batches", &["taken"])),
    })
}

/// A sum as a number of JSON.
fn number(sum: i128) -> Value {
    i64::try_from(sum).map_or_else(|_| Value::from(sum.to_string()), Value::from)
}
