//! Which conversation a request continues, as far as it says so: providers keep the prompts of a conversation where it was
//! answered before.

use std::hash::{BuildHasher, Hasher};
use std::ops::ControlFlow;

use http::{HeaderMap, HeaderName};

use crate::json::object::{elements, members};

/// Headers by which clients name a conversation: Claude Code's, a common one, and Codex' two.
const SESSION_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("x-claude-code-session-id"),
    HeaderName::from_static("x-session-id"),
    HeaderName::from_static("session_id"),
    HeaderName::from_static("session-id"),
];
/// Keys of what stands before the first turn of a conversation and stays the same in all.
const SYSTEM: [&[u8]; 4] = [b"system", b"instructions", b"systemInstruction", b"system_instruction"];
/// Keys of its turns.
const TURNS: [&[u8]; 3] = [b"messages", b"input", b"contents"];
/// Text nested deeper than this is no text of a turn.
const DEPTH_MAX: usize = 4;

/// The conversation that the headers name.
#[must_use]
pub fn of_headers(headers: &HeaderMap) -> Option<u64> {
    let named = SESSION_HEADERS.iter().find_map(|name| headers.get(name))?;
    Some(hash(|hasher| hasher.write(named.as_bytes())))
}

/// The conversation that a JSON body names as `prompt_cache_key`, or else the one that begins as it does: by its system
/// text and everything up to its first turn of the user. Only text counts: clients move their cache marks from turn to
/// turn.
#[must_use]
pub fn of_body(body: &[u8]) -> Option<u64> {
    let mut key = None;
    let (mut system, mut turns) = (None, None);
    members(body, 0, |name, value| match name {
        b"prompt_cache_key" => key = Some(value),
        _ if SYSTEM.contains(&name) => system = Some(value),
        _ if TURNS.contains(&name) => turns = Some(value),
        _ => {}
    })?;
    if let Some(key) = key.and_then(|key| body.get(key)).filter(|key| key.len() > 2 && key.starts_with(b"\""))
    {
        return Some(hash(|hasher| hasher.write(key)));
    }
    let turns = body.get(turns?)?;
    Some(hash(|hasher| {
        if let Some(system) = system.and_then(|system| body.get(system)) {
            write_text(hasher, system, 0);
        }
        if turns.starts_with(b"\"") {
            hasher.write(turns);
            return;
        }
        elements(turns, 0, |turn| {
            let Some(turn) = turns.get(turn) else { return ControlFlow::Break(()) };
            write_text(hasher, turn, 0);
            if is_of_user(turn) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }))
}

fn is_of_user(turn: &[u8]) -> bool {
    let mut is_of_user = true;
    members(turn, 0, |name, value| {
        if name == b"role" {
            is_of_user = turn.get(value) == Some(b"\"user\"");
        }
    });
    is_of_user
}

/// The text in a value: itself, or that of its elements, or what its members call so.
fn write_text(hasher: &mut impl Hasher, value: &[u8], depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match value.first() {
        Some(b'"') => hasher.write(value),
        Some(b'[') => elements(value, 0, |element| {
            write_text(hasher, value.get(element).unwrap_or_default(), depth + 1);
            ControlFlow::Continue(())
        }),
        Some(b'{') => {
            members(value, 0, |name, member| {
                if matches!(name, b"text" | b"content" | b"parts") {
                    write_text(hasher, value.get(member).unwrap_or_default(), depth + 1);
                }
            });
        }
        _ => {}
    }
}

fn hash(write: impl FnOnce(&mut foldhash::quality::FoldHasher<'_>)) -> u64 {
    let state = foldhash::quality::FixedState::with_seed(0);
    let mut hasher = state.build_hasher();
    write(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_turns_and_moved_marks_leave_a_conversation_the_same() {
        for (first, later) in [
            (
                r#"{"model":"m","system":[{"type":"text","text":"You are."}],"messages":[{"role":"user","content":[{"type":"text","text":"Hi","cache_control":{"type":"ephemeral"}}]}]}"#,
                r#"{"model":"m","system":[{"type":"text","text":"You are.","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]},{"role":"assistant","content":"Ho"},{"role":"user","content":"More"}]}"#,
            ),
            (
                r#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]}"#,
                r#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},{"role":"assistant","content":"x"}],"temperature":1}"#,
            ),
            (
                r#"{"instructions":"Be.","input":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]}]}"#,
                r#"{"instructions":"Be.","input":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]},{"role":"assistant","content":[]}]}"#,
            ),
            (
                r#"{"systemInstruction":{"parts":[{"text":"Be."}]},"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#,
                r#"{"systemInstruction":{"parts":[{"text":"Be."}]},"contents":[{"role":"user","parts":[{"text":"Hi"}]},{"role":"model","parts":[{"text":"x"}]}]}"#,
            ),
            (
                r#"{"prompt_cache_key":"k","input":"Hi"}"#,
                r#"{"prompt_cache_key":"k","input":"something else"}"#,
            ),
        ] {
            assert!(of_body(first.as_bytes()).is_some(), "{first}");
            assert_eq!(of_body(first.as_bytes()), of_body(later.as_bytes()), "{first}");
        }
    }

    #[test]
    fn other_beginnings_are_other_conversations() {
        let bodies = [
            r#"{"messages":[{"role":"user","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":"b"}]}"#,
            r#"{"system":"s","messages":[{"role":"user","content":"a"}]}"#,
            r#"{"input":"c"}"#,
            r#"{"prompt_cache_key":"k"}"#,
        ];
        let hashes: std::collections::BTreeSet<_> = bodies.map(|body| of_body(body.as_bytes())).into();
        assert_eq!(hashes.len(), bodies.len());
        for none in ["", "[]", "{}", r#"{"model":"m"}"#, "nonsense"] {
            assert_eq!(of_body(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn what_is_broken_or_endlessly_nested_ends() {
        let deep = format!(r#"{{"messages":[{}{}]}}"#, r#"{"content":["#.repeat(10_000), "]}".repeat(10_000));
        let _ = of_body(deep.as_bytes());
        let _ = of_body(br#"{"messages":[{"role":"user","content":"#);
    }
}
