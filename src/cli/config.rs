//! `sproxy config`: check a configuration, show the effective one, print the commented defaults, have a node take over
//! another.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::error::Error;
use super::output::{note, pretty, print};
use super::session::Session;
use crate::config::{self, Config, Problem, Sources};

/// `sproxy config …`
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file [default: ./sproxy.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    session: Session,
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Action {
    /// List every problem with its key and where the value came from; exit code 64 if there is one
    Check,
    /// Print what is in effect, secrets as ***
    Show,
    /// Print every setting with its default and what it means
    Defaults,
    /// Have a running node take over the configuration that it was started with, as it is now
    Reload,
}

/// `sproxy config …`
///
/// # Errors
/// Everything that is wrong with the configuration, or what the node says.
pub async fn run(args: ConfigArgs) -> Result<(), Error> {
    let sources = Sources { file: args.config.clone(), flags: Vec::new() };
    let load = || config::load(&sources);
    if matches!(args.action, Action::Check | Action::Show) {
        for warning in config::near_misses(&sources) {
            note(&format!("warning: {warning}"));
        }
    }
    let is_json = args.session.output().is_json();
    match (args.action, is_json) {
        (Action::Check, false) => {
            load()?;
            print("the configuration is right")
        }
        (Action::Check, true) => {
            let checked = load();
            let problems = checked.as_ref().err().map_or(&[][..], |problems| &problems.0);
            let answer = json!({
                "ok": problems.is_empty(),
                "problems": problems.iter().map(problem).collect::<Vec<_>>(),
            });
            print(&pretty(&answer))?;
            Ok(checked.map(|_| ())?)
        }
        (Action::Show, false) => print(&config::show(&load()?)),
        (Action::Show, true) => print(&pretty(&shown(&load()?)?)),
        (Action::Defaults, false) => print(&config::defaults()),
        (Action::Reload, _) => {
            let client = args.session.client()?;
            let reloaded = client.post(&["admin", "v1", "reload"], None).await?;
            let waiting =
                reloaded.get("needs_restart").and_then(Value::as_array).cloned().unwrap_or_default();
            let names: Vec<&str> = waiting.iter().filter_map(Value::as_str).collect();
            let said = match names.as_slice() {
                [] => "the configuration is in effect".to_owned(),
                names => format!("in effect, but for what needs a restart: {}", names.join(", ")),
            };
            args.session.output().done(&reloaded, &said)
        }
        (Action::Defaults, true) => print(&pretty(&as_json(config::DEFAULTS)?)),
    }
}

fn problem(problem: &Problem) -> Value {
    json!({ "key": problem.key, "origin": problem.origin, "reason": problem.reason })
}

/// What is in effect, with the source of each price, which is a comment in TOML.
fn shown(config: &Config) -> Result<Value, Error> {
    let mut shown = as_json(&config::show(config))?;
    for entry in config.prices.entries() {
        let prices = shown.get_mut("prices");
        if let Some(Value::Object(price)) = prices.and_then(|prices| prices.get_mut(entry.glob())) {
            price.insert("source".to_owned(), entry.source.as_str().into());
        }
    }
    Ok(shown)
}

fn as_json(text: &str) -> Result<Value, Error> {
    Ok(config::json_of(text)?)
}
