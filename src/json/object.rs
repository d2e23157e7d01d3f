//! The members of a JSON object and where their values stand, found without reading or copying more than that.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};

use crate::json::skip::{Skip, SkipString};

/// An object: how it begins, and whether all of it could be read.
pub struct Start {
    /// Where its members begin.
    pub behind_bracket: usize,
    /// It has no members.
    pub is_empty: bool,
    /// It ended, all of it was JSON as far as that was looked at, and nothing follows it.
    pub is_whole: bool,
}

/// Calls `each` with every member of the object at `from`: its key, and where its value stands. Values are
/// skipped, not read; reading stops where `bytes` is no JSON. `None` if there is no object.
pub fn members(bytes: &[u8], from: usize, mut each: impl FnMut(&[u8], Range<usize>)) -> Option<Start> {
    let mut at = behind_space(bytes, from);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    at += 1;
    let mut start = Start { behind_bracket: at, is_empty: true, is_whole: false };
    let mut scalars_are_json = true;
    loop {
        at = behind_space(bytes, at);
        if bytes.get(at) != Some(&b'"') {
            let ended = bytes.get(at) == Some(&b'}') && behind_space(bytes, at + 1) == bytes.len();
            start.is_whole = ended && scalars_are_json;
            return Some(start);
        }
        start.is_empty = false;
        let key = value_end(bytes, at).map(|end| at..end);
        let colon = key.as_ref().map(|key| behind_space(bytes, key.end));
        let (Some(key), Some(colon)) = (key, colon.filter(|colon| bytes.get(*colon) == Some(&b':'))) else {
            return Some(start);
        };
        let value = behind_space(bytes, colon + 1);
        let Some(end) = value_end(bytes, value) else { return Some(start) };
        scalars_are_json &= bytes.get(value..end).is_some_and(may_be_json);
        match string(bytes.get(key).unwrap_or_default()) {
            Some(key) => each(key.as_bytes(), value..end),
            None => return Some(start),
        }
        at = behind_space(bytes, end);
        if bytes.get(at) == Some(&b',') {
            at += 1;
        }
    }
}

/// Calls `each` with where every element of the array at `from` stands, until it breaks off or `bytes` is no JSON.
pub fn elements(bytes: &[u8], from: usize, mut each: impl FnMut(Range<usize>) -> ControlFlow<()>) {
    let mut at = behind_space(bytes, from);
    if bytes.get(at) != Some(&b'[') {
        return;
    }
    at = behind_space(bytes, at + 1);
    while let Some(end) = value_end(bytes, at) {
        if each(at..end).is_break() {
            return;
        }
        at = behind_space(bytes, end);
        if bytes.get(at) != Some(&b',') {
            return;
        }
        at = behind_space(bytes, at + 1);
    }
}

/// False for a value that is no string, array or object and has something in it that numbers and names do not have.
fn may_be_json(value: &[u8]) -> bool {
    let in_scalar = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    matches!(value.first(), Some(b'"' | b'{' | b'[')) || value.iter().all(in_scalar)
}

fn behind_space(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(rest.len())
}

/// Where the value that starts at `from` ends.
fn value_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from + 1..)?;
    match bytes.get(from)? {
        b'"' => {
            let mut text = SkipString::inside();
            let taken = text.feed(rest);
            text.is_over().then_some(from + 1 + taken)
        }
        b'{' | b'[' => {
            let mut skip = Skip::inside();
            let taken = skip.feed(rest);
            skip.is_over().then_some(from + 1 + taken)
        }
        b'}' | b']' | b',' | b':' => None,
        _ => {
            let more =
                rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace());
            more.map(|more| from + 1 + more)
        }
    }
}

/// The text of a JSON string; borrowed unless it has escapes.
#[must_use]
pub fn string(json: &[u8]) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inside.contains(&b'\\') {
        return serde_json::from_slice::<String>(json).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inside).ok().map(Cow::Borrowed)
}

/// `true` or `false`.
#[must_use]
pub fn boolean(json: &[u8]) -> Option<bool> {
    match json {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// A whole number.
#[must_use]
pub fn number(json: &[u8]) -> Option<u64> {
    std::str::from_utf8(json).ok()?.parse().ok()
}
