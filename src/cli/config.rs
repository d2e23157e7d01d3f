//! `sproxy config`: check a configuration, show the effective one, print the commented defaults.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::error::Error;
use super::output::{note, pretty, print};
use crate::config::{self, Config, Problem, Sources};

/// `sproxy config …`
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file [default: ./sproxy.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true)]
    json: bool,
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
}

///
/// # Errors
/// Everything that is wrong with the configuration.
pub fn run(args: &ConfigArgs) -> Result<(), Error> {
    let sources = Sources { file: args.config.clone(), flags: Vec::new() };
    let load = || config::load(&sources);
    if matches!(args.action, Action::Check | Action::Show) {
        for warning in config::near_misses(&sources) {
            note(&format!("warning: {warning}"));
        }
    }
    match (args.action, args.json) {
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
