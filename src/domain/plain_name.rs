//! Names that callers choose and that are shown to others: in the log, in traces, in alerts. What looks like a name of a
//! model or a session is shown; anything else could be a secret or a prompt that stands in the wrong place.

/// What stands for a name that does not look like one.
pub const OTHER: &str = "other";

/// Longest name, bytes.
const BYTES_MAX: usize = 128;

/// The text, if it looks like a name; empty stays empty.
#[must_use]
pub fn plain_name(text: &str) -> &str {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@+-".contains(&byte);
    if text.len() <= BYTES_MAX && text.bytes().all(allowed) && !looks_like_a_key(text) { text } else { OTHER }
}

/// Keys of providers, and our own, begin like this.
fn looks_like_a_key(text: &str) -> bool {
    ["sk-", "AIza", "AKIA", "eyJ"].iter().any(|start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_name_is_shown_and_nothing_else() {
        for name in [
            "",
            "claude-sonnet-5",
            "ft:gpt-5:org:x:abc",
            "us.anthropic.claude-opus-4-1-20250805-v1:0",
            "models/gemini-3-pro",
            "qwen3:4b@q8",
            "0b9e4b52-4cf5-4b7e-8d0f-6b3f1f1f2f3f",
        ] {
            assert_eq!(plain_name(name), name);
        }
        for text in [
            "tell me a secret",
            "a\nb",
            "modèle",
            "sk-ant-api03-x",
            "eyJhbGciOiJFUzI1NiJ9.e30.x",
            &"x".repeat(129),
        ] {
            assert_eq!(plain_name(text), OTHER, "{text}");
        }
    }
}
