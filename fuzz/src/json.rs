//! JSON read by somebody else than sproxy: what is held against it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// A document, if it is one.
#[must_use]
pub fn parsed(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

/// The members of an object in their order, those that are there twice included; none if it is not JSON.
#[must_use]
pub fn members(bytes: &[u8]) -> Option<Vec<(String, Value)>> {
    serde_json::from_slice::<Members>(bytes).ok().map(|members| members.0)
}

struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// A document with space wherever JSON takes it.
#[must_use]
pub fn laid_out(json: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(json.len() * 2);
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in json {
        text.push(*byte);
        if in_string {
            in_string = *byte != b'"' || is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
        } else if *byte == b'"' {
            in_string = true;
        } else if b"{}[]:,".contains(byte) {
            text.extend_from_slice(b" \r\n\t");
        }
    }
    text
}
