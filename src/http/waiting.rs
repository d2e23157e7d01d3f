//! The HTTP server of a node that cannot work yet: it is alive, it says what it waits for, and it turns calls away so
//! that they are tried elsewhere or again.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::response::IntoResponse;
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::json;

use super::body::Body;
use super::cors::{self, Cors};
use super::dispatch::is_page;
use super::listen::turned_away;
use super::refusal::refuse;
use crate::domain::failure::Failure;
use crate::inbound::{Handler, RequestBody};

pub struct Waiting {
    /// What the node waits for.
    pub reason: Arc<dyn Fn() -> String + Send + Sync>,
    /// Tells people at a browser, instead of a problem for programs.
    pub page: fn(&str, Failure) -> axum::response::Response,
    /// The origins whose pages may call.
    pub cors: Option<Arc<Cors>>,
}

impl Handler for Waiting {
    type Body = Body;

    async fn handle(self: Arc<Self>, head: Parts, _: RequestBody, _: SocketAddr) -> Response<Body> {
        cors::answer(self.cors.as_deref(), &head, || self.answer(&head))
    }

    fn no_capacity(&self, head: &Parts) -> Response<Body> {
        cors::answer(self.cors.as_deref(), head, || turned_away(head))
    }
}

impl Waiting {
    fn answer(&self, head: &Parts) -> Response<Body> {
        let reason = (self.reason)();
        let path = head.uri.path();
        let answer = match path {
            "/healthz" => {
                Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })).into_response()
            }
            "/readyz" => {
                let text = json!({ "status": "not ready", "reasons": [reason] });
                (StatusCode::SERVICE_UNAVAILABLE, Json(text)).into_response()
            }
            path if is_page(path) => (self.page)(path, Failure::not_yet(reason)),
            _ => return refuse(head, Failure::not_yet(reason)),
        };
        answer.map(Body::Control)
    }
}
