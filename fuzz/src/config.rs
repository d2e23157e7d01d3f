//! Configuration: whatever a file says, reading it ends with all that is wrong or with a configuration; and one that is
//! shown is one that can be written, and means the same.

use std::cell::RefCell;
use std::io::{Seek, SeekFrom, Write};

use sproxy::config::{Config, Environment, Problems, Sources, load_from, show, show_sections};
use tempfile::NamedTempFile;

/// How secrets are shown, and ones that are right in their places.
const SHOWN: [(&str, &str); 3] = [
    ("api_key = \"***\"", "api_key = \"0123456789abcdef\""),
    ("\nsecret = \"***\"", "\nsecret = \"0123456789abcdef0123456789abcdef\""),
    ("\n[store]\nurl = \"***\"", "\n[store]\nurl = \"postgres://user:password@host/database\""),
];

/// The text of a configuration file.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // Files that never end.
    if text.contains("dev/") || text.contains("proc/") || text.contains("sys/") {
        return;
    }
    let config = match loaded(text) {
        Ok(config) => config,
        Err(problems) => {
            assert!(!problems.0.is_empty(), "who refuses says why");
            for problem in &problems.0 {
                assert!(!problem.key.is_empty() && !problem.origin.is_empty() && !problem.reason.is_empty());
            }
            return;
        }
    };
    hides_secrets(&config);
    let shown = show(&config);
    let with_secrets = with_secrets(&shown);
    let again = match loaded(&with_secrets) {
        Ok(again) => again,
        Err(problems) => panic!("what is shown cannot be written: {problems}\n{with_secrets}"),
    };
    assert_eq!(shown_values(&show(&again)), shown_values(&shown), "what is shown means the same");
    assert_eq!(show_sections(&again), show_sections(&config));
}

/// Reads a file with this text, in an environment without a variable.
fn loaded(text: &str) -> Result<Config, Problems> {
    thread_local! {
        static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().expect("a file"));
    }
    FILE.with_borrow_mut(|file| {
        let written = file.as_file_mut();
        written.set_len(0).expect("empty");
        written.seek(SeekFrom::Start(0)).expect("its beginning");
        written.write_all(text.as_bytes()).expect("written");
        let sources = Sources { file: Some(file.path().to_owned()), flags: Vec::new() };
        load_from(&sources, &Environment::default())
    })
}

/// Secrets stand nowhere in what is printed for developers, unless it is no secret: it is shown, too.
fn hides_secrets(config: &Config) {
    let (shown, debug) = (show(config), format!("{config:?}"));
    let keys = config.targets.iter().flat_map(|target| {
        target.api_key.iter().chain(target.keys.iter().map(|key| &key.api_key)).chain(&target.proxy)
    });
    for secret in keys.chain(&config.cluster.secret) {
        let secret = secret.expose();
        let is_long = secret.len() >= 16;
        assert!(
            !is_long || shown.contains(secret) || !debug.contains(secret),
            "a secret is printed: {debug}"
        );
    }
}

/// A shown configuration with a secret wherever one is hidden.
fn with_secrets(shown: &str) -> String {
    SHOWN.iter().fold(shown.to_owned(), |text, (hidden, secret)| text.replace(hidden, secret))
}

/// Without where each price was written.
fn shown_values(shown: &str) -> String {
    let (settings, prices) = shown.split_once("\n[prices]\n").unwrap_or((shown, ""));
    let prices: Vec<&str> =
        prices.lines().map(|line| line.rsplit_once("  # ").map_or(line, |(entry, _)| entry)).collect();
    format!("{settings}\n{}", prices.join("\n"))
}
