//! Members taken out of a JSON object and put into it; every other byte stays as it is.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::object::members;

/// `body` without the members whose key `is_removed` names, and with `added` (members as they are written, divided by
/// commas) before the others. `None` if `body` is not one whole object.
pub fn with_members(body: &[u8], is_removed: impl Fn(&[u8]) -> bool, added: &str) -> Option<Bytes> {
    // Each from the end of the value before it, where that is not the bracket.
    let mut kept: Vec<Range<usize>> = Vec::new();
    let mut before = 0;
    let start = members(body, 0, |key, value| {
        if !is_removed(key) {
            kept.push(before..value.end);
        }
        before = value.end;
    });
    let start = start.filter(|start| start.is_whole)?;
    let mut edited = BytesMut::with_capacity(body.len() + added.len() + 1);
    edited.extend_from_slice(body.get(..start.behind_bracket)?);
    edited.extend_from_slice(added.as_bytes());
    let mut is_first = added.is_empty();
    for member in kept {
        let text = body.get(member.start.max(start.behind_bracket)..member.end)?;
        // Before the key are spaces and, unless the member is the first, a comma.
        let (lead, member) = text.split_at(text.iter().position(|byte| *byte == b'"')?);
        if is_first {
            edited.extend(lead.iter().filter(|byte| **byte != b','));
        } else {
            if !lead.contains(&b',') {
                edited.extend_from_slice(b",");
            }
            edited.extend_from_slice(lead);
        }
        edited.extend_from_slice(member);
        is_first = false;
    }
    edited.extend_from_slice(body.get(before.max(start.behind_bracket)..)?);
    Some(edited.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(body: &str, removed: &[&str], added: &str) -> Option<String> {
        let is_removed = |key: &[u8]| removed.iter().any(|name| name.as_bytes() == key);
        let edited = with_members(body.as_bytes(), is_removed, added)?;
        Some(String::from_utf8(edited.to_vec()).expect("text"))
    }

    #[test]
    fn members_go_and_come_and_the_rest_stays_byte_for_byte() {
        for (body, removed, added, expected) in [
            (r#"{"a":1,"b":2,"c":3}"#, &["a"][..], "", r#"{"b":2,"c":3}"#),
            (r#"{"a":1,"b":2,"c":3}"#, &["b"], "", r#"{"a":1,"c":3}"#),
            (r#"{"a":1,"b":2,"c":3}"#, &["c"], "", r#"{"a":1,"b":2}"#),
            (r#"{"a":1,"b":2,"c":3}"#, &["a", "b", "c"], "", "{}"),
            (r#"{"a":1,"b":2}"#, &["a", "b"], r#""x":0"#, r#"{"x":0}"#),
            (r#"{"a":1,"b":2}"#, &["a"], r#""x":0"#, r#"{"x":0,"b":2}"#),
            (r#"{"a":1,"b":2}"#, &[], r#""x":0"#, r#"{"x":0,"a":1,"b":2}"#),
            ("{}", &["a"], r#""x":0"#, r#"{"x":0}"#),
            (" { \"a\" : 1.50 ,\n \"b\" : [ 1 ] } ", &["a"], "", " { \n \"b\" : [ 1 ] } "),
            (" { \"a\" : 1.50 ,\n \"b\" : [ 1 ] } ", &["b"], r#""x":0"#, " {\"x\":0, \"a\" : 1.50 } "),
            (r#"{"a":{"a":1},"\u0061":"\"}","b":1e9}"#, &["a"], "", r#"{"b":1e9}"#),
            (r#"{"b":{"a":1},"c":1}"#, &["a"], "", r#"{"b":{"a":1},"c":1}"#),
        ] {
            assert_eq!(edited(body, removed, added).as_deref(), Some(expected), "{body} without {removed:?}");
        }
        for body in ["", "[]", "{", r#"{"a":1"#, r#"{"a":1}{"a":2}"#, r#"{"a":1,b:2}"#, "null"] {
            assert_eq!(edited(body, &["a"], ""), None, "{body}");
        }
    }
}
