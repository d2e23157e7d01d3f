//! Holds the source to the architecture: floors, no circles, small files, each third-party crate in its place.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use source::File;
use sproxy::domain::provider::Provider;

/// Each module and its floor; a module imports strictly lower floors.
const FLOORS: [(&str, u8); 28] = [
    ("domain", 0),
    ("json", 0),
    ("crypto", 1),
    ("cloud", 2),
    ("websocket", 2),
    ("dialect", 3),
    ("config", 4),
    ("inbound", 4),
    ("metering", 4),
    ("store", 4),
    ("telemetry", 4),
    ("transport", 4),
    ("wire", 4),
    ("accounts", 5),
    ("ledger", 5),
    ("quota", 5),
    ("upstream", 5),
    ("cluster", 6),
    ("ldap", 6),
    ("oidc", 6),
    ("proxy", 6),
    // It looks at both flows, and neither waits for it.
    ("alerts", 7),
    ("grpc", 8),
    ("http", 8),
    ("mock", 8),
    ("ui", 9),
    ("node", 10),
    ("cli", 11),
];

/// The highest floor of the lower of the two crates.
const FOUNDATION: u8 = 5;

/// Third-party paths, and the only places that may use them.
const PLACES: [(&str, &[&str]); 38] = [
    ("argon2", &["crypto"]),
    ("aws_lc_rs", &["crypto"]),
    ("axum", &["http", "mock", "ui"]),
    ("backoff", &["cluster::retry"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("comfy_table", &["cli"]),
    ("figment", &["config"]),
    ("h2", &["transport", "mock"]),
    ("hyper::client", &["transport"]),
    ("hyper_util::client", &["transport"]),
    ("indicatif", &["cli"]),
    ("jsonwebtoken", &["crypto"]),
    ("ldap3", &["ldap"]),
    ("libmimalloc_sys", &["node::allocator"]),
    ("maud", &["ui"]),
    ("migrations", &["store"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("procfs", &["telemetry"]),
    ("prost", &["wire", "cluster", "grpc"]),
    ("prost_types", &["wire", "cluster", "grpc"]),
    // What the exporter of spans speaks HTTP by.
    ("reqwest", &["cli", "telemetry::spans"]),
    ("rpassword", &["cli"]),
    ("rusqlite", &["store"]),
    ("sea_orm", &["store"]),
    // Its modules are named as the crate's own, so that their floors are seen.
    ("sproxy_foundation", &[]),
    ("sqlx", &["store"]),
    ("tokio_tungstenite", &["websocket"]),
    ("toml_edit", &["cli::connect"]),
    ("tonic::transport::Channel", &["cluster"]),
    ("tonic::transport::Endpoint", &["cluster"]),
    ("tonic::transport::Server", &["grpc"]),
    ("tonic_health", &["grpc"]),
    ("tonic_reflection", &["grpc"]),
    ("url", &["config::origins", "http::oauth", "oidc::provider", "ui"]),
    ("wide", &["json"]),
];

/// Who tells providers apart beside `dialect`: what names them, what imitates them, what imitates their clients and what
/// writes the settings of those.
const KNOW_PROVIDERS: [&str; 5] =
    ["dialect", "domain::provider", "mock", "cli::local_cluster", "cli::connect::clients"];

/// The longest that a file may be.
const LINES_MAX: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The libraries' files, without the roots and without files of tests.
fn library() -> Vec<File> {
    let roots = ["src/lib.rs", "src/foundation.rs", "src/foundation/build.rs", "src/main.rs"];
    let mut files = source::files_below(root(), &root().join("src"));
    files.retain(|(name, _)| !roots.contains(&name.as_str()) && !name.ends_with("/tests.rs"));
    source::read(&files)
}

#[test]
fn a_module_imports_strictly_lower_floors() {
    assert_none(&floor_breaches(&library()));
}

/// Each module is in one crate, and its floor says in which.
#[test]
fn the_lower_floors_are_the_foundation() {
    for (name, is_below) in [("src/foundation.rs", true), ("src/lib.rs", false)] {
        let text = std::fs::read_to_string(root().join(name)).expect(name);
        let declared: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
            .collect();
        let floors = FLOORS.iter().filter(|(_, floor)| (*floor <= FOUNDATION) == is_below);
        assert_eq!(declared, floors.map(|(module, _)| *module).collect(), "{name}");
    }
}

#[test]
fn the_files_of_a_module_form_no_circle() {
    assert_none(&circles(&library()));
}

#[test]
fn each_third_party_crate_has_its_place() {
    assert_none(&misplaced(&library()));
}

#[test]
fn nobody_but_the_dialects_tells_providers_apart() {
    assert_none(&providers_told_apart(&library()));
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let mut files = source::files_below(root(), &root().join("src"));
    files.extend(source::files_below(root(), &root().join("migrations")));
    let long =
        files.iter().map(|(name, text)| (name, text.lines().count())).filter(|(_, lines)| *lines > LINES_MAX);
    assert_none(&long.map(|(name, lines)| format!("{name} has {lines} lines")).collect::<Vec<_>>());
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let directories = ["src", "migrations", "tests", "benches", "fuzz/src", "fuzz/fuzz_targets"];
    let files = directories.map(|directory| root().join(directory));
    let files = files.iter().filter(|path| path.is_dir()).flat_map(|path| source::files_below(root(), path));
    let silent =
        files.filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| format!("{name} does not"));
    assert_none(&silent.collect::<Vec<_>>());
}

/// The table "Where to look": each path is there, and what is named beside it is defined in one of its row's files.
#[test]
fn the_readers_guide_leads_somewhere() {
    let guide = std::fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let rows: Vec<&str> = guide
        .lines()
        .skip_while(|line| *line != "//! # Where to look")
        .filter(|line| line.starts_with("//! | "))
        .collect();
    assert!(rows.len() > 6, "the guide has its table");
    let mut missing = Vec::new();
    for row in rows {
        let marked: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let (paths, names): (Vec<&str>, Vec<&str>) =
            marked.iter().partition(|text| text.contains('/') || **text == "migrations");
        missing.extend(
            paths
                .iter()
                .filter(|path| !root().join(path).exists())
                .map(|path| format!("{path} is not there")),
        );
        let files = paths.iter().filter_map(|path| std::fs::read_to_string(root().join(path)).ok());
        let text: String = files.collect();
        let is_defined = |name: &str| {
            let last = name.rsplit("::").next().unwrap_or(name);
            ["fn", "struct", "enum", "trait"].iter().any(|kind| {
                text.contains(&format!("{kind} {last}("))
                    || text.contains(&format!("{kind} {last} "))
                    || text.contains(&format!("{kind} {last}<"))
            })
        };
        missing.extend(
            names
                .iter()
                .filter(|name| !is_defined(name))
                .map(|name| format!("`{name}` is not where the guide says")),
        );
    }
    assert_none(&missing);
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n  {}\n", problems.join("\n  "));
}

fn floor_breaches(files: &[File]) -> Vec<String> {
    let floors = BTreeMap::from(FLOORS);
    let mut breaches = Vec::new();
    for file in files {
        let Some(own) = floors.get(file.module[0].as_str()) else {
            breaches.push(format!("{}: the module `{}` is on no floor", file.name, file.module[0]));
            continue;
        };
        for used in file.uses.iter().filter(|used| used.path[0] == "crate" && used.path.len() > 1) {
            let other = used.path[1].as_str();
            if other == file.module[0] {
                continue;
            }
            match floors.get(other) {
                Some(floor) if floor < own => {}
                Some(floor) => breaches.push(format!(
                    "{}:{}: `{}` (floor {own}) uses `{other}` (floor {floor}); only lower floors may be used",
                    file.name, used.line, file.module[0]
                )),
                None => breaches.push(format!("{}:{}: `{other}` is on no floor", file.name, used.line)),
            }
        }
    }
    breaches
}

fn misplaced(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        let here = file.module.join("::");
        for used in &file.uses {
            let path = used.path.join("::");
            let lies_in = |place: &str| within(&here, place);
            let rule = PLACES.iter().find(|(third_party, _)| within(&path, third_party));
            if let Some((third_party, places)) =
                rule.filter(|(_, places)| !places.iter().any(|place| lies_in(place)))
            {
                let places = places.join(", ");
                breaches.push(format!("{}:{}: `{third_party}` belongs to {places}", file.name, used.line));
            }
        }
    }
    breaches
}

/// Where a provider is named by its variant: a place that a new one would be forgotten at.
fn providers_told_apart(files: &[File]) -> Vec<String> {
    let variants = Provider::ALL.map(|provider| format!("{provider:?}"));
    let others = files.iter().filter(|file| {
        let here = file.module.join("::");
        !KNOW_PROVIDERS.iter().any(|place| within(&here, place))
    });
    let named = others.flat_map(|file| file.uses.iter().map(move |used| (file, used))).filter(|(_, used)| {
        used.path.len() > 1 && used.path.last().is_some_and(|last| variants.contains(last))
    });
    named
        .map(|(file, used)| {
            format!("{}:{}: `{}` belongs to `dialect`", file.name, used.line, used.path.join("::"))
        })
        .collect()
}

/// Whether `path` is `place` or lies below it.
fn within(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn circles(files: &[File]) -> Vec<String> {
    let uses = file_uses(files);
    let (mut circles, mut done) = (BTreeSet::new(), BTreeSet::new());
    for file in uses.keys() {
        follow(file, &uses, &mut Vec::new(), &mut done, &mut circles);
    }
    circles.into_iter().collect()
}

/// Which file of a module uses which others of it. A module file that only passes a name on does not use it; who takes
/// the name from there uses the file that it comes from.
fn file_uses(files: &[File]) -> BTreeMap<&str, BTreeSet<&str>> {
    let by_module: BTreeMap<&[String], &str> =
        files.iter().map(|file| (file.module.as_slice(), file.name.as_str())).collect();
    let passed_on = source::passed_on(files);
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        let own = uses.entry(&file.name).or_default();
        for used in file.uses.iter().filter(|used| used.path[0] == "crate" && !used.passes_on) {
            let mut path = &used.path[1..];
            while path.len() > 1 {
                let split = (1..path.len()).rev().find(|split| by_module.contains_key(&path[..*split]));
                let Some(split) = split else { break };
                match passed_on.get(&(path[..split].to_vec(), path[split].clone())) {
                    Some(origin) if origin[0] == "crate" && origin[1..] != *path => path = &origin[1..],
                    _ => break,
                }
            }
            let target = (1..=path.len()).rev().find_map(|length| by_module.get(&path[..length]));
            own.extend(target.filter(|target| **target != file.name && path[0] == file.module[0]));
        }
    }
    uses
}

fn follow<'f>(
    file: &'f str,
    uses: &BTreeMap<&'f str, BTreeSet<&'f str>>,
    way: &mut Vec<&'f str>,
    done: &mut BTreeSet<&'f str>,
    circles: &mut BTreeSet<String>,
) {
    if let Some(begin) = way.iter().position(|passed| *passed == file) {
        circles.insert(format!("{} → {file}", way[begin..].join(" → ")));
        return;
    }
    if done.contains(file) {
        return;
    }
    way.push(file);
    for next in uses.get(file).into_iter().flatten() {
        follow(next, uses, way, done, circles);
    }
    way.pop();
    done.insert(file);
}

/// The rules themselves, tried on sources that break them.
mod rules {
    use super::*;

    fn library_of(files: &[(&str, &str)]) -> Vec<File> {
        source::read(
            &files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_higher_floor_is_seen_wherever_it_is_named() {
        for text in [
            "use crate::http::Door;",
            "use crate::{domain::Id, http::{Door, Bell}};",
            "fn open() { crate::http::open(); }",
            "fn open(door: &super::http::Door) {}",
            "use crate::proxy;",
        ] {
            let files =
                library_of(&[("src/proxy/mod.rs", ""), ("src/http/mod.rs", ""), ("src/cluster.rs", text)]);
            assert!(!floor_breaches(&files).is_empty(), "{text}");
        }
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = r##"
            //! [`crate::http`]
            /* crate::http::x */
            use crate::{config, domain::ids::Id};
            const WORDS: (&str, &str, char) = ("crate::http::x", r#"crate::"http"::x"#, '"');
            fn lives<'a>(x: &'a str) -> &'a str { x }
            #[cfg(test)]
            mod tests { use crate::http::Door; fn f() { if true {} } }
        "##;
        assert_eq!(floor_breaches(&library_of(&[("src/cluster/mod.rs", text)])), Vec::<String>::new());
    }

    #[test]
    fn a_crate_out_of_its_place_is_seen() {
        let files = library_of(&[
            ("src/cluster/retry.rs", "use backoff::ExponentialBackoff;"),
            ("src/cluster/sync.rs", "fn f() { backoff::future::retry(); }"),
            ("src/proxy/mod.rs", "use hyper::{body::Body, client::conn};"),
        ]);
        let seen = misplaced(&files);
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen[0].contains("cluster/sync.rs:1") && seen[1].contains("proxy/mod.rs:1"), "{seen:?}");
    }

    #[test]
    fn a_provider_told_apart_outside_its_dialect_is_seen() {
        let files = library_of(&[
            ("src/dialect/mod.rs", "fn f(p: Provider) { match p { Provider::Gemini => {} } }"),
            ("src/proxy/mod.rs", "fn f(p: Provider) -> bool { p == Provider::Openai }"),
            ("src/http/mod.rs", "use crate::domain::provider::Provider::{self, Ollama};"),
            ("src/quota/mod.rs", "fn f() { Provider::ALL; }"),
        ]);
        let seen = providers_told_apart(&files);
        assert!(seen.len() == 2 && seen[0].contains("proxy") && seen[1].contains("http"), "{seen:?}");
    }

    #[test]
    fn a_circle_is_seen_even_through_names_that_are_passed_on() {
        let files = library_of(&[
            ("src/quota/mod.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;"),
            ("src/quota/a.rs", "use super::B;\npub struct A;"),
            ("src/quota/b.rs", "use super::a::A;\npub struct B;"),
        ]);
        assert_eq!(circles(&files), ["src/quota/a.rs → src/quota/b.rs → src/quota/a.rs"]);
    }

    #[test]
    fn passing_names_on_is_no_circle() {
        let files = library_of(&[
            ("src/quota/mod.rs", "mod a;\npub use a::A;\npub struct Shared;"),
            ("src/quota/a.rs", "use super::Shared;\npub struct A(Shared);"),
        ]);
        assert_eq!(circles(&files), Vec::<String>::new());
    }
}
