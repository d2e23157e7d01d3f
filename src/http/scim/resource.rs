//! Resources as directories send them, and single values of theirs. Names of attributes are the same in small and in
//! capital letters.

use serde_json::{Map, Value};

use crate::http::scim::refusal::{Refusal, ScimType};

/// A JSON object.
pub struct Resource(Map<String, Value>);

impl Resource {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// `invalidSyntax` for one that is no JSON object.
    pub fn read(body: &[u8]) -> Result<Self, Refusal> {
        let is_wrong = |reason: String| Refusal::bad(ScimType::InvalidSyntax, reason);
        let body = serde_json::from_slice(body);
        match body.map_err(|reason| is_wrong(format!("the body is no JSON: {reason}")))? {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(is_wrong("the body has to be a JSON object".to_owned())),
        }
    }

    /// An attribute; `None` where it is not there.
    pub fn get(&self, name: &str) -> Option<&Value> {
        field(&self.0, name)
    }
}

/// A field of an object.
pub fn field<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let same = || object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    object.get(name).or_else(same)
}

/// A text that has to be there.
///
/// # Errors
/// `invalidValue`.
pub fn text(name: &str, value: Option<&Value>) -> Result<String, Refusal> {
    optional_text(name, value)?.ok_or_else(|| invalid(name, "has to be set"))
}

/// A text, or none for an empty one and null.
///
/// # Errors
/// `invalidValue` for anything else.
pub fn optional_text(name: &str, value: Option<&Value>) -> Result<Option<String>, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(invalid(name, "has to be a text")),
    }
}

/// True or false, also as the text that Entra ID sends.
///
/// # Errors
/// `invalidValue`.
pub fn flag(name: &str, value: &Value) -> Result<bool, Refusal> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(invalid(name, "has to be true or false")),
    }
}

/// `invalidValue`, with the attribute's name.
pub fn invalid(name: &str, reason: &str) -> Refusal {
    Refusal::bad(ScimType::InvalidValue, format!("{name}: {reason}"))
}
