//! `sproxy audit`: who changed what.

use clap::Args;
use serde_json::{Map, Value, json};

use super::client::Query;
use super::error::Error;
use super::output::{at_least_one, text, time};
use super::session::Session;
use super::when;
use crate::domain::clock::Timestamp;

/// Changes to people, groups, keys, limits and nodes, newest first: who made them, from where, and what was there before
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sproxy audit --subject alice\n  sproxy audit --actor 'mia*' --action 'user.*' --from 7d\n  sproxy audit --from 2026-11 --to 2026-12 --json"
)]
pub struct AuditArgs {
    #[command(flatten)]
    session: Session,
    /// Only by this actor: a user's name, local-admin, scim or system; `*` stands for anything
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only these, such as user.create or 'key.*'
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what was done to this: a name, or such as 'user alice'; `*` stands for anything
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Not before: a time, a UTC day (2026-11-22) or month (2026-11), today, yesterday, or how long ago (7d)
    #[arg(long, value_name = "TIME", value_parser = when::past)]
    from: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = when::past)]
    to: Option<Timestamp>,
    /// Most rows; a table has 50 without it, JSON all
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    limit: Option<usize>,
}

/// Rows of a table that does not ask for a number.
const TABLE_ROWS: usize = 50;

pub async fn run(args: AuditArgs) -> Result<(), Error> {
    let (client, output) = (args.session.client()?, args.session.output());
    let fields = [
        ("actor", args.actor),
        ("action", args.action),
        ("subject", args.subject),
        ("from", args.from.map(|time| time.to_string())),
        ("to", args.to.map(|time| time.to_string())),
    ];
    let query: Query = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let limit = args.limit.unwrap_or(if output.is_json() { usize::MAX } else { TABLE_ROWS });
    let mut listed = client.list(&["admin", "v1", "audit"], &query, limit).await?;
    listed.warn_if_cut("give a larger --limit; --json without one gives all");
    if !output.is_json() {
        for entry in &mut listed.rows {
            entry["change"] = json!(change(&entry["before"], &entry["after"]));
        }
    }
    let columns = [
        time("time", "at"),
        text("who", "actor"),
        text("by", "credential"),
        text("from", "address"),
        text("what", "action"),
        text("to whom", "subject"),
        text("change", "change"),
    ];
    output.list(&listed.rows, &columns)
}

/// `rpm 5 → 10, name alice → bob`: each field that there is before or after. What was not there and is nothing now is left
/// out.
pub(super) fn change(before: &Value, after: &Value) -> String {
    let nothing = Map::new();
    let (Some(was), Some(is)) = (fields(before, &nothing), fields(after, &nothing)) else {
        return [before, after].map(said).join(" → ");
    };
    let names = was.keys().chain(is.keys().filter(|name| !was.contains_key(*name)));
    let value = |of: &Map<String, Value>, name: &str| of.get(name).map_or_else(|| "-".to_owned(), said);
    let changes = names.filter_map(|name| {
        let (was, is) = (value(was, name), value(is, name));
        (was != is).then(|| if was == "-" { format!("{name} {is}") } else { format!("{name} {was} → {is}") })
    });
    changes.collect::<Vec<_>>().join(", ")
}

/// An object's fields; nothing has none. `None`: it is no object.
fn fields<'v>(value: &'v Value, nothing: &'v Map<String, Value>) -> Option<&'v Map<String, Value>> {
    match value {
        Value::Null => Some(nothing),
        Value::Object(fields) => Some(fields),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(said).collect::<Vec<_>>().join(" "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_as_what_was_and_what_is() {
        for (before, after, reads) in [
            (json!({"rpm": 5}), json!({"rpm": 10}), "rpm 5 → 10"),
            (json!({"rpm": 5}), json!({"rpm": null}), "rpm 5 → -"),
            (Value::Null, json!({"name": "a", "rpm": null, "manages": []}), "name a"),
            (json!({"name": "a"}), Value::Null, "name a → -"),
            (json!({"manages": ["x"]}), json!({"manages": ["x", "y"]}), "manages x → x y"),
            (Value::Null, Value::Null, ""),
            (Value::Null, json!(["sp-1"]), "- → sp-1"),
        ] {
            assert_eq!(change(&before, &after), reads);
        }
    }
}
