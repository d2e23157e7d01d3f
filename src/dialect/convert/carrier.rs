//! What a model has thought, in a form that only its provider can read, on its way through a client of another dialect:
//! `sp1.<dialect>.<base64url>`, in the field that such clients keep and send back untouched.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::Api;

/// What every carrier begins with.
pub const PREFIX: &str = "sp1.";

/// Packs what `api` alone can read.
#[must_use]
pub fn pack(api: Api, content: &impl Serialize) -> String {
    let json = serde_json::to_vec(content).unwrap_or_default();
    format!("{PREFIX}{}.{}", word(api), URL_SAFE_NO_PAD.encode(json))
}

/// What was packed for `api`; `None` for another's, and for what is no carrier.
#[must_use]
pub fn unpack<T: DeserializeOwned>(api: Api, carrier: &str) -> Option<T> {
    let packed = carrier.strip_prefix(PREFIX)?.strip_prefix(word(api))?.strip_prefix('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(packed).ok()?).ok()
}

/// Whether it is a carrier, whoever's.
#[must_use]
pub fn is_carrier(text: &str) -> bool {
    text.starts_with(PREFIX)
}

fn word(api: Api) -> &'static str {
    match api {
        Api::Messages => "anthropic",
        Api::Responses => "openai",
        Api::Chat => "chat",
        Api::Gemini => "gemini",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carrier_is_read_by_its_own_dialect_alone() {
        let packed = pack(Api::Gemini, &("signature+/=", 7));
        assert!(packed.starts_with("sp1.gemini.") && packed.is_ascii() && !packed.contains(['+', '/', '=']));
        assert_eq!(unpack(Api::Gemini, &packed), Some(("signature+/=".to_owned(), 7)));
        assert_eq!(unpack::<(String, u8)>(Api::Messages, &packed), None);
        for foreign in ["", "ErUB…", "sp1.", "sp1.gemini", "sp1.gemini.%%%", "sp1.gemini.e30"] {
            assert_eq!(unpack::<(String, u8)>(Api::Gemini, foreign), None, "{foreign}");
        }
    }
}
