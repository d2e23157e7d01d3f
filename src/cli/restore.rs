//! `sproxy restore`: a copy that `sproxy backup` made takes the place of a node's database.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::confirm::confirm;
use super::error::Error;
use super::output::{Output, note};
use crate::config::{self, Sources};
use crate::node::restore::{Present, Restore};
use crate::store::Contents;

/// Put a copy that `sproxy backup` made in the place of a node's database
///
/// The node has to be stopped. The copy is checked, all of it, before anything is changed. Users, groups, keys and limits
/// are those of the copy afterwards. Usage is not lost: what this node has served since the copy was made is carried over
/// from the database that is there, if that can be read, and followers push again what the copy lacks of theirs. The
/// database that was there is kept under another name.
#[derive(Debug, Args)]
#[command(
    after_help = "systemctl stop sproxy-leader && sproxy restore sproxy-sp-1-20261129T020000Z.db --config /etc/sproxy/sproxy.toml"
)]
pub struct RestoreArgs {
    /// The copy; it stays where it is
    file: PathBuf,
    /// The configuration file of the node [default: ./sproxy.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// `node.data_dir`: the directory of the node
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Only check the copy, and say what would be
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

pub async fn run(args: RestoreArgs) -> Result<(), Error> {
    let output = Output::new(args.json);
    let data_dir = args.data_dir.map(|directory| directory.display().to_string());
    let flags = [("node.data_dir", data_dir)].into_iter().filter_map(|(key, value)| Some((key, value?)));
    let config = config::load(&Sources { file: args.config, flags: flags.collect() })?;
    let refused = |error: crate::node::Error| Error::Refused(error.to_string());
    let restore = Restore::prepare(&config, &args.file).await.map_err(refused)?;
    let lacking = restore.lacking;
    let (copy, present) = (shown(&restore.contents), present(restore.present.as_ref()));
    if !args.json {
        note(&format!("the copy is whole: {}", words(&restore.contents)));
        match &restore.present {
            None => note("there is no database in its place yet"),
            Some(Present::Unreadable(why)) => note(&format!(
                "the database that is there cannot be read ({why}): what this node has served since the copy was made is lost, \
                 unless it is only in the emergency file"
            )),
            Some(Present::Readable { contents, .. }) => {
                note(&format!("the database that is there: {}", words(contents)));
                note(&format!("of this node's usage logs the copy lacks {lacking}, which are carried over"));
            }
        }
    }
    if args.dry_run {
        restore.give_up().await.map_err(refused)?;
        let found = json!({ "copy": copy, "present": present, "lacking": lacking });
        return output.done(&found, "nothing was changed");
    }
    if !args.yes && !confirm("Put the copy in its place?", "--yes does it, --dry-run only looks")? {
        restore.give_up().await.map_err(refused)?;
        return Err(Error::Refused("nothing was changed".to_owned()));
    }
    let restored = restore.apply().await.map_err(refused)?;
    let kept: Vec<String> = restored.kept.iter().map(|path| path.display().to_string()).collect();
    let said = match kept.first() {
        Some(kept) => format!(
            "restored; {} usage logs carried over. The database that was there is {kept}. Start the node now",
            restored.carried_over
        ),
        None => "restored. Start the node now".to_owned(),
    };
    let done =
        json!({ "copy": copy, "present": present, "carried_over": restored.carried_over, "kept": kept });
    output.done(&done, &said)
}

fn words(contents: &Contents) -> String {
    let Contents { users, groups, keys, usage_logs, newest_log, requests, .. } = contents;
    let newest = newest_log.map_or_else(String::new, |at| format!(", the newest of {at}"));
    format!(
        "{users} users, {groups} groups, {keys} keys, totals of {requests} calls, {usage_logs} usage logs{newest}"
    )
}

fn shown(contents: &Contents) -> Value {
    json!({
        "node": contents.node,
        "ledger_id": contents.ledger,
        "users": contents.users,
        "groups": contents.groups,
        "keys": contents.keys,
        "usage_logs": contents.usage_logs,
        "newest_log": contents.newest_log.map(|at| at.to_string()),
        "request_count": contents.requests,
        "cost_nanousd": contents.cost_nanousd,
    })
}

fn present(present: Option<&Present>) -> Value {
    match present {
        None => Value::Null,
        Some(Present::Unreadable(why)) => json!({ "unreadable": why }),
        Some(Present::Readable { contents, .. }) => shown(contents),
    }
}
