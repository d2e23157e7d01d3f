//! Reading every setting out of the layers.

use std::net::SocketAddr;
use std::path::PathBuf;

use figment::value::{Dict, Tag, Value};
use figment::{Figment, Profile, Provider};

use super::environment::Environment;
use super::layers::{DEFAULTS_ORIGIN, Layers, Sources};
use super::problems::Problems;
use super::sections::Config;
use super::table::{Reading, Table, text_of};
use super::{cluster, node, prices, targets};

/// Reads and checks a configuration, with the environment of this process.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    load_from(sources, &Environment::of_process())
}

/// Reads and checks a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_from(sources: &Sources, environment: &Environment) -> Result<Config, Problems> {
    let Layers { figment, mut problems, file_is_missing } = Layers::of(sources, environment);
    let settings = settings(&figment);
    let reading = Reading::new(&figment, environment);
    let nothing = Dict::new();
    let section = |name: &str| match settings.get(name) {
        Some(Value::Dict(tag, settings)) => Table::new(&reading, name, settings, *tag),
        _ => Table::new(&reading, name, &nothing, Tag::Default),
    };
    let config = Config {
        node: node::node(&section("node")),
        http: node::http(&section("http")),
        cluster: cluster::read(&section("cluster")),
        store: node::store(&section("store"), &section("node")),
        usage: node::usage(&section("usage")),
        auth: node::auth(&section("auth")),
        log: node::log(&section("log")),
        targets: targets::read(&reading, settings.get("targets")),
        prices: prices::read(&reading, settings.get("prices")),
    };
    let found = reading.into_problems();
    // Without the file, what is missing says nothing.
    problems.extend(found.into_iter().filter(|found| !file_is_missing || found.origin != DEFAULTS_ORIGIN));
    if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
}

/// `node.data_dir` alone, as far as it can be read: who only looks for a node's files here does not need its secrets.
#[must_use]
pub fn data_dir() -> PathBuf {
    one_setting("node.data_dir").map_or_else(|| PathBuf::from("./data"), PathBuf::from)
}

/// `http.listen` and `http.tls_cert` alone, likewise.
#[must_use]
pub fn listen() -> (Option<SocketAddr>, Option<PathBuf>) {
    let address = one_setting("http.listen").and_then(|text| text.parse().ok());
    (address, one_setting("http.tls_cert").map(PathBuf::from))
}

fn one_setting(key: &str) -> Option<String> {
    let layers = Layers::of(&Sources::default(), &Environment::of_process());
    let value = layers.figment.find_value(key).ok()?;
    text_of(&value).filter(|text| !text.is_empty())
}

/// The merged values, each still knowing where it came from.
fn settings(figment: &Figment) -> Dict {
    // No layer can fail: what could not be read has become a problem before.
    figment.data().ok().and_then(|mut profiles| profiles.remove(&Profile::Default)).unwrap_or_default()
}
