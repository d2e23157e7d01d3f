//! What a model behind Chat Completions has thought, on its way through a client of another API and back to the server
//! that said it: servers that think between calls want it back, each in the member that it came in.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::dialect::convert::api::Api;
use crate::dialect::convert::carrier;
use crate::dialect::convert::chat_events::REASONING_FIELDS;

/// A piece of reasoning, as it is packed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The model that has thought it, as it was asked for: to another it says nothing.
    model: String,
    /// The member that it came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What was thought; none where the client keeps it beside the carrier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `reasoning_details`, as they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    details: Vec<Value>,
}

/// Packs it for a client.
#[must_use]
pub fn pack(model: &str, field: Option<&str>, text: Option<&str>, details: &[Value]) -> String {
    let carried = Carried {
        model: model.to_owned(),
        field: field.map(str::to_owned),
        text: text.map(str::to_owned),
        details: details.to_vec(),
    };
    carrier::pack(Api::Chat, &carried)
}

/// What `model` has thought; none for another's, and for what is no carrier.
#[must_use]
pub fn unpack(model: &str, packed: &str) -> Option<Carried> {
    carrier::unpack::<Carried>(Api::Chat, packed).filter(|carried| carried.model == model)
}

/// The members of an assistant's message that give a model back what it has thought.
#[must_use]
pub fn members(pieces: &[Carried]) -> Map<String, Value> {
    let mut members = Map::new();
    for name in REASONING_FIELDS {
        let own = pieces.iter().filter(|piece| piece.field.as_deref() == Some(name));
        let text: String = own.filter_map(|piece| piece.text.as_deref()).collect();
        if !text.is_empty() {
            members.insert(name.to_owned(), Value::String(text));
        }
    }
    let details: Vec<Value> = pieces.iter().flat_map(|piece| piece.details.iter().cloned()).collect();
    if !details.is_empty() {
        members.insert("reasoning_details".to_owned(), Value::Array(details));
    }
    members
}

/// Adds what a chunk says of `reasoning_details` to what the chunks before it said: a part of the same kind and number
/// goes on.
pub fn add_details(details: &mut Vec<Value>, added: Vec<Value>) {
    for part in added {
        let same = |known: &&mut Value| {
            known.get("type") == part.get("type")
                && known.get("index") == part.get("index")
                && (part.get("id").is_none_or(Value::is_null) || known.get("id") == part.get("id"))
        };
        match (details.last_mut().filter(same).and_then(Value::as_object_mut), part) {
            (Some(known), Value::Object(part)) => {
                for (name, value) in part {
                    let goes_on = matches!(name.as_str(), "text" | "summary" | "data");
                    match (known.get_mut(&name), value) {
                        (Some(Value::String(text)), Value::String(more)) if goes_on => text.push_str(&more),
                        (_, Value::Null) => {}
                        (_, value) => {
                            known.insert(name, value);
                        }
                    }
                }
            }
            (_, part) => details.push(part),
        }
    }
}

/// What can be read of such parts.
#[must_use]
pub fn readable(details: &[Value]) -> String {
    let text = |part: &'_ Value| {
        let text = part.get("text").and_then(Value::as_str);
        text.or_else(|| part.get("summary")?.as_str()).unwrap_or_default().to_owned()
    };
    details.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_thought_goes_back_to_the_model_that_thought_it_in_the_member_that_it_came_in() {
        let packed =
            pack("m", Some("reasoning"), Some("ä"), &[json!({"type": "reasoning.encrypted", "data": "x"})]);
        let carried = unpack("m", &packed).unwrap();
        assert_eq!(
            Value::Object(members(&[carried.clone(), carried])),
            json!({
                "reasoning": "ää",
                "reasoning_details": [
                    {"type": "reasoning.encrypted", "data": "x"},
                    {"type": "reasoning.encrypted", "data": "x"},
                ],
            })
        );
        assert_eq!(unpack("another", &packed), None);
        assert_eq!(unpack("m", "ErUBCkYIBxgC"), None);
    }

    #[test]
    fn parts_that_come_in_pieces_become_whole() {
        let mut details = Vec::new();
        for added in [
            json!([{"type": "reasoning.text", "text": "a", "signature": null, "index": 0}]),
            json!([{"type": "reasoning.text", "text": "b", "index": 0}]),
            json!([{"type": "reasoning.text", "signature": "s", "index": 0},
                {"type": "reasoning.encrypted", "data": "x", "id": "1", "index": 1}]),
            json!([{"type": "reasoning.encrypted", "data": "y", "id": "2", "index": 1}]),
        ] {
            add_details(&mut details, added.as_array().unwrap().clone());
        }
        assert_eq!(
            json!(details),
            json!([
                {"type": "reasoning.text", "text": "ab", "signature": "s", "index": 0},
                {"type": "reasoning.encrypted", "data": "x", "id": "1", "index": 1},
                {"type": "reasoning.encrypted", "data": "y", "id": "2", "index": 1},
            ])
        );
        assert_eq!(readable(&details), "ab");
    }
}
