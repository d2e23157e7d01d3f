//! `sproxy group`: users who share limits.

use clap::{Args, Subcommand};
use serde_json::{Map, json};

use super::client::Query;
use super::error::Error;
use super::limits::{self, LimitFlags};
use super::output::text;
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
    /// Remove a group; its members stay, without a group
    Remove {
        /// Name or id
        name: String,
    },
}

const GROUPS: &str = "groups";

/// Runs `sproxy group …`.
///
/// # Errors
/// The node's refusal, or what keeps it from being asked.
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
                &format!("group {name} is there; put people in: sproxy user set NAME --group {name}"),
            )
        }
        Action::List => {
            let groups = client.all(&["admin", "v1", GROUPS], &Query::new()).await?;
            output.list(&groups, &columns)
        }
        Action::Show { name } => {
            let group = client.get(&["admin", "v1", GROUPS, &name], &Query::new()).await?;
            columns.extend([text("id", "id"), text("created", "created_at")]);
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
        Action::Remove { name } => {
            let answer = client.delete(&["admin", "v1", GROUPS, &name]).await?;
            output.done(&answer, &format!("group {name} is gone; its members have no group now"))
        }
    }
}
