//! `sproxy user`: people and services that may call.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{Client, Query};
use super::error::Error;
use super::import::{self, ImportArgs};
use super::limits::{self, LimitFlags};
use super::output::{Column, Output, shell_quoted, text, time, yes_no};
use super::passwords;
use super::session::Session;
use crate::domain::user::Role;

/// `sproxy user …`
#[derive(Debug, Args)]
pub struct UserArgs {
    #[command(flatten)]
    session: Session,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a user; without a password they can use API keys but not log in
    #[command(alias = "create")]
    Add {
        /// The new user's name
        name: String,
        /// The group whose limits they share
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// May do everything on the control plane: the same as --role admin
        #[arg(long, conflicts_with = "role")]
        admin: bool,
        #[command(flatten)]
        role: RoleFlags,
        /// Set a password: the first line of standard input
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        limits: LimitFlags,
    },
    /// Everyone, newest first
    List,
    /// One user and their limits
    Show {
        /// Name or id
        name: String,
    },
    /// Change a user; what is not named stays as it is
    Set(Change),
    Import(ImportArgs),
    /// Refuse a user everywhere, from their next request on
    Disable {
        /// Name or id
        name: String,
    },
    /// Let a disabled user in again
    Enable {
        /// Name or id
        name: String,
    },
    /// Set a password: asked for on a terminal, else the first line of standard input
    Passwd {
        /// Name or id
        name: String,
    },
    /// End all of a user's sessions; their API keys stay
    Revoke {
        /// Name or id
        name: String,
    },
    /// Remove a user with their API keys and sessions; their usage logs stay
    Remove {
        /// Name or id
        name: String,
    },
}

#[derive(Debug, Args)]
struct Change {
    /// Name or id
    name: String,
    /// Give them another name
    #[arg(long, value_name = "NAME")]
    rename: Option<String>,
    /// Move them to this group
    #[arg(long, value_name = "GROUP", conflicts_with = "no_group")]
    group: Option<String>,
    /// Take them out of their group
    #[arg(long)]
    no_group: bool,
    /// May do everything on the control plane: the same as --role admin
    #[arg(long, conflicts_with_all = ["no_admin", "role"])]
    admin: bool,
    /// May only see to their own keys, usage and quota: the same as --role user
    #[arg(long, conflicts_with = "role")]
    no_admin: bool,
    #[command(flatten)]
    role: RoleFlags,
    #[command(flatten)]
    limits: LimitFlags,
}

/// What somebody may do on the control plane.
#[derive(Debug, Args)]
struct RoleFlags {
    /// What they may do on the control plane: admin (everything), auditor (reads everything, changes nothing), manager (of the
    /// members of --manages) or user (their own keys, usage and quota)
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// A group whose members a manager manages; may be repeated. On `set` these and no others, `--manages ''` none
    #[arg(long, value_name = "GROUP")]
    manages: Vec<String>,
}

impl RoleFlags {
    fn add_to(&self, body: &mut Map<String, Value>) {
        body.extend(self.role.map(|role| ("role".to_owned(), json!(role))));
        if !self.manages.is_empty() {
            let groups: Vec<&String> = self.manages.iter().filter(|group| !group.is_empty()).collect();
            body.insert("manages".to_owned(), json!(groups));
        }
    }
}

const USERS: &str = "users";
const LIST: [Column; 6] = [
    text("name", "name"),
    text("group", "group"),
    text("role", "role"),
    yes_no("active", "active"),
    time("created", "created_at"),
    time("last login", "last_login_at"),
];

pub async fn run(args: UserArgs) -> Result<(), Error> {
    let (client, output) = (args.session.client()?, args.session.output());
    match args.action {
        Action::Add { name, group, admin, role, password_stdin, limits } => {
            let mut body = Map::from_iter([("name".to_owned(), json!(name))]);
            body.extend(group.map(|group| ("group".to_owned(), json!(group))));
            body.extend(admin.then(|| ("role".to_owned(), json!("admin"))));
            role.add_to(&mut body);
            if password_stdin {
                body.insert("password".to_owned(), json!(passwords::from_stdin()?));
            }
            limits.add_to(&mut body);
            let user = client.post(&["admin", "v1", USERS], Some(&body.into())).await?;
            output.done(
                &user,
                &format!(
                    "user {name} is there; give them a key: sproxy key create --user {}",
                    shell_quoted(&name)
                ),
            )
        }
        Action::List => {
            let users = client.all(&["admin", "v1", USERS], &Query::new()).await?;
            output.list(&users, &LIST)
        }
        Action::Show { name } => {
            let user = client.get(&["admin", "v1", USERS, &name], &Query::new()).await?;
            let mut columns = vec![text("id", "id")];
            columns.extend(LIST);
            columns.push(text("manages", "manages"));
            columns.extend(limits::COLUMNS);
            output.one(&user, &columns)
        }
        Action::Import(args) => import::run(&client, output, args).await,
        Action::Set(change) => {
            let body = change.body()?;
            let user = client.patch(&["admin", "v1", USERS, &change.name], &body).await?;
            output.done(&user, &format!("user {} is changed", change.name))
        }
        Action::Disable { name } => set_active(&client, output, &name, false).await,
        Action::Enable { name } => set_active(&client, output, &name, true).await,
        Action::Passwd { name } => {
            let body = json!({ "password": passwords::ask(&name)? });
            let answer = client.post(&["admin", "v1", USERS, &name, "password"], Some(&body)).await?;
            output.done(&answer, &format!("the password of {name} is set; earlier sessions have ended"))
        }
        Action::Revoke { name } => {
            let answer = client.post(&["admin", "v1", USERS, &name, "revoke"], None).await?;
            output.done(&answer, &format!("all sessions of {name} have ended"))
        }
        Action::Remove { name } => {
            let answer = client.delete(&["admin", "v1", USERS, &name]).await?;
            output.done(&answer, &format!("user {name} is gone, with their keys and sessions"))
        }
    }
}

async fn set_active(client: &Client, output: Output, name: &str, active: bool) -> Result<(), Error> {
    let user = client.patch(&["admin", "v1", USERS, name], &json!({ "active": active })).await?;
    let state = if active { "enabled" } else { "disabled: refused from the next request on" };
    output.done(&user, &format!("user {name} is {state}"))
}

impl Change {
    fn body(&self) -> Result<Value, Error> {
        let mut body = Map::new();
        body.extend(self.rename.as_ref().map(|name| ("name".to_owned(), json!(name))));
        body.extend(self.group.as_ref().map(|group| ("group".to_owned(), json!(group))));
        body.extend(self.no_group.then(|| ("group".to_owned(), Value::Null)));
        body.extend(self.admin.then(|| ("role".to_owned(), json!("admin"))));
        body.extend(self.no_admin.then(|| ("role".to_owned(), json!("user"))));
        self.role.add_to(&mut body);
        self.limits.add_to(&mut body);
        if body.is_empty() {
            return Err(Error::Usage("nothing to change: say what, see `sproxy user set --help`".to_owned()));
        }
        Ok(body.into())
    }
}
