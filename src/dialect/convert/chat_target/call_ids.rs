//! Ids of calls: servers of Chat Completions have any text for one, and some number the calls of each answer anew. Callers
//! want few characters, and ids that a conversation has once.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::dialect::convert::tool_names::bounded;

/// What an id begins with that is another one at the target; a number follows where the conversation has had it before.
const PREFIX: &str = "sp1_call";

/// The ids that a conversation has.
#[derive(Debug, Default)]
pub struct CallIds {
    used: HashSet<String>,
}

impl CallIds {
    /// Takes note of an id in the request, and says what it is at the target.
    #[must_use]
    pub fn sent(&mut self, own: &str) -> String {
        self.used.insert(own.to_owned());
        at_target(own)
    }

    /// The caller's id for a call that the target has made; the target has one for most.
    #[must_use]
    pub fn own(&mut self, sent: Option<&str>, answer: &str) -> String {
        let sent = sent.map_or_else(|| bounded(&format!("call_{answer}")), str::to_owned);
        let is_plain = bounded(&sent) == sent && !sent.starts_with(PREFIX);
        let mut own = if is_plain { sent.clone() } else { packed(&sent, "") };
        let mut number = 1;
        while !self.used.insert(own.clone()) {
            number += 1;
            own = packed(&sent, &number.to_string());
        }
        own
    }
}

fn packed(sent: &str, number: &str) -> String {
    format!("{PREFIX}{number}_{}", URL_SAFE_NO_PAD.encode(sent))
}

/// What an id of the caller is at the target.
fn at_target(own: &str) -> String {
    let packed = own.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
    let bytes = packed.and_then(|(_, packed)| URL_SAFE_NO_PAD.decode(packed).ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| own.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_targets_own_again_and_each_call_has_one_of_its_own() {
        let mut ids = CallIds::default();
        assert_eq!(ids.sent("toolu_01"), "toolu_01");
        for sent in ["call_1", "functions.Read:0", "sp1_call_x", "ä"] {
            let own = ids.own(Some(sent), "a");
            assert!(own.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'), "{own}");
            assert_eq!(at_target(&own), sent);
        }
        let again = ids.own(Some("call_1"), "a");
        assert_eq!((again.as_str(), at_target(&again).as_str()), ("sp1_call2_Y2FsbF8x", "call_1"));
        assert_eq!(ids.own(None, "a"), "call_a");
        assert_eq!(at_target(&ids.own(None, "a")), "call_a");
    }
}
