//! What directories ask for and are told: windows of lists, selections of attributes, and resources with where they are.

use axum::extract::FromRequestParts;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::accounts::Actor;
use crate::domain::clock::Timestamp;
use crate::http::browser::AskedAt;
use crate::http::input::ClientAddr;
use crate::http::problem::ApiError;
use crate::http::scim::filter::plain_name;
use crate::http::scim::refusal::MEDIA_TYPE;
use crate::http::state::ControlState;
use crate::store::Window;

/// Where SCIM is served.
pub const ROOT: &str = "/scim/v2";
/// Resources in one answer, where nothing else is asked for, and at most.
const COUNT_DEFAULT: u64 = 100;
pub const COUNT_MAX: u64 = 200;
/// Attributes that are always told.
const ALWAYS: [&str; 2] = ["id", "schemas"];

/// The directory that asks, and where it sees this gateway.
pub struct Directory {
    pub actor: Actor,
    /// Such as `https://llm.example.com/scim/v2`.
    pub base: String,
}

impl FromRequestParts<ControlState> for Directory {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        let ClientAddr(address) = ClientAddr::from_request_parts(parts, state).await?;
        let AskedAt(site) = AskedAt::from_request_parts(parts, state).await?;
        let base = format!("{}{ROOT}", state.sites.public_url(&site));
        Ok(Self { actor: Actor::provisioner().at(address), base })
    }
}

impl Directory {
    /// Where a resource of an endpoint such as `Users` is.
    pub fn location(&self, endpoint: &str, id: &str) -> String {
        format!("{}/{endpoint}/{id}", self.base)
    }
}

/// The parameters of a query. Directories send others, too, which are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Asked {
    pub filter: Option<String>,
    start_index: Option<i64>,
    count: Option<i64>,
    attributes: Option<String>,
    excluded_attributes: Option<String>,
}

impl Asked {
    /// The first of a list has the index 1; what is smaller means 1, and a negative count means none.
    pub fn window(&self) -> Window {
        let start = self.start_index.unwrap_or(1).max(1).cast_unsigned();
        let count = self.count.map_or(COUNT_DEFAULT, |count| count.max(0).cast_unsigned());
        Window { skip: start - 1, limit: count.min(COUNT_MAX) }
    }

    /// Whether the answer has an attribute.
    pub fn wants(&self, name: &str) -> bool {
        let is_in = |names: &str, with_parts: bool| {
            names.split(',').map(|named| plain_name(named.trim())).any(|named| {
                let whole = named.split('.').next().filter(|_| with_parts && !named.starts_with("urn:"));
                named.eq_ignore_ascii_case(name)
                    || whole.is_some_and(|whole| whole.eq_ignore_ascii_case(name))
            })
        };
        if ALWAYS.contains(&name) {
            return true;
        }
        let is_asked_for = self.attributes.as_deref().is_none_or(|names| is_in(names, true));
        is_asked_for && !self.excluded_attributes.as_deref().is_some_and(|names| is_in(names, false))
    }

    /// Whether it is asked for attributes at all.
    pub fn selects(&self) -> bool {
        self.attributes.is_some() || self.excluded_attributes.is_some()
    }

    /// What is wanted of a resource.
    pub fn select(&self, resource: Value) -> Value {
        match resource {
            Value::Object(fields) => {
                fields.into_iter().filter(|(name, _)| self.wants(name)).collect::<Map<_, _>>().into()
            }
            other => other,
        }
    }
}

/// What is said about a resource itself.
pub fn meta(kind: &str, location: &str, times: Option<(Timestamp, Timestamp)>) -> Value {
    let mut meta = json!({"resourceType": kind, "location": location});
    if let Some((created, modified)) = times {
        meta["created"] = json!(created.to_string());
        meta["lastModified"] = json!(modified.to_string());
    }
    meta
}

/// A resource, or what is wanted of one.
pub fn resource(status: StatusCode, resource: &Value) -> Response {
    let location = resource["meta"]["location"].as_str().and_then(|at| HeaderValue::from_str(at).ok());
    let mut answer = (status, [(CONTENT_TYPE, MEDIA_TYPE)], resource.to_string()).into_response();
    if let Some(location) = location {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

/// Part of a list.
pub fn list(resources: &[Value], total: u64, window: Window) -> Response {
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": window.skip + 1,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    });
    (StatusCode::OK, [(CONTENT_TYPE, MEDIA_TYPE)], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_chosen_by_name_whatever_its_spelling() {
        let whole = json!({"schemas": [], "id": "1", "displayName": "devs", "members": [], "meta": {}});
        let told = |attributes: Option<&str>, excluded: Option<&str>| {
            let asked = Asked {
                attributes: attributes.map(str::to_owned),
                excluded_attributes: excluded.map(str::to_owned),
                ..Asked::default()
            };
            let told = asked.select(whole.clone());
            let mut names: Vec<_> = told.as_object().expect("an object").keys().cloned().collect();
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!(told(None, None), "displayName id members meta schemas");
        assert_eq!(told(None, Some("members")), "displayName id meta schemas");
        assert_eq!(told(None, Some("id,members.value")), "displayName id members meta schemas");
        assert_eq!(told(Some("id, DISPLAYNAME"), None), "displayName id schemas");
        let long = "urn:ietf:params:scim:schemas:core:2.0:Group:members.value";
        assert_eq!(told(Some(long), None), "id members schemas");
    }

    #[test]
    fn a_window_begins_at_one_and_is_never_too_large() {
        let window = |start_index, count| {
            let Window { skip, limit } = Asked { start_index, count, ..Asked::default() }.window();
            (skip, limit)
        };
        assert_eq!(window(None, None), (0, COUNT_DEFAULT));
        assert_eq!(window(Some(-5), Some(-1)), (0, 0));
        assert_eq!(window(Some(11), Some(10)), (10, 10));
        assert_eq!(window(Some(1), Some(i64::MAX)), (0, COUNT_MAX));
    }
}
