//! What a directory learns about this side before anything else: what it can do, which resources there are, and their
//! schemas.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::http::input::PathParam;
use crate::http::scim::answer::{self, COUNT_MAX, Directory};
use crate::http::scim::refusal::Refusal;
use crate::http::scim::schemas::{self, CONFIGURATION, GROUP, RESOURCE_TYPE, USER};
use crate::store::Window;

pub async fn configuration(directory: Directory) -> Response {
    let location = format!("{}/ServiceProviderConfig", directory.base);
    let configuration = json!({
        "schemas": [CONFIGURATION],
        "patch": {"supported": true},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": COUNT_MAX},
        "changePassword": {"supported": false},
        "sort": {"supported": false},
        "etag": {"supported": false},
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "The token that this gateway has in auth.scim.token, in the header authorization.",
            "specUri": "https://www.rfc-editor.org/rfc/rfc6750",
            "primary": true,
        }],
        "meta": answer::meta("ServiceProviderConfig", &location, None),
    });
    answer::resource(StatusCode::OK, &configuration)
}

pub async fn resource_types(directory: Directory) -> Response {
    all(&kinds(&directory))
}

pub async fn resource_type(
    directory: Directory,
    PathParam(id): PathParam<String>,
) -> Result<Response, Refusal> {
    one(kinds(&directory), "resource type", &id)
}

pub async fn schemas(directory: Directory) -> Response {
    all(&published(&directory))
}

pub async fn schema(directory: Directory, PathParam(id): PathParam<String>) -> Result<Response, Refusal> {
    one(published(&directory), "schema", &id)
}

fn kinds(directory: &Directory) -> Vec<Value> {
    let kinds =
        [("User", "Users", "Who may call.", USER), ("Group", "Groups", "Users who share limits.", GROUP)];
    let kinds = kinds.map(|(id, endpoint, description, schema)| {
        json!({
            "schemas": [RESOURCE_TYPE],
            "id": id,
            "name": id,
            "endpoint": format!("/{endpoint}"),
            "description": description,
            "schema": schema,
            "schemaExtensions": [],
            "meta": answer::meta("ResourceType", &directory.location("ResourceTypes", id), None),
        })
    });
    kinds.into()
}

fn published(directory: &Directory) -> Vec<Value> {
    let mut published = schemas::all();
    for schema in &mut published {
        let at = directory.location("Schemas", schema["id"].as_str().unwrap_or_default());
        schema["meta"] = answer::meta("Schema", &at, None);
    }
    published
}

/// All of a short list.
fn all(resources: &[Value]) -> Response {
    let total = u64::try_from(resources.len()).unwrap_or(u64::MAX);
    answer::list(resources, total, Window { skip: 0, limit: COUNT_MAX })
}

fn one(resources: Vec<Value>, what: &str, id: &str) -> Result<Response, Refusal> {
    let found = resources.into_iter().find(|resource| resource["id"] == id);
    let found = found.ok_or_else(|| Refusal::not_found(what, id))?;
    Ok(answer::resource(StatusCode::OK, &found))
}
