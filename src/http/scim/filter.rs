//! Filters (RFC 7644, section 3.4.2.2), as far as directories use them: comparisons for equality, joined by `and`.

use serde_json::{Deserializer, Value};

use crate::http::scim::refusal::{Refusal, ScimType};

/// No directory joins more.
const COMPARISONS_MAX: usize = 16;

/// `attribute eq value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// In small letters, without the name of a core schema before it.
    pub attribute: String,
    /// A text, a number, a truth or null.
    pub value: Value,
}

/// Reads a filter.
///
/// # Errors
/// `invalidFilter` for whatever else the grammar has.
pub fn parse(text: &str) -> Result<Vec<Comparison>, Refusal> {
    let mut comparisons = Vec::new();
    let mut rest = text.trim();
    loop {
        let (attribute, after) = word(rest);
        let (operator, after) = word(after);
        if !operator.eq_ignore_ascii_case("eq") || attribute.contains(['(', ')', '[', ']', '"']) {
            return Err(unsupported());
        }
        let mut values = Deserializer::from_str(after).into_iter::<Value>();
        let value = match values.next() {
            Some(Ok(value)) if !value.is_array() && !value.is_object() => value,
            _ => return Err(unsupported()),
        };
        comparisons.push(Comparison { attribute: plain_name(attribute), value });
        rest = after.get(values.byte_offset()..).unwrap_or_default().trim_start();
        if rest.is_empty() {
            return Ok(comparisons);
        }
        let (and, after) = word(rest);
        if !and.eq_ignore_ascii_case("and") || comparisons.len() >= COMPARISONS_MAX {
            return Err(unsupported());
        }
        rest = after;
    }
}

/// An attribute's name in small letters, without that of a core schema before it.
pub fn plain_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let core = ["user", "group"].map(|resource| format!("urn:ietf:params:scim:schemas:core:2.0:{resource}:"));
    let plain = core.iter().find_map(|schema| name.strip_prefix(schema.as_str()));
    plain.map(str::to_owned).unwrap_or(name)
}

/// The first word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

fn unsupported() -> Refusal {
    Refusal::bad(
        ScimType::InvalidFilter,
        "filters are comparisons such as `userName eq \"alice\"`, joined by `and`",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn comparisons_are_read_in_every_spelling() {
        let read = |text: &str| {
            let read = parse(text).expect("a filter").into_iter();
            read.map(|comparison| (comparison.attribute, comparison.value)).collect::<Vec<_>>()
        };
        assert_eq!(read(r#"userName eq "alice""#), [("username".to_owned(), json!("alice"))]);
        assert_eq!(
            read(r#" id  EQ "a b \" and c"  AND active eq true and externalId eq null"#),
            [
                ("id".to_owned(), json!("a b \" and c")),
                ("active".to_owned(), json!(true)),
                ("externalid".to_owned(), json!(null))
            ]
        );
        let long = r#"urn:ietf:params:scim:schemas:core:2.0:User:userName eq "x""#;
        assert_eq!(read(long), [("username".to_owned(), json!("x"))]);
    }

    #[test]
    fn whatever_else_the_grammar_has_is_refused() {
        for text in [
            "",
            "userName",
            "userName pr",
            r#"userName co "a""#,
            r#"userName eq "a" or userName eq "b""#,
            r#"not (userName eq "a")"#,
            r#"(userName eq "a")"#,
            r#"emails[type eq "work"] eq "a""#,
            r#"userName eq "a"#,
            "userName eq alice",
            "userName eq [1]",
            "userName eq {}",
            r#"userName eq "a" and"#,
            r#"userName eq "a" and and"#,
            r#"userName eq "a" "b""#,
            &["id eq 1"; 17].join(" and "),
        ] {
            let refused = parse(text).expect_err(text);
            assert_eq!(refused.scim_type(), Some(ScimType::InvalidFilter), "{text}");
        }
    }
}
