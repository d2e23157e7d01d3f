//! The differences that are known, each with its reason: `differences.toml`.

use serde::Deserialize;
use serde_json::Value;

use crate::difference::Difference;

const FILE: &str = include_str!("../differences.toml");

/// A difference that is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The comparisons in which it occurs, as [`crate::pairs::comparison`] names them. It has to occur in each.
    pub of: Vec<String>,
    /// The cases in which it occurs: a golden file's name, or any, which is the default.
    #[serde(default = "anything")]
    pub case: String,
    /// Where it is; `*` stands for anything.
    pub path: String,
    /// JSON; `-` for nothing, `*` for anything, and `?`, which is the default, for either.
    #[serde(default = "either")]
    pub ours: String,
    #[serde(default = "either")]
    pub theirs: String,
    /// Who is right, or why it does not matter.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    difference: Vec<Pin>,
}

fn anything() -> String {
    "*".to_owned()
}

fn either() -> String {
    "?".to_owned()
}

/// Every difference that is known.
///
/// # Panics
/// The file cannot be read.
#[must_use]
pub fn all() -> Vec<Pin> {
    let file: File = toml::from_str(FILE).unwrap_or_else(|error| panic!("differences.toml: {error}"));
    for pin in &file.difference {
        assert!(!pin.reason.trim().is_empty(), "{} has no reason", pin.path);
    }
    file.difference
}

impl Pin {
    /// Whether it is this difference.
    #[must_use]
    pub fn is(&self, case: &str, difference: &Difference) -> bool {
        matches(&self.case, case)
            && matches(&self.path, &difference.path)
            && is_value(&self.ours, difference.ours.as_ref())
            && is_value(&self.theirs, difference.theirs.as_ref())
    }
}

/// What is expected is a value's JSON, in which `*` stands for any text.
fn is_value(expected: &str, value: Option<&Value>) -> bool {
    match (expected, value) {
        ("?", _) => true,
        ("-", value) => value.is_none(),
        ("*", value) => value.is_some(),
        (_, None) => false,
        (pattern, Some(value)) => matches(pattern, &value.to_string()),
    }
}

/// `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, behind)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(behind, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pattern_is_text_with_gaps() {
        assert!(matches("a[*].b*", "a[x].b") && matches("*", "") && matches("a", "a"));
        assert!(!matches("a[*].b", "a[x].c") && !matches("a", "ab") && !matches("*b", "ba"));
    }

    #[test]
    fn a_value_is_nothing_anything_or_json() {
        assert!(is_value("-", None) && !is_value("-", Some(&json!(1))));
        assert!(is_value("*", Some(&json!(1))) && !is_value("*", None));
        assert!(is_value("?", Some(&json!(1))) && is_value("?", None));
        assert!(is_value("\"a*\"", Some(&json!("ab"))) && !is_value("\"a\"", Some(&json!("ab"))));
        assert!(is_value(r#"{"type":"auto"}"#, Some(&json!({ "type": "auto" }))));
    }
}
