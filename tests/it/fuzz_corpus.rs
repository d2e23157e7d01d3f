//! What is fuzzed (`fuzz/`), played over again: the seeds, and every input in the corpora, among them those that once
//! showed a fault.

#[path = "../../fuzz/src/lib.rs"]
mod fuzzed;

use std::path::{Path, PathBuf};

use fuzzed::{TARGETS, seeds};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn fixtures() -> PathBuf {
    root().join("tests/fixtures")
}

#[test]
fn seeds_of_every_target_hold() {
    for (target, check) in TARGETS {
        let seeds = seeds::of(target, &fixtures());
        assert!(!seeds.is_empty(), "{target} has seeds");
        for seed in seeds {
            println!("{target}: {}", String::from_utf8_lossy(&seed));
            check(&seed);
        }
    }
}

#[test]
fn what_fuzzing_has_found_holds() {
    for (target, check) in TARGETS {
        let corpus = root().join("fuzz/corpus").join(target);
        let mut files: Vec<_> =
            std::fs::read_dir(&corpus).into_iter().flatten().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            println!("{}", file.display());
            check(&std::fs::read(&file).unwrap());
        }
    }
}

/// For `fuzz/run`: seeds as files, and libFuzzer's dictionary.
#[test]
#[ignore = "writes files"]
fn writes_seeds_and_words() {
    let directory = root().join("fuzz");
    for (target, _) in TARGETS {
        let to = directory.join("seeds").join(target);
        std::fs::create_dir_all(&to).unwrap();
        for (number, seed) in seeds::of(target, &fixtures()).iter().enumerate() {
            std::fs::write(to.join(format!("{number:02}")), seed).unwrap();
        }
    }
    std::fs::write(directory.join("words.dict"), seeds::dictionary()).unwrap();
}

fn manifest(path: &str) -> toml::Table {
    std::fs::read_to_string(root().join(path)).unwrap().parse().unwrap()
}

#[test]
fn every_target_has_its_binary() {
    let manifest = manifest("fuzz/Cargo.toml");
    let binaries: Vec<(&str, &str)> = manifest["bin"]
        .as_array()
        .unwrap()
        .iter()
        .map(|binary| (binary["name"].as_str().unwrap(), binary["path"].as_str().unwrap()))
        .collect();
    let files: Vec<String> = TARGETS.iter().map(|(target, _)| format!("fuzz_targets/{target}.rs")).collect();
    let expected: Vec<(&str, &str)> =
        TARGETS.iter().zip(&files).map(|((target, _), file)| (*target, &**file)).collect();
    assert_eq!(binaries, expected);
    for (target, file) in expected {
        let source = std::fs::read_to_string(root().join("fuzz").join(file)).unwrap();
        assert!(source.contains(&format!("{target}::check(")), "{file} fuzzes something else");
    }
}

/// Else another library would be fuzzed than the one that is used.
#[test]
fn what_targets_use_has_the_versions_of_the_package() {
    let version = |entry: &toml::Value| match entry {
        toml::Value::Table(table) => table.get("version").and_then(toml::Value::as_str).map(str::to_owned),
        entry => entry.as_str().map(str::to_owned),
    };
    let (fuzzed, package) = (manifest("fuzz/Cargo.toml"), manifest("Cargo.toml"));
    for (name, entry) in fuzzed["dependencies"].as_table().unwrap() {
        if name == "sproxy" || name == "libfuzzer-sys" {
            continue;
        }
        let kinds =
            [&package["dependencies"], &package["dev-dependencies"], &package["workspace"]["dependencies"]];
        let own = kinds.iter().find_map(|kind| kind.get(name).and_then(version));
        assert_eq!(version(entry), Some(own.unwrap_or_else(|| panic!("{name} is not ours"))), "{name}");
    }
}
