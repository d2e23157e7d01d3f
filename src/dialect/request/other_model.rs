//! A request for another model than the one that its caller named: one name is replaced, everything else stays byte for
//! byte.

use bytes::Bytes;

use crate::dialect::{model_collections, path_model};
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
    // Where a path says in which collection a model is, it has to say it of the other one.
    let collections = model_collections(provider);
    let own = collections.iter().find(|collection| before.ends_with(**collection));
    let is_resource = own.is_some() || collection_of(collections, name).is_some();
    let before = own.map_or(before, |own| before.strip_suffix(*own).unwrap_or(before));
    let collection = if is_resource { collection_to_add(collections, model) } else { "" };
    Some([before, collection, model, after].concat())
}

fn collection_of(collections: &[&'static str], name: &str) -> Option<&'static str> {
    collections.iter().find(|collection| name.starts_with(**collection)).copied()
}

/// What has to stand in front of `model` to make it the name of a resource.
fn collection_to_add(collections: &[&'static str], model: &str) -> &'static str {
    if collection_of(collections, model).is_some() {
        ""
    } else {
        collections.first().copied().unwrap_or_default()
    }
}

/// A JSON `body` with `model` in the place of its own; `None` where it is no JSON or names none.
#[must_use]
pub fn in_body(provider: Provider, body: &[u8], model: &str) -> Option<Bytes> {
    let mut places = Vec::new();
    members(body, 0, |key, value| {
        if key == b"model" {
            places.push(value);
        }
    })?;
    // Named twice, it is replaced twice: whichever a provider reads, it is this one.
    let old = places.first().and_then(|place| body.get(place.clone())).and_then(string);
    let collections = model_collections(provider);
    let is_resource = old.is_some_and(|old| collection_of(collections, &old).is_some());
    let collection = if is_resource { collection_to_add(collections, model) } else { "" };
    let quoted = serde_json::to_string(&[collection, model].concat()).ok()?;
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
            (r#"{"model":"a","model":"b"}"#, Some(r#"{"model":"claude \"x\"","model":"claude \"x\""}"#)),
            (r#"{"messages":[{"model":"kept"}]}"#, None),
            ("nonsense", None),
        ] {
            let changed = in_body(Provider::Anthropic, body.as_bytes(), "claude \"x\"");
            assert_eq!(changed.as_deref(), expected.map(str::as_bytes), "{body}");
        }
    }

    #[test]
    fn a_collection_is_named_where_one_was() {
        for (provider, old, other, expected) in [
            (Provider::Gemini, r"models/fast", "m", "models/m"),
            (Provider::Gemini, r"models\/fast", "m", "models/m"),
            (Provider::Gemini, "fast", "m", "m"),
            (Provider::Gemini, "tunedModels/fast", "m", "models/m"),
            (Provider::Gemini, "models/fast", "tunedModels/m", "tunedModels/m"),
            (Provider::Gemini, "tunedModels/fast", "models/m", "models/m"),
            (Provider::Openai, "models/fast", "m", "m"),
        ] {
            let changed = in_body(provider, format!(r#"{{"model":"{old}"}}"#).as_bytes(), other);
            assert_eq!(changed, Some(format!(r#"{{"model":"{expected}"}}"#).into()), "{old}");
        }
        let path = |model: &str| format!("/v1beta/{model}:generateContent?alt=sse");
        for (old, other, expected) in [
            ("models/fast", "m", "models/m"),
            ("tunedModels/fast", "m", "models/m"),
            ("models/fast", "tunedModels/m", "tunedModels/m"),
            ("tunedModels/fast", "tunedModels/m", "tunedModels/m"),
            ("models/fast", "models/m", "models/m"),
        ] {
            assert_eq!(in_path(Provider::Gemini, &path(old), other), Some(path(expected)), "{old}");
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
