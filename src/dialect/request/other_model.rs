//! A request for another model than the one that its caller named: one name is replaced, everything else stays byte for
//! byte.

use bytes::Bytes;

use crate::dialect::path_model;
use crate::domain::provider::Provider;
use crate::json::object::{members, string};

/// `path_and_query` with `model` in the place of the model that the path names; `None` where it names none.
#[must_use]
pub fn in_path(provider: Provider, path_and_query: &str, model: &str) -> Option<String> {
    let path = path_and_query.split('?').next().unwrap_or_default();
    let name = path_model(provider, path).name()?;
    // The name is a part of the path.
    let start = (name.as_ptr() as usize).checked_sub(path.as_ptr() as usize)?;
    let (before, after) = (path_and_query.get(..start)?, path_and_query.get(start + name.len()..)?);
    Some([before, model, after].concat())
}

/// A JSON `body` with `model` in the place of its own; `None` where it is no JSON or names none.
#[must_use]
pub fn in_body(body: &[u8], model: &str) -> Option<Bytes> {
    let mut places = Vec::new();
    members(body, 0, |key, value| {
        if key == b"model" {
            places.push(value);
        }
    })?;
    // Named twice, it is replaced twice: whichever a provider reads, it is this one. Gemini's bodies name it with a prefix.
    let old = places.first().and_then(|place| body.get(place.clone())).and_then(string);
    let has_prefix = old.is_some_and(|old| old.starts_with("models/"));
    let named = if has_prefix { format!("models/{model}") } else { model.to_owned() };
    let quoted = serde_json::to_string(&named).ok()?;
    let mut changed = Vec::with_capacity(body.len() + quoted.len() * places.len());
    let mut from = 0;
    for place in &places {
        changed.extend_from_slice(body.get(from..place.start)?);
        changed.extend_from_slice(quoted.as_bytes());
        from = place.end;
    }
    changed.extend_from_slice(body.get(from..)?);
    (!places.is_empty()).then(|| changed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_replaced_and_nothing_else() {
        for (body, expected) in [
            (r#"{"model":"fast","n": 1.0}"#, Some(r#"{"model":"claude \"x\"","n": 1.0}"#)),
            (
                r#" { "a" : [ 1 ] , "model" : "fast" }"#,
                Some(r#" { "a" : [ 1 ] , "model" : "claude \"x\"" }"#),
            ),
            (r#"{"model":"models/fast"}"#, Some(r#"{"model":"models/claude \"x\""}"#)),
            (r#"{"model":"models\/fast"}"#, Some(r#"{"model":"models/claude \"x\""}"#)),
            (r#"{"model":"a","model":"b"}"#, Some(r#"{"model":"claude \"x\"","model":"claude \"x\""}"#)),
            (r#"{"messages":[{"model":"kept"}]}"#, None),
            ("nonsense", None),
        ] {
            let changed = in_body(body.as_bytes(), "claude \"x\"");
            assert_eq!(changed.as_deref(), expected.map(str::as_bytes), "{body}");
        }
    }

    #[test]
    fn a_path_names_it_in_one_place() {
        for (path, expected) in [
            ("/v1beta/models/fast:generateContent?alt=sse", Some("/v1beta/models/m:generateContent?alt=sse")),
            ("/v1beta/models/v1beta:generateContent", Some("/v1beta/models/m:generateContent")),
            ("/v1beta/cachedContents", None),
        ] {
            assert_eq!(in_path(Provider::Gemini, path, "m").as_deref(), expected, "{path}");
        }
    }
}
