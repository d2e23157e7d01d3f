//! `sproxy connect`: a client's own settings, written so that it calls through sproxy, and the way back.

mod clients;
mod codex_models;
mod codex_program;
mod diff;
mod env_file;
mod jsonc;
mod managed;
mod model_list;
mod settings;
mod toml_file;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::agent_key::{AgentKey, key_file};
use super::error::Error;
use super::logins::{Login, server_name};
use super::output::{Output, note};
use super::passwords;
use crate::domain::secret::Secret;
pub use clients::ClientName;
use clients::{Access, ModelList};
pub use managed::Standing;
use managed::{By, Planned};
pub(super) use toml_file::TomlFile;

/// Make a client call through the gateway, by writing its own settings
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sproxy connect claude                      with the login, which refreshes itself\n  sproxy connect opencode --agent            through `sproxy agent`\n  sproxy connect gemini --key - < key.txt    with an API key\n  sproxy connect claude --undo"
)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command")]
pub struct ConnectArgs {
    /// claude, codex, gemini or opencode
    #[arg(hide_possible_values = true)]
    client: ClientName,
    /// The gateway [default: that of the last login]
    #[arg(long, env = "SPROXY_SERVER", value_name = "URL")]
    server: Option<String>,
    /// Call with this API key instead of the login; `-` reads it from standard input
    #[arg(long, value_name = "KEY", conflicts_with = "agent")]
    key: Option<String>,
    /// Call through the agent of this machine (`sproxy agent`)
    #[arg(long)]
    agent: bool,
    /// Take back what was written; what you have changed since then stays
    #[arg(long, conflicts_with_all = ["key", "agent"])]
    undo: bool,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

pub async fn run(args: &ConnectArgs) -> Result<(), Error> {
    let client = args.client;
    if args.undo {
        return carry_out(args, undone(client)?);
    }
    let access = args.access()?;
    let models = model_list::made(client, &access, args.server()).await;
    match plans(client, &access, &models).and_then(|plans| carry_out(args, plans)) {
        // A client does without a list of models, and not without its settings.
        Err(reason) if matches!(models, ModelList::Written(_)) && !matches!(reason, Error::Output(_)) => {
            carry_out(args, plans(client, &access, &ModelList::None)?)?;
            let title = client.title();
            note(&format!("{title} is connected without a catalogue of models: {reason}"));
            Ok(())
        }
        done => done,
    }
}

/// What takes back all that was written for a client.
fn undone(client: ClientName) -> Result<Vec<Planned>, Error> {
    let places = client.places()?;
    // What names a file goes before the file.
    let plans = places.iter().rev().map(managed::Managed::undo).collect::<Result<Vec<_>, _>>()?;
    let plans: Vec<_> = plans.into_iter().flatten().collect();
    if plans.is_empty() {
        let (title, word) = (client.title(), client.word());
        return Err(Error::Refused(format!("{title} was not connected by `sproxy connect {word}` here")));
    }
    Ok(plans)
}

/// Writes what is planned, or shows it, and reports.
fn carry_out(args: &ConnectArgs, plans: Vec<Planned>) -> Result<(), Error> {
    if args.dry_run {
        return show(&plans, args.json);
    }
    let written: Vec<_> = plans.iter().map(|plan| (plan.path.clone(), plan.changes())).collect();
    for plan in plans {
        plan.write()?;
    }
    report(args, &written)
}

/// Clients that are connected through the agent have its key, which is another one now.
///
/// # Errors
/// The first client whose settings cannot be written.
pub fn renew_agent_key(agent: &AgentKey) -> Result<(), Error> {
    for client in ClientName::ALL {
        if is_by_agent(client)? {
            // Nobody can be asked for models yet.
            let models = if client.has_model_list() { ModelList::Kept } else { ModelList::None };
            for plan in plans(client, &by_agent(agent)?, &models)? {
                plan.write()?;
            }
        }
    }
    Ok(())
}

/// Whether a client calls through the agent.
///
/// # Errors
/// What keeps the files from being read.
pub fn connected_by_agent() -> Result<bool, Error> {
    for client in ClientName::ALL {
        if is_by_agent(client)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether settings of a client are as sproxy wrote them for the agent.
fn is_by_agent(client: ClientName) -> Result<bool, Error> {
    for file in client.places()?.iter().filter(|file| !file.is_whole()) {
        if file.standing()? == Standing::Connected(By::Agent) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How it stands with a client, and the files that say so.
///
/// # Errors
/// What keeps the files from being read.
pub fn standing(client: ClientName) -> Result<Vec<(PathBuf, Standing)>, Error> {
    client.places()?.into_iter().map(|file| Ok((file.path.clone(), file.standing()?))).collect()
}

impl ConnectArgs {
    fn server(&self) -> Option<&str> {
        self.server.as_deref().filter(|server| !server.is_empty())
    }

    fn access(&self) -> Result<Access, Error> {
        let server = self.server();
        if self.agent {
            return by_agent(&AgentKey::read()?);
        }
        match &self.key {
            None => {
                let login = Login::required(server)?;
                Ok(Access::Login { program: program()?, server: login.server().to_owned() })
            }
            Some(key) => {
                let key = if key == "-" { passwords::from_stdin()? } else { key.clone() };
                let server = match server {
                    Some(server) => server_name(server)?,
                    None => Login::required(None)?.server().to_owned(),
                };
                Ok(Access::Key { server, key: Secret::new(key.trim()) })
            }
        }
    }
}

fn by_agent(agent: &AgentKey) -> Result<Access, Error> {
    let url = format!("http://{}", agent.address);
    Ok(Access::Agent { program: program()?, url, key: agent.key.clone(), key_file: key_file()? })
}

fn plans(client: ClientName, access: &Access, models: &ModelList) -> Result<Vec<Planned>, Error> {
    // All are made before the first is written.
    let files = client.files(access, models)?;
    let mut plans = files.iter().map(managed::Managed::connect).collect::<Result<Vec<_>, _>>()?;
    if matches!(models, ModelList::None) {
        // What was written before and is not any more.
        let is_meant = |place: &managed::Managed| files.iter().any(|file| file.path == place.path);
        for place in client.places()?.iter().filter(|place| !is_meant(place)) {
            plans.extend(place.undo()?);
        }
    }
    Ok(plans)
}

/// This program, as others find it.
fn program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(Error::io("finding this program"))
}

fn show(plans: &[Planned], json: bool) -> Result<(), Error> {
    let diff = |plan: &Planned| {
        if plan.is_whole {
            return whole(plan);
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        diff::diff(&text(&plan.present), &text(&plan.next))
    };
    let mut text = String::new();
    let mut files = Vec::new();
    for plan in plans {
        let lines = diff(plan);
        let lines = if lines.is_empty() { "nothing would change\n".to_owned() } else { lines };
        let _ = write!(text, "{}\n{lines}\n", plan.path.display());
        files.push(json!({ "path": plan.path, "diff": diff(plan) }));
    }
    Output::new(json).done(&json!({ "files": files }), text.trim_end())
}

/// A file of thousands of lines that nobody edits.
fn whole(plan: &Planned) -> String {
    match &plan.next {
        _ if !plan.changes() => String::new(),
        Some(text) => format!("+ a file of {} bytes\n", text.len()),
        None => "- the whole file\n".to_owned(),
    }
}

fn report(args: &ConnectArgs, written: &[(PathBuf, bool)]) -> Result<(), Error> {
    let (title, word) = (args.client.title(), args.client.word());
    let files: Vec<Value> =
        written.iter().map(|(path, changed)| json!({ "path": path, "changed": changed })).collect();
    let paths: Vec<_> = written.iter().map(|(path, _)| path.display().to_string()).collect();
    let (files, paths) =
        (json!({ "client": word, "connected": !args.undo, "files": files }), paths.join(" and "));
    let sentence = if args.undo {
        format!("{title} is as it was: {paths}")
    } else if written.iter().any(|(_, changed)| *changed) {
        format!("{title} calls through the gateway: {paths}; back with `sproxy connect {word} --undo`")
    } else {
        format!("{title} was connected already: {paths}")
    };
    Output::new(args.json).done(&files, &sentence)?;
    if !args.undo {
        for name in args.client.overriding_variables() {
            if std::env::var_os(name).is_some() {
                note(&format!(
                    "{name} is set in this shell, and {title} prefers it to its settings: unset it"
                ));
            }
        }
    }
    Ok(())
}
