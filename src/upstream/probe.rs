//! Active health checks: a GET on `health_path`, answered with 2xx or not.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{join, join_all};
use http::{HeaderMap, Method, StatusCode};
use tokio::time::timeout;

use super::authorize::CloudSource;
use super::target::Target;
use super::{Upstream, UpstreamRequest};
use crate::dialect;

/// A target that takes longer to answer a check is down.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Checks every target that has a `health_path`, and every key that was refused, at the same time; and has credentials
/// exchanged that are about to end. Idempotent; the caller ticks it.
pub async fn probe_all(upstream: &Upstream) {
    for target in upstream.targets() {
        target.keys().iter().filter_map(|key| key.source()).for_each(CloudSource::refresh);
    }
    let keys = join_all(upstream.targets().iter().map(check_suspects));
    let checked =
        upstream.targets().iter().filter_map(|target| target.health_path().map(|path| (target, path)));
    join(keys, join_all(checked.map(|(target, path)| probe(target, path)))).await;
}

/// Asks with every key that calls were refused for whether it is known at all: by a list of models. Only 401 condemns
/// it; a key may be good for calls and not for the list, and no call may take a key from everybody by what it says.
async fn check_suspects(target: &Arc<Target>) {
    target.state.cooldowns.purge(Instant::now());
    for id in target.state.suspects() {
        let Some(key) = target.keys().iter().find(|key| key.id == id) else { continue };
        // Where there is no list, there is nothing to ask for that no call pays for.
        if !target.platform().lists_models() {
            continue;
        }
        let asked = timeout(ANSWER_MAX, target.send(models_request(target), key)).await;
        let Ok(Ok(mut answer)) = asked else { continue };
        let status = answer.head.status;
        while poll_fn(|cx| answer.body.poll_piece(cx)).await.is_some_and(|piece| piece.is_ok()) {}
        let (target, name) = (&target, &*key.name);
        if status == StatusCode::UNAUTHORIZED {
            target.state.cooldowns.key_is_refused(id, Instant::now());
            tracing::warn!(
                target = target.name(),
                key = name,
                "the key is refused: it is not used until the configuration changes"
            );
        } else {
            tracing::info!(target = target.name(), key = name, %status, "the key is known: what was refused was a call");
        }
    }
}

fn models_request(target: &Target) -> UpstreamRequest {
    let shape = dialect::models(target.provider());
    UpstreamRequest {
        method: Method::GET,
        path_and_query: shape.asked_at.to_owned(),
        headers: shape.asked_with.into_iter().collect(),
        body: Bytes::new(),
        dialect: target.provider(),
    }
}

async fn probe(target: &Arc<Target>, path: &str) {
    let request = UpstreamRequest {
        method: Method::GET,
        path_and_query: path.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        dialect: target.provider(),
    };
    let late = || Err(format!("no answer within {}", humantime::format_duration(ANSWER_MAX)));
    let found = timeout(ANSWER_MAX, ask(target, request)).await.unwrap_or_else(|_| late());
    let up = found.is_ok();
    if let Err(reason) = &found {
        target.state.note_failure(reason.clone());
    }
    if target.state.health.checked(up) {
        match found {
            Ok(()) => tracing::info!(target = target.name(), "target is up again"),
            Err(reason) => tracing::warn!(target = target.name(), %reason, "target is down"),
        }
    }
}

async fn ask(target: &Arc<Target>, request: UpstreamRequest) -> Result<(), String> {
    let mut answer = target.ask(request).await.map_err(|error| error.to_string())?;
    let status = answer.head.status;
    // Read to the end, so that the connection can be used again.
    while poll_fn(|cx| answer.body.poll_piece(cx)).await.is_some_and(|piece| piece.is_ok()) {}
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
}
