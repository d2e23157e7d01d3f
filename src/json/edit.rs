//! Members taken out of a JSON object and put into it; every other byte stays as it is.

use std::ops::{ControlFlow, Range};

use bytes::{Bytes, BytesMut};

use super::object::{elements, members};

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

/// What stands at a path of keys and indexes, divided by dots, in an object. A segment that leads nowhere is passed over if
/// there are more: paths in error messages name the kinds of things, too (`tools.0.custom.strict`).
#[must_use]
pub fn at_path(body: &[u8], path: &str) -> Option<Bytes> {
    find(body, &path.split('.').collect::<Vec<_>>()).map(Bytes::copy_from_slice)
}

fn find<'b>(value: &'b [u8], path: &[&str]) -> Option<&'b [u8]> {
    let (first, rest) = path.split_first()?;
    let place = match first.parse::<usize>() {
        Ok(index) => element(value, index),
        Err(_) => member(value, first),
    };
    let inner = place.and_then(|place| value.get(place));
    if rest.is_empty() {
        return inner;
    }
    inner.and_then(|inner| find(inner, rest)).or_else(|| find(value, rest))
}

/// `body` without the members at a path, as [`at_path`] finds them; `*` stands for every element of an array. `None` if
/// there are none.
#[must_use]
pub fn without_path(body: &[u8], path: &str) -> Option<Bytes> {
    without_segments(body, &path.split('.').collect::<Vec<_>>())
}

fn without_segments(value: &[u8], path: &[&str]) -> Option<Bytes> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        member(value, first)?;
        return with_members(value, |key| key == first.as_bytes(), "");
    }
    let places = match (*first, first.parse::<usize>()) {
        ("*", _) => all_elements(value),
        (_, Ok(index)) => element(value, index).into_iter().collect(),
        _ => member(value, first).into_iter().collect(),
    };
    let mut edited = Vec::with_capacity(value.len());
    let (mut from, mut is_changed) = (0, false);
    for place in places {
        if let Some(inner) = without_segments(value.get(place.clone())?, rest) {
            edited.extend_from_slice(value.get(from..place.start)?);
            edited.extend_from_slice(&inner);
            (from, is_changed) = (place.end, true);
        }
    }
    edited.extend_from_slice(value.get(from..)?);
    if is_changed { Some(edited.into()) } else { without_segments(value, rest) }
}

fn all_elements(array: &[u8]) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    elements(array, 0, |value| {
        all.push(value);
        ControlFlow::Continue(())
    });
    all
}

fn member(object: &[u8], name: &str) -> Option<Range<usize>> {
    let mut found = None;
    members(object, 0, |key, value| {
        if key == name.as_bytes() {
            found = Some(value);
        }
    })?;
    found
}

fn element(array: &[u8], index: usize) -> Option<Range<usize>> {
    let (mut at, mut found) = (0, None);
    elements(array, 0, |value| {
        if at == index {
            found = Some(value);
            return ControlFlow::Break(());
        }
        at += 1;
        ControlFlow::Continue(())
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_at_a_path_goes_and_the_rest_stays_byte_for_byte() {
        let body = r#"{"a": {"b":[{"x":1},{"x": 2 ,"y":"\"}"}]},"c":1.0}"#;
        for (path, found, without) in [
            ("c", "1.0", r#"{"a": {"b":[{"x":1},{"x": 2 ,"y":"\"}"}]}}"#),
            ("a.b.1.y", r#""\"}""#, r#"{"a": {"b":[{"x":1},{"x": 2}]},"c":1.0}"#),
            ("a.b.0.custom.x", "1", r#"{"a": {"b":[{},{"x": 2 ,"y":"\"}"}]},"c":1.0}"#),
        ] {
            assert_eq!(at_path(body.as_bytes(), path).as_deref(), Some(found.as_bytes()), "{path}");
            let left =
                without_path(body.as_bytes(), path).map(|left| String::from_utf8_lossy(&left).into_owned());
            assert_eq!(left.as_deref(), Some(without), "{path}");
        }
        for path in ["", "d", "a.b.2.x", "a.b.0.y", "a.b", "a.c.x", "c.x", "a.b.1"] {
            let is_member = path == "a.b";
            let is_there = is_member || path == "a.b.1";
            assert_eq!(at_path(body.as_bytes(), path).is_some(), is_there, "{path}");
            assert_eq!(without_path(body.as_bytes(), path).is_some(), is_member, "{path}");
        }
        for (path, left) in [
            ("a.b.*.x", Some(r#"{"a": {"b":[{},{ "y":"\"}"}]},"c":1.0}"#)),
            ("a.b.*.custom.y", Some(r#"{"a": {"b":[{"x":1},{"x": 2}]},"c":1.0}"#)),
            ("a.b.*.z", None),
            ("c.*.z", None),
            ("*.z", None),
        ] {
            let found = without_path(body.as_bytes(), path);
            assert_eq!(found.as_deref(), left.map(str::as_bytes), "{path}");
        }
    }

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
