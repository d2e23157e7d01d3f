//! Names of tools and calls that a target takes: short, of few characters, and told apart.

use std::collections::HashMap;

use crate::crypto::secret_text::sha256;

/// The longest name, and the longest id of a call, that every provider takes.
const LEN_MAX: usize = 64;

/// The names of one request's tools at the target, and what they stand for.
///
/// A name depends on nothing but the tool's own, so that it is the same in every turn of a conversation: prompt caches
/// begin with the tools.
#[derive(Clone, Debug, Default)]
pub struct ToolNames {
    /// By the name at the target.
    own: HashMap<String, String>,
}

impl ToolNames {
    /// The name at the target; [`Self::own`] says again what it stands for.
    pub fn sent(&mut self, own: &str) -> String {
        self.keep(own, bounded(own))
    }

    /// The same at a target whose names begin with a letter.
    pub fn sent_with_letter(&mut self, own: &str) -> String {
        let has_none = own.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        self.keep(own, if has_none { bounded(&format!("_{own}")) } else { bounded(own) })
    }

    fn keep(&mut self, own: &str, sent: String) -> String {
        if sent != own {
            self.own.insert(sent.clone(), own.to_owned());
        }
        sent
    }

    /// The caller's name of a tool that the target has called.
    #[must_use]
    pub fn own<'n>(&'n self, sent: &'n str) -> &'n str {
        self.own.get(sent).map_or(sent, String::as_str)
    }
}

/// `name`, if it is one that every provider takes; else the same made of fewer characters, and told apart by a digest.
#[must_use]
pub fn bounded(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.len() <= LEN_MAX && name.chars().all(is_plain) {
        return name.to_owned();
    }
    let digest = sha256(name.as_bytes()).first_chunk().copied().map_or(0, u64::from_be_bytes);
    let digest = format!("{:012x}", digest >> 16);
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let kept: String = plain.chars().take(LEN_MAX - digest.len() - 1).collect();
    format!("{kept}_{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_target_would_refuse_is_another_there_and_the_same_for_the_caller() {
        let mut names = ToolNames::default();
        let long = "mcp__a_server_with_a_long_name__".repeat(4);
        for own in ["Read", "mcp__files__read", long.as_str(), "a.b/c", "ä", ""] {
            let sent = names.sent(own);
            assert!(!sent.is_empty() && sent.len() <= LEN_MAX, "{sent}");
            assert!(sent.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'), "{sent}");
            assert_eq!(names.own(&sent), own);
            assert_eq!(names.sent(own), sent);
        }
        assert_eq!(names.sent("Read"), "Read");
        assert_eq!((names.sent_with_letter("3d").as_str(), names.own("_3d")), ("_3d", "3d"));
        assert_eq!(names.sent_with_letter("Read"), "Read");
        assert_ne!(names.sent("a.b"), names.sent("a/b"));
    }
}
