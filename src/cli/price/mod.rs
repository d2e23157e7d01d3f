//! `sproxy price`: the price list that is in effect here, what a call would cost by it, and what others publish.

mod import;
mod published;
mod rows;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::error::Error;
use super::limits::number;
use super::output::{Column, Output, count, nanousd, text, yes_no};
use crate::config::{self, Sources};
use crate::domain::price::usd_text;
use crate::domain::tokens::Tokens;
use import::ImportArgs;
use rows::row;

/// What models cost, by the configuration here
#[derive(Debug, Args)]
pub struct PriceArgs {
    /// The configuration file [default: ./sproxy.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The list in effect, the most specific glob first: USD per million tokens, and whether an entry is of the file or
    /// built in
    List {
        /// Only the entry that this model takes
        #[arg(long)]
        model: Option<String>,
    },
    /// Which entry a model takes, and what a call with these tokens would cost
    #[command(
        after_help = "Example:\n  sproxy price test claude-sonnet-4-6 --input 12000 --cache-read 10k --output 800"
    )]
    Test(TestArgs),
    /// What a published list (LiteLLM's JSON) says otherwise, and with --write taking it over
    #[command(
        after_help = "Example:\n  sproxy price import model_prices_and_context_window.json --models 'claude-*' 'gpt-5*'"
    )]
    Import(ImportArgs),
}

#[derive(Debug, Args)]
struct TestArgs {
    /// The model, as calls name it
    model: String,
    /// Every input token, cached ones included
    #[arg(long, value_name = "N", value_parser = tokens)]
    input: u64,
    /// Every output token, reasoning included
    #[arg(long, value_name = "N", value_parser = tokens)]
    output: u64,
    /// Part of the input: read from the provider's cache
    #[arg(long, value_name = "N", value_parser = tokens, default_value = "0")]
    cache_read: u64,
    /// Part of the input: written to the provider's cache for 5 minutes
    #[arg(long, value_name = "N", value_parser = tokens, default_value = "0")]
    cache_write: u64,
    /// Part of the input: written to the provider's cache for 1 hour
    #[arg(long, value_name = "N", value_parser = tokens, default_value = "0")]
    cache_write_1h: u64,
    /// Part of the output: spent on reasoning
    #[arg(long, value_name = "N", value_parser = tokens, default_value = "0")]
    reasoning: u64,
}

fn tokens(text: &str) -> Result<u64, String> {
    number(text).ok_or_else(|| "a whole number such as 12000, 12k or 1e6, not less than 0".to_owned())
}

const LIST: [Column; 8] = [
    text("glob", "glob"),
    count("input", "input"),
    count("output", "output"),
    count("cache read", "cache_read"),
    count("cache write", "cache_write"),
    count("for 1 h", "cache_write_1h"),
    text("source", "source"),
    text("otherwise", "otherwise"),
];

const TEST: [Column; 7] = [
    text("model", "model"),
    text("entry", "glob"),
    text("source", "source"),
    yes_no("by default", "price_default"),
    yes_no("long context", "is_long_context"),
    nanousd("cost", "cost_nanousd"),
    count("nano-USD", "cost_nanousd"),
];

///
/// # Errors
/// Everything that is wrong with the configuration, and counts that no call can have.
pub fn run(args: &PriceArgs) -> Result<(), Error> {
    if let Action::Import(list) = &args.action {
        return import::run(list, args.config.as_deref(), Output::new(args.json));
    }
    let prices = config::load(&Sources { file: args.config.clone(), flags: Vec::new() })?.prices;
    let output = Output::new(args.json);
    match &args.action {
        Action::List { model } => {
            let entries: Vec<_> = match model {
                Some(model) => vec![prices.find(model)],
                None => prices.entries().collect(),
            };
            let rows: Vec<_> = entries.into_iter().map(|entry| row(entry, args.json)).collect();
            output.list(&rows, &LIST)
        }
        Action::Test(call) => {
            let tokens = call.tokens()?;
            let entry = prices.find(&call.model);
            let cost = entry.price.cost_nanousd(tokens);
            let answer = json!({
                "model": call.model,
                "glob": entry.glob(),
                "source": entry.source.as_str(),
                "price_default": entry.price.is_default(),
                "is_long_context": entry.price.long_context_of(tokens).is_some(),
                "cost_usd": usd_text(cost),
                "cost_nanousd": cost,
            });
            output.one(&answer, &TEST)
        }
        Action::Import(_) => Ok(()),
    }
}

impl TestArgs {
    fn tokens(&self) -> Result<Tokens, Error> {
        let cached = [self.cache_read, self.cache_write, self.cache_write_1h];
        if cached.into_iter().fold(0, u64::saturating_add) > self.input {
            let problem = "cached tokens are part of the input: --input has to be at least their sum";
            return Err(Error::Usage(problem.to_owned()));
        }
        if self.reasoning > self.output {
            let problem = "reasoning is part of the output: --output has to be at least --reasoning";
            return Err(Error::Usage(problem.to_owned()));
        }
        Ok(Tokens {
            input: self.input,
            output: self.output,
            cache_read: self.cache_read,
            cache_write: self.cache_write,
            cache_write_1h: self.cache_write_1h,
            reasoning: self.reasoning,
        })
    }
}
