//! Takes over another configuration while the node runs: all of what can be, or nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::fd_limit;
use crate::alerts::Alerts;
use crate::config::{self, Config, Secret, Sources};
use crate::domain::failure::{Failure, Kind};
use crate::http::reload::{Reload, Reloaded};
use crate::inbound::tls::{NewTls, Tls};
use crate::proxy::Live;
use crate::telemetry::log::{self, Filter};
use crate::upstream::Configs;

/// How often files of secrets and certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What can be replaced, and what it was made of.
pub(super) struct Reloader {
    sources: Sources,
    /// What is in effect. Held while another configuration is taken over: one at a time.
    config: Mutex<Config>,
    live: Arc<Live>,
    alerts: Alerts,
    filter: Filter,
    /// The servers' files.
    tls: Vec<Arc<Tls>>,
}

/// What is read of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All of it.
    Everything,
    /// What files of secrets and certificates hold, by the configuration that is in effect.
    FilesOnly,
}

impl Reloader {
    pub(super) fn new(
        sources: Sources,
        config: Config,
        (live, alerts): (Arc<Live>, Alerts),
        filter: Filter,
        tls: Vec<Arc<Tls>>,
    ) -> Arc<Self> {
        Arc::new(Self { sources, config: Mutex::new(config), live, alerts, filter, tls })
    }

    /// Reads the configuration again, checks all of it, and only then takes it over.
    fn reload_now(&self, extent: Extent) -> Result<Reloaded, Failure> {
        let mut in_effect = self.config.lock();
        let loaded = match extent {
            Extent::Everything => config::load(&self.sources),
            Extent::FilesOnly => config::load_secrets_again(&self.sources, &in_effect),
        };
        let mut new = loaded.map_err(|problems| invalid(&problems.to_string()))?;
        // As it was fitted when the node began.
        new.http.max_connections = fd_limit::fit(new.http.max_connections);
        log::check(&new.log.level).map_err(|reason| invalid(&reason))?;
        let tls: Vec<NewTls> = self
            .tls
            .iter()
            .map(Tls::read_again)
            .collect::<Result<_, _>>()
            .map_err(|reason| invalid(&reason))?;
        let configs = Configs {
            targets: &new.targets,
            models: &new.models,
            upstream: &new.upstream,
            capabilities: &new.capabilities,
        };
        let alerts = self.alerts.prepare(&new.alerts, &new.alerting);
        let take_over_alerts = alerts.map_err(|error| invalid(&error.to_string()))?;
        // From here on nothing fails but the targets, which come first.
        self.live.replace(configs, new.prices.clone()).map_err(|error| invalid(&error.to_string()))?;
        take_over_alerts();
        tls.into_iter().for_each(NewTls::take_effect);
        if let Err(reason) = self.filter.set(&new.log.level, new.log.requests) {
            tracing::warn!(%reason, "log.level could not be changed");
        }
        let needs_restart = needs_restart(&in_effect, &new);
        let targets = new.targets.iter().map(|target| target.name.clone()).collect();
        // What needs a restart is compared with what the node runs by, however often it is asked.
        in_effect.targets = new.targets;
        in_effect.models = new.models;
        in_effect.upstream = new.upstream;
        in_effect.prices = new.prices;
        in_effect.capabilities = new.capabilities;
        in_effect.alerts = new.alerts;
        in_effect.alerting = new.alerting;
        in_effect.log.level = new.log.level;
        in_effect.log.requests = new.log.requests;
        in_effect.files = new.files;
        in_effect.text = new.text;
        Ok(Reloaded { targets, needs_restart })
    }

    /// Looks at the files and reloads when it is asked to, until the node leaves.
    pub(super) async fn run(self: Arc<Self>, mut asked: watch::Receiver<u32>, stop: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.fingerprint();
        loop {
            let extent = tokio::select! {
                () = stop.cancelled() => return,
                changed = asked.changed() => match changed {
                    Ok(()) => Extent::Everything,
                    Err(_) => return,
                },
                _ = look.tick() => {
                    if self.fingerprint() == seen {
                        continue;
                    }
                    Extent::FilesOnly
                }
            };
            let what =
                if extent == Extent::Everything { "the configuration" } else { "secrets and certificates" };
            match self.reload_now(extent) {
                Ok(Reloaded { targets, needs_restart }) => {
                    tracing::info!(targets = targets.len(), ?needs_restart, "{what} taken over");
                }
                Err(reason) => tracing::error!(%reason, "{what} not taken over: what was in effect stays"),
            }
            seen = self.fingerprint();
        }
    }

    /// What tells that a file has changed, without reading it. Mounted secrets are links that are turned to another file.
    fn fingerprint(&self) -> Vec<(PathBuf, Option<(SystemTime, u64)>)> {
        let files: BTreeSet<PathBuf> = self.config.lock().files.iter().cloned().collect();
        let look = |file: PathBuf| {
            let metadata = std::fs::metadata(&file).ok();
            let seen = metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len())));
            (file, seen)
        };
        files.into_iter().map(look).collect()
    }
}

impl Reload for Reloader {
    fn reload(self: Arc<Self>) -> BoxFuture<'static, Result<Reloaded, Failure>> {
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || self.reload_now(Extent::Everything)).await;
            done.unwrap_or_else(|error| Err(Failure::new(Kind::Internal, format!("reload: {error}"))))
        })
    }
}

fn invalid(reason: &str) -> Failure {
    Failure::new(Kind::Invalid, format!("nothing was taken over: {reason}"))
}

/// Settings that differ from those that the node runs by and are read only when it starts.
fn needs_restart(running: &Config, new: &Config) -> Vec<String> {
    let (before, after) = (config::show_sections(running), config::show_sections(new));
    let mut changed: Vec<String> = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value))
        .map(|(key, _)| key.clone())
        .collect();
    let secret = |config: &Config| config.cluster.secret.as_ref().map(|secret| secret.expose().to_owned());
    if secret(running) != secret(new) {
        changed.push("cluster.secret".to_owned());
    }
    let url = |config: &Config| match &config.store.database {
        config::Database::Postgres(url) => Some(Secret::expose(url).to_owned()),
        config::Database::Sqlite(_) => None,
    };
    if url(running) != url(new) && !changed.iter().any(|key| key == "store.url") {
        changed.push("store.url".to_owned());
    }
    if running.log.format != new.log.format {
        changed.push("log.format".to_owned());
    }
    changed
}
