//! Active health checks: a GET on `health_path`, answered with 2xx or not.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method};
use tokio::time::timeout;

use super::target::Target;
use super::{Upstream, UpstreamRequest};

/// A target that takes longer to answer a check is down.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Checks every target that has a `health_path`, at the same time. Idempotent; the caller ticks it.
pub async fn probe_all(upstream: &Upstream) {
    let checked =
        upstream.targets().iter().filter_map(|target| target.health_path().map(|path| (target, path)));
    join_all(checked.map(|(target, path)| probe(target, path))).await;
}

async fn probe(target: &Arc<Target>, path: &str) {
    let request = UpstreamRequest {
        method: Method::GET,
        path_and_query: path.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        counts_for_health: false,
    };
    let late = || Err(format!("no answer within {}", humantime::format_duration(ANSWER_MAX)));
    let found = timeout(ANSWER_MAX, ask(target, request)).await.unwrap_or_else(|_| late());
    let up = found.is_ok();
    if let Err(reason) = &found {
        target.state.note(false, Some(reason.clone()));
    }
    if target.state.health.checked(up) {
        match found {
            Ok(()) => tracing::info!(target = target.name(), "target is up again"),
            Err(reason) => tracing::warn!(target = target.name(), %reason, "target is down"),
        }
    }
}

async fn ask(target: &Arc<Target>, request: UpstreamRequest) -> Result<(), String> {
    let mut answer = target.send(request).await.map_err(|error| error.to_string())?;
    let status = answer.head.status;
    // Read to the end, so that the connection can be used again.
    while poll_fn(|cx| answer.body.poll_piece(cx)).await.is_some_and(|piece| piece.is_ok()) {}
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
}
