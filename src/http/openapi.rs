//! The `OpenAPI` document of the control plane, made from the handlers.

use axum::Json;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};

use crate::http::openapi_calls::Calls;
use crate::http::{
    alerts, audit, auth, backup, config, groups, health, import, keys, leadership, me, my_models, peers,
    problem, signing_keys, stats, targets, usage, usage_rejected, users,
};

/// Collects the documentation of the handlers.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "sproxy", description = "People, limits, usage and nodes of an sproxy gateway; and where it takes the \
        calls of its providers' APIs, whose bodies are theirs. Errors of the control plane are RFC 9457 problem details. \
        Times are RFC 3339 in UTC, windows half-open.", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    modifiers(&Credentials, &OperationIds, &Calls),
    servers((url = "/", description = "The node that answers with this document")),
    security(("bearer" = [])),
    components(schemas(problem::Problem)),
    paths(
        auth::login, auth::refresh, auth::logout,
        me::show, me::usage, me::quota, me::nodes, my_models::list, me::list_keys, me::create_key, me::revoke_key, me::reissue_key,
        users::list, users::create, import::import, users::show, users::change, users::remove, users::set_password, users::revoke,
        groups::list, groups::create, groups::show, groups::change, groups::remove,
        keys::list, keys::create, keys::revoke, keys::reissue, signing_keys::list, signing_keys::rotate, leadership::show, leadership::promote,
        usage::list, usage_rejected::retry_rejected, usage_rejected::dismiss_rejected, stats::total, stats::users, stats::groups, stats::models, stats::nodes, stats::days,
        peers::list, peers::drain, peers::undrain, peers::forget,
        targets::list, targets::drain, targets::undrain, alerts::list, alerts::events, alerts::test, config::reload,
        audit::list, backup::download, document,
        health::alive, health::ready, health::metrics,
    )
)]
struct Collected;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An API key or an access token; on the control plane also the node's local admin token",
            ))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Names every operation by its method and path; the handlers' own names repeat.
struct OperationIds;

impl Modify for OperationIds {
    fn modify(&self, document: &mut OpenApi) {
        for (path, item) in &mut document.paths.paths {
            let words = path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty());
            let words = words.filter(|word| !matches!(*word, "admin" | "v1")).collect::<Vec<_>>().join("_");
            let operations = [
                ("get", &mut item.get),
                ("post", &mut item.post),
                ("patch", &mut item.patch),
                ("delete", &mut item.delete),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    operation.operation_id = Some(format!("{method}_{words}"));
                }
            }
        }
    }
}

/// This document. Needs no credential: it says nothing that the source does not.
#[utoipa::path(get, path = "/admin/v1/openapi.json", tag = "openapi", security(()),
    responses((status = 200, description = "This document", body = Object)))]
pub async fn document() -> Json<OpenApi> {
    Json(Collected::openapi())
}
