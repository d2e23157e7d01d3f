//! `groups`, `admin_groups` and `allowed_groups` of a table: what groups elsewhere mean here.

use std::collections::BTreeMap;

use figment::value::{Tag, Value};

use super::table::{Reading, Table, text_of};
use crate::domain::group_mapping::GroupMapping;

pub(super) fn read(table: &Table<'_>, reading: &Reading<'_>, tag: Tag) -> GroupMapping {
    GroupMapping {
        groups: groups(table, reading, tag),
        admin_groups: table.list("admin_groups"),
        allowed_groups: table.list("allowed_groups"),
    }
}

fn groups(table: &Table<'_>, reading: &Reading<'_>, tag: Tag) -> BTreeMap<String, String> {
    let path = table.path("groups");
    let entries = match table.value("groups") {
        None => return BTreeMap::new(),
        Some(Value::Dict(_, entries)) => entries,
        Some(_) => {
            reading.wrong(&path, tag, "has to be a table such as { \"llm-devs\" = \"devs\" }");
            return BTreeMap::new();
        }
    };
    let named = entries.iter().filter_map(|(theirs, ours)| match text_of(ours) {
        Some(ours) if !ours.is_empty() => Some((theirs.clone(), ours)),
        _ => {
            reading.wrong(
                &format!("{path}.{theirs}"),
                ours.tag(),
                "has to be the name of a group of this gateway",
            );
            None
        }
    });
    named.collect()
}
