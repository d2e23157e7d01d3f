//! `[[models]]`: names of the operator's own, and what stands behind them.

use std::collections::BTreeSet;

use figment::value::{Dict, Value};

use super::sections::ModelConfig;
use super::table::{Reading, Table};

const KNOWN: [&str; 2] = ["name", "route"];
/// Models behind one name.
const ROUTE_MAX: usize = 16;

/// The configured names.
pub(super) fn read(reading: &Reading<'_>, written: Option<&Value>) -> Vec<ModelConfig> {
    let entries = match written {
        None => return Vec::new(),
        Some(Value::Array(_, entries)) => entries,
        Some(other) => {
            reading.wrong(
                "models",
                other.tag(),
                "has to be a list, in the file: write [[models]] above each",
            );
            return Vec::new();
        }
    };
    let mut models: Vec<ModelConfig> = Vec::new();
    let mut names = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let place = format!("models[{at}]");
        let Value::Dict(tag, settings) = entry else {
            reading.wrong(&place, entry.tag(), "has to be a table");
            continue;
        };
        let table = Table::new(reading, place, settings, *tag);
        table.check_keys(&KNOWN);
        let model = model(&table, settings);
        if !model.name.is_empty() && !names.insert(model.name.clone()) {
            table.wrong("name", format!("`{}` is there twice", model.name));
        }
        models.push(model);
    }
    for (at, model) in models.iter().enumerate() {
        // One level: a route is what a person reads in one place.
        if let Some(nested) = model.route.iter().find(|name| **name != model.name && names.contains(*name)) {
            let tag = entries.get(at).map_or_else(Default::default, Value::tag);
            reading.wrong(
                &format!("models[{at}].route"),
                tag,
                format!("`{nested}` is a name of [[models]] itself: name the models behind it"),
            );
        }
    }
    models
}

fn model(table: &Table<'_>, settings: &Dict) -> ModelConfig {
    let name = table.text("name");
    if name.is_empty() {
        table.wrong("name", "has to be set, such as \"coder\"");
    }
    let route = table.list("route");
    if !settings.contains_key("route") || route.is_empty() {
        table.wrong("route", "has to be a list of models, such as [\"claude-sonnet-5\"]");
    }
    if route.len() > ROUTE_MAX {
        table.wrong("route", format!("has more than {ROUTE_MAX} models"));
    }
    if route.iter().any(String::is_empty) {
        table.wrong("route", "has an empty name in it");
    }
    ModelConfig { name, route }
}
