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
