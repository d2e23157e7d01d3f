//! Reading every setting out of the layers.

use std::net::SocketAddr;
use std::path::PathBuf;

use figment::value::{Dict, Tag, Value};
use figment::{Figment, Profile, Provider};

use super::environment::Environment;
use super::keys::Known;
use super::layers::{DEFAULTS, DEFAULTS_ORIGIN, Layers, Sources};
use super::problems::Problems;
use super::sections::Config;
use super::table::{Reading, Table, text_of};
use super::{alerts, capabilities, cluster, models, node, prices, proxy, targets, telemetry};
use crate::domain::secret::Secret;

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
    load_layers(Layers::of(sources, environment, None), environment)
}

/// Reads the same configuration again, with what files of secrets hold now.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_secrets_again(sources: &Sources, before: &Config) -> Result<Config, Problems> {
    let environment = Environment::of_process();
    let text = before.text.as_ref().map(|text| text.expose().to_owned());
    load_layers(Layers::of(sources, &environment, text), &environment)
}

fn load_layers(layers: Layers, environment: &Environment) -> Result<Config, Problems> {
    let Layers { figment, mut problems, file_is_missing, text } = layers;
    let settings = settings(&figment);
    let reading = Reading::new(&figment, environment);
    let nothing = Dict::new();
    let section = |name: &str| match settings.get(name) {
        Some(Value::Dict(tag, settings)) => Table::new(&reading, name, settings, *tag),
        _ => Table::new(&reading, name, &nothing, Tag::Default),
    };
    let upstream = proxy::upstream(&section("upstream"), environment);
    let config = Config {
        node: node::node(&section("node")),
        http: node::http(&section("http")),
        cluster: cluster::read(&section("cluster")),
        store: node::store(&section("store"), &section("node")),
        usage: node::usage(&section("usage")),
        auth: node::auth(&section("auth"), &reading, &upstream),
        backup: node::backup(&section("backup"), &section("node"), &section("store")),
        log: node::log(&section("log")),
        telemetry: telemetry::read(&section("telemetry")),
        targets: targets::read(&reading, settings.get("targets"), &upstream),
        alerting: alerts::alerting(&section("alerting")),
        alerts: alerts::read(&reading, settings.get("alerts"), &upstream),
        upstream,
        models: models::read(&reading, settings.get("models")),
        prices: prices::read(&reading, settings.get("prices")),
        capabilities: capabilities::read(&reading, settings.get("capabilities")).into(),
        text: text.map(Secret::new),
        files: reading.files(),
    };
    let found = reading.into_problems();
    // Without the file, what is missing says nothing.
    problems.extend(found.into_iter().filter(|found| !file_is_missing || found.origin != DEFAULTS_ORIGIN));
    if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
}

/// `node.data_dir` alone, as far as it can be read: a command that only looks for a node's files does not need its
/// secrets.
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

/// Variables of the environment that were probably meant as settings, and are not: a sentence for each.
#[must_use]
pub fn near_misses(sources: &Sources) -> Vec<String> {
    near_misses_in(sources, &Environment::of_process())
}

fn near_misses_in(sources: &Sources, environment: &Environment) -> Vec<String> {
    let defaults: Dict = toml::from_str(DEFAULTS).unwrap_or_default();
    let known = Known::of(&defaults);
    // A setting such as `secret_env` may name one on purpose.
    let settings = settings(&Layers::of(sources, environment, None).figment);
    let sections = settings.values().filter_map(Value::as_dict);
    let named: Vec<&str> = sections
        .flat_map(|section| section.iter().filter(|(key, _)| key.ends_with("_env")))
        .filter_map(|(_, value)| value.as_str())
        .collect();
    let near = environment.near_misses(known.settings()).into_iter();
    near.filter(|(name, ..)| !named.contains(&name.as_str()))
        .map(|(name, key, right)| {
            format!("{name} is no configuration and is ignored: for {key} write {right}")
        })
        .collect()
}

fn one_setting(key: &str) -> Option<String> {
    let layers = Layers::of(&Sources::default(), &Environment::of_process(), None);
    let value = layers.figment.find_value(key).ok()?;
    text_of(&value).filter(|text| !text.is_empty())
}

/// The merged values, each with its origin.
fn settings(figment: &Figment) -> Dict {
    // No layer can fail: what could not be read has become a problem before.
    figment.data().ok().and_then(|mut profiles| profiles.remove(&Profile::Default)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_with_one_underscore_is_told_unless_a_setting_names_it() {
        let environment = |variables: &[(&'static str, &'static str)]| variables.iter().copied().collect();
        let told = |variables| near_misses_in(&Sources::default(), &environment(variables));
        let said = told(&[
            ("SPROXY_HTTP_LISTEN", "127.0.0.1:1"),
            ("SPROXY_TOKEN", "x"),
            ("SPROXY_ADMIN_PASSWORD", "x"),
        ]);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("SPROXY_HTTP_LISTEN") && said[0].contains("SPROXY_HTTP__LISTEN"),
            "{said:?}"
        );
        let named =
            told(&[("SPROXY_CLUSTER_SECRET", "x"), ("SPROXY_CLUSTER__SECRET_ENV", "SPROXY_CLUSTER_SECRET")]);
        assert!(named.is_empty(), "{named:?}");
    }
}
