//! The search of the web that Anthropic runs itself.

use serde_json::{Value, json};

/// The name that it has to have.
pub const WEB_SEARCH: &str = "web_search";

/// The tool. Anthropic takes domains to search or domains not to search, and no `null`.
#[must_use]
pub fn web_search(allowed: Option<&[String]>, blocked: Option<&[String]>, location: Option<&Value>) -> Value {
    let mut tool = json!({ "type": "web_search_20250305", "name": WEB_SEARCH });
    if let Some(domains) = allowed {
        tool["allowed_domains"] = json!(domains);
    } else if let Some(domains) = blocked {
        tool["blocked_domains"] = json!(domains);
    }
    if let Some(Value::Object(location)) = location {
        let mut sent = json!({ "type": "approximate" });
        for (name, value) in location.iter().filter(|(_, value)| !value.is_null()) {
            sent[name] = value.clone();
        }
        tool["user_location"] = sent;
    }
    tool
}
