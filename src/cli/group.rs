//! `sproxy group`: users who share limits.

use clap::{Args, Subcommand};
use serde_json::{Map, json};

use super::client::{Client, Query};
use super::error::Error;
use super::limits::{self, LimitFlags};
use super::output::{shell_quoted, text, time};
use super::session::Session;

/// `sproxy group …`
#[derive(Debug, Args)]
pub struct GroupArgs {
    #[command(flatten)]
    session: Session,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a group
    Add {
        /// The new group's name
        name: String,
        #[command(flatten)]
        limits: LimitFlags,
    },
    /// Every group with its limits, newest first
    List,
    /// One group and its limits
    Show {
        /// Name or id
        name: String,
    },
    /// Change a group; what is not named stays as it is
    Set {
        /// Name or id
        name: String,
        /// Give it another name
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        #[command(flatten)]
        limits: LimitFlags,
    },
    /// Remove a group; refused while it has members, unless they are moved or set free
    Remove {
        /// Name or id
        name: String,
        /// Move its members to this group first
        #[arg(long, value_name = "GROUP", conflicts_with = "force")]
        move_to: Option<String>,
        /// Though it has members, who are in no group then, without its limits
        #[arg(long)]
        force: bool,
    },
}

/// Moves everyone, one by one; whoever is moved stays so if a later one cannot be.
async fn move_members(client: &Client, from: &str, to: &str) -> Result<usize, Error> {
    let there = client.get(&["admin", "v1", GROUPS, to], &Query::new()).await?;
    let here = client.get(&["admin", "v1", GROUPS, from], &Query::new()).await?;
    if there.get("id") == here.get("id") {
        return Err(Error::Usage(
            "the members are in that group: name another one with --move-to".to_owned(),
        ));
    }
    let members = client.all(&["admin", "v1", "users"], &vec![("group", from.to_owned())]).await?;
    for member in &members {
        let id = member.get("id").and_then(serde_json::Value::as_str).unwrap_or_default();
        client.patch(&["admin", "v1", "users", id], &json!({ "group": to })).await?;
    }
    Ok(members.len())
}

const GROUPS: &str = "groups";

pub async fn run(args: GroupArgs) -> Result<(), Error> {
    let (client, output) = (args.session.client()?, args.session.output());
    let mut columns = vec![text("name", "name")];
    columns.extend(limits::COLUMNS);
    match args.action {
        Action::Add { name, limits } => {
            let mut body = Map::from_iter([("name".to_owned(), json!(name))]);
            limits.add_to(&mut body);
            let group = client.post(&["admin", "v1", GROUPS], Some(&body.into())).await?;
            output.done(
                &group,
                &format!(
                    "group {name} is there; put people in: sproxy user set NAME --group {}",
                    shell_quoted(&name)
                ),
            )
        }
        Action::List => {
            let groups = client.all(&["admin", "v1", GROUPS], &Query::new()).await?;
            output.list(&groups, &columns)
        }
        Action::Show { name } => {
            let group = client.get(&["admin", "v1", GROUPS, &name], &Query::new()).await?;
            columns.extend([text("id", "id"), time("created", "created_at")]);
            output.one(&group, &columns)
        }
        Action::Set { name, rename, limits } => {
            let mut body = Map::new();
            body.extend(rename.map(|rename| ("name".to_owned(), json!(rename))));
            limits.add_to(&mut body);
            if body.is_empty() {
                return Err(Error::Usage(
                    "nothing to change: say what, see `sproxy group set --help`".to_owned(),
                ));
            }
            let group = client.patch(&["admin", "v1", GROUPS, &name], &body.into()).await?;
            output.done(&group, &format!("group {name} is changed"))
        }
        Action::Remove { name, move_to, force } => {
            let moved = match &move_to {
                Some(other) => Some((move_members(&client, &name, other).await?, other)),
                None => None,
            };
            let query: Query = force.then(|| ("force", "true".to_owned())).into_iter().collect();
            let answer =
                client.delete_with(&["admin", "v1", GROUPS, &name], &query).await.map_err(|reason| {
                    match reason {
                        Error::Refused(said) if said.contains("with force") => Error::Refused(format!(
                            "{said}: sproxy group remove {} --move-to GROUP, or --force",
                            shell_quoted(&name)
                        )),
                        other => other,
                    }
                })?;
            let left = answer.get("members_left").and_then(serde_json::Value::as_u64).unwrap_or_default();
            let members = match moved {
                Some((count, other)) => format!("; {count} moved to {other}"),
                None if left > 0 => format!("; {left} have no group now"),
                None => String::new(),
            };
            output.done(&answer, &format!("group {name} is gone{members}"))
        }
    }
}
