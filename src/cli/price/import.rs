//! `sproxy price import`: what a published list says otherwise than the one in effect here, and taking it over.

use std::path::{Path, PathBuf};

use clap::Args;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde_json::{Value, json};

use super::published::{self, Published};
use super::rows::{rates, row as priced};
use crate::cli::confirm::confirm;
use crate::cli::connect::TomlFile;
use crate::cli::error::Error;
use crate::cli::output::{Column, Output, count, note, text};
use crate::cli::whole_file;
use crate::config::prices::toml_line;
use crate::config::{self, Sources};
use crate::domain::price::{Entry, PriceList};

/// Where a node looks for its configuration if nobody says.
const LIST_FILE: &str = "sproxy.toml";
/// The largest list that is read; LiteLLM's own has 2 MB.
const LIST_MAX: u64 = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The list: a file such as LiteLLM's `model_prices_and_context_window.json`
    list: PathBuf,
    /// Only these models: globs over their names
    #[arg(long, value_name = "GLOB", num_args = 1.., required = true)]
    models: Vec<String>,
    /// Write what differs into the configuration file
    #[arg(long)]
    write: bool,
    /// Do not ask before
    #[arg(long, requires = "write")]
    yes: bool,
}

const DIFFERENCES: [Column; 9] = [
    text("model", "model"),
    text("", "list"),
    count("input", "input"),
    count("output", "output"),
    count("cache read", "cache_read"),
    count("cache write", "cache_write"),
    count("for 1 h", "cache_write_1h"),
    text("otherwise", "otherwise"),
    text("not taken", "not_taken"),
];

///
/// # Errors
/// A list or a configuration that cannot be read, and a file that cannot be written.
pub(super) fn run(args: &ImportArgs, file: Option<&Path>, output: Output) -> Result<(), Error> {
    let models = published(args)?;
    let sources = || Sources { file: file.map(Path::to_owned), flags: Vec::new() };
    let prices = config::load(&sources())?.prices;
    let differing: Vec<&Published> = models.iter().filter(|model| !is_same(&model.entry, &prices)).collect();
    let rows: Vec<Value> = differing.iter().flat_map(|model| difference(model, &prices)).collect();
    output.list(&rows, &DIFFERENCES)?;
    if differing.is_empty() {
        note(&format!("{} models of the list cost here what they cost there", models.len()));
        return Ok(());
    }
    if !args.write {
        note(&format!(
            "{} of {} models cost something else there; nothing was changed: --write takes them over",
            differing.len(),
            models.len()
        ));
        return Ok(());
    }
    let path = file.map_or_else(|| PathBuf::from(LIST_FILE), Path::to_owned);
    let question = format!("Write {} prices into {}?", differing.len(), path.display());
    if !args.yes && !confirm(&question, "give --yes")? {
        note("nothing was changed");
        return Ok(());
    }
    write(&path, &differing)?;
    note(&format!(
        "{} has them; `sproxy config reload` makes a node that runs take them over. What was booked before keeps its price",
        path.display()
    ));
    Ok(())
}

/// The models of the list that are meant.
fn published(args: &ImportArgs) -> Result<Vec<Published>, Error> {
    let shown = args.list.display().to_string();
    let size = std::fs::metadata(&args.list).map_err(Error::io(shown.clone()))?.len();
    if size > LIST_MAX {
        return Err(Error::Usage(format!("{shown}: it has more than {LIST_MAX} bytes")));
    }
    let text = std::fs::read_to_string(&args.list).map_err(Error::io(shown.clone()))?;
    let meant = globs(&args.models)?;
    let all = published::read(&text).map_err(|reason| Error::Usage(format!("{shown}: {reason}")))?;
    let models: Vec<_> =
        all.into_iter().filter(|(name, _)| meant.is_match(name)).map(|(_, model)| model).collect();
    if models.is_empty() {
        let globs = args.models.join(", ");
        return Err(Error::Usage(format!("{shown} has no model that costs by the token and fits {globs}")));
    }
    Ok(models)
}

fn globs(globs: &[String]) -> Result<GlobSet, Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let read = Glob::new(glob).map_err(|error| Error::Usage(format!("--models {glob}: {error}")))?;
        set.add(read);
    }
    set.build().map_err(|error| Error::Usage(format!("--models: {error}")))
}

/// Whether a call costs the same by both, however the entries are written.
fn is_same(entry: &Entry, prices: &PriceList) -> bool {
    let Some(here) = prices.known(entry.glob()) else { return false };
    let has_all = entry.multipliers.iter().all(|there| here.multipliers.contains(there));
    here.price.base == entry.price.base && here.price.long_context == entry.price.long_context && has_all
}

/// A model's price here, and there.
fn difference(model: &Published, prices: &PriceList) -> [Value; 2] {
    let name = model.entry.glob();
    let here = prices.find(name);
    let row = |list: &str, entry: &Entry| {
        let mut row = priced(entry, false);
        row["model"] = name.into();
        row["list"] = list.into();
        row
    };
    let now = if here.price.is_default() { "unknown here" } else { "here" };
    let mut there = row("there", &model.entry);
    there["not_taken"] = json!(model.not_taken);
    there["provider"] = model.provider.as_str().into();
    let mut here = row(now, here);
    if now != "here" {
        // What holds instead is no price of the model's.
        for class in rates(&model.entry.price.base).as_object().into_iter().flat_map(|rates| rates.keys()) {
            here[class] = Value::Null;
        }
    }
    [here, there]
}

/// Writes the entries into the file, which has to be one that a node starts with; else it stays as it was.
fn write(path: &Path, models: &[&Published]) -> Result<(), Error> {
    let shown = path.display().to_string();
    let before = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::io(shown)(error)),
    };
    let wrong = |reason: String| Error::Usage(format!("{shown}: {reason}"));
    let mut file = TomlFile::parse(&before).map_err(wrong)?;
    for model in models {
        let line = toml_line(&model.entry);
        let value = line.split_once(" = ").map_or("", |(_, value)| value);
        file.set(&["prices".to_owned(), model.entry.glob().to_owned()], value).map_err(wrong)?;
    }
    let mode = if before.is_empty() { whole_file::PRIVATE } else { whole_file::mode(path) };
    whole_file::write(path, file.text().as_bytes(), mode).map_err(Error::io(shown.clone()))?;
    let sources = Sources { file: Some(path.to_owned()), flags: Vec::new() };
    if let Err(error) = config::load(&sources) {
        whole_file::write(path, before.as_bytes(), mode).map_err(Error::io(shown))?;
        return Err(error.into());
    }
    Ok(())
}
