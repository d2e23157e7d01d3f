//! Active health checks: a GET on `health_path`, answered with 2xx or not.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method};

use super::target::Target;
use super::{Outgoing, Upstream};

/// Checks every target that has a `health_path`, at the same time. Idempotent; the caller ticks it.
pub async fn probe_all(upstream: &Upstream) {
    let checked =
        upstream.targets().iter().filter_map(|target| target.health_path().map(|path| (target, path)));
    join_all(checked.map(|(target, path)| probe(target, path))).await;
}

async fn probe(target: &Arc<Target>, path: &str) {
    let request = Outgoing {
        method: Method::GET,
        path_and_query: path.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        asking: None,
        tells_health: false,
    };
    let found = match target.send(&request).await {
        Ok(mut answer) => {
            let status = answer.head.status;
            // Read to the end, so that the connection can be used again.
            while poll_fn(|cx| answer.body.poll_piece(cx)).await.is_some_and(|piece| piece.is_ok()) {}
            if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
        }
        Err(error) => Err(error.to_string()),
    };
    let up = found.is_ok();
    if target.health.checked(up) {
        match found {
            Ok(()) => tracing::info!(target = target.name(), "target is up again"),
            Err(reason) => tracing::warn!(target = target.name(), %reason, "target is down"),
        }
    }
}
