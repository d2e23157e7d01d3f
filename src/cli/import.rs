//! `sproxy user import`: many people at once, from a file.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::audit;
use super::client::{Client, Query};
use super::error::Error;
use super::output::{Column, Output, count, note, text};

/// More than a node takes.
const FILE_MAX: u64 = 4 << 20;

/// Make and change many users from a CSV file, all or nothing; imported once more, it changes nothing
///
/// The first line names the columns: `name`, and of `group`, `role`, `manages`, `active`, `daily_tokens`, `monthly_tokens`, `rpm`, `monthly_usd`,
/// `concurrent`, `max_tokens` and `models` those that are wanted. An empty cell leaves what is there, `none` takes it away, lists have
/// commas between. As Excel saves it (CSV UTF-8) is fine: semicolons, decimal commas, empty rows.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The file; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only say what would happen, row by row
    #[arg(long)]
    dry_run: bool,
    /// Make groups that do not exist, without limits; otherwise rows that name one are refused
    #[arg(long)]
    create_groups: bool,
    /// Make a key for everybody who is new, and print it
    #[arg(long)]
    keys: bool,
    /// Make a password for everybody who is new, at most 100 at once, and print it
    #[arg(long)]
    passwords: bool,
}

pub async fn run(client: &Client, output: Output, args: ImportArgs) -> Result<(), Error> {
    let file = read(&args)?;
    let flags = [("create_groups", args.create_groups), ("keys", args.keys), ("passwords", args.passwords)];
    let query: Query =
        flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| (name, "true".to_owned())).collect();
    let post = async |dry_run: bool, file: Vec<u8>| {
        let mut query = query.clone();
        query.extend(dry_run.then(|| ("dry_run", "true".to_owned())));
        client.post_file(&["admin", "v1", "users", "import"], &query, "text/csv", file).await
    };
    // All rows that are refused are named before anything happens.
    let planned = post(true, file.clone()).await?;
    let refused = planned["refused"].as_u64().unwrap_or_default();
    let imported = if refused > 0 || args.dry_run { planned } else { post(false, file).await? };
    print(output, &imported)?;
    if refused > 0 {
        return Err(Error::Refused(format!("{refused} rows are refused: nothing was changed")));
    }
    Ok(())
}

fn read(args: &ImportArgs) -> Result<Vec<u8>, Error> {
    let path = args.file.display().to_string();
    let mut file = Vec::new();
    let done = if path == "-" {
        std::io::stdin().lock().take(FILE_MAX).read_to_end(&mut file)
    } else {
        std::fs::File::open(&args.file).and_then(|opened| opened.take(FILE_MAX).read_to_end(&mut file))
    };
    done.map_err(Error::io(&path))?;
    Ok(file)
}

fn print(output: Output, imported: &Value) -> Result<(), Error> {
    if output.is_json() {
        return output.done(imported, "");
    }
    let mut rows = imported["rows"].as_array().cloned().unwrap_or_default();
    let has = |rows: &[Value], field: &str| rows.iter().any(|row| row.get(field).is_some());
    for row in &mut rows {
        let said = match row["reason"].as_str() {
            Some(reason) => reason.to_owned(),
            None => audit::change(&row["before"], &row["after"]),
        };
        row["said"] = json!(said);
    }
    let mut columns: Vec<Column> =
        vec![count("line", "line"), text("name", "name"), text("outcome", "outcome"), text("", "said")];
    for made in ["key", "password"] {
        columns.extend(has(&rows, made).then(|| text(made, made)));
    }
    output.list(&rows, &columns)?;
    let number = |field: &str| imported[field].as_u64().unwrap_or_default();
    let groups = imported["groups_created"].as_array().map_or(0, Vec::len);
    let groups = if groups > 0 { format!(", {groups} new groups") } else { String::new() };
    let dry = if imported["dry_run"] == true { "; nothing was changed" } else { "" };
    note(&format!(
        "{} new, {} changed, {} unchanged, {} refused{groups}{dry}",
        number("created"),
        number("changed"),
        number("unchanged"),
        number("refused")
    ));
    Ok(())
}
