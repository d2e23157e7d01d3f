//! A key of a target: how it is sent, and what was counted of it.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderName, HeaderValue};
use prometheus_client::metrics::counter::Counter;

use super::authorize::CloudSource;
use crate::cloud::credentials::CloudCredentials;
use crate::config::{Auth, KeyConfig, Secret, TargetConfig};
use crate::dialect;
use crate::domain::clock::Clock;
use crate::domain::provider::Provider;
use crate::transport::Exchange;

/// A key, or that a target has none.
pub(super) struct Key {
    /// Empty for a target's only key.
    pub(super) name: Arc<str>,
    /// The same for the same key under another configuration.
    pub(super) id: u64,
    /// Its share of the target's calls.
    pub(super) weight: u32,
    /// For each dialect that the target speaks; empty where [`KeyState::source`] has what is sent.
    credentials: Vec<(Provider, HeaderName, HeaderValue)>,
    pub(super) state: Arc<KeyState>,
}

/// What a key has of its own while the node runs.
#[derive(Default)]
pub(super) struct KeyState {
    pub(super) attempts: Counter,
    pub(super) failures: Counter,
    in_flight: AtomicUsize,
    /// Credentials that are exchanged while the node runs, if the key is such.
    source: OnceLock<CloudSource>,
}

/// A call that a key is used for; it ends when this is dropped.
pub struct InFlight(Arc<KeyState>);

impl KeyState {
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Key {
    /// The keys of a target; one without a credential where it has none. `state` gives what a key had before.
    ///
    /// # Errors
    /// A key that cannot be used, in words.
    pub(super) fn all_of(
        config: &TargetConfig,
        exchange: &Exchange,
        clock: &Arc<dyn Clock>,
        mut state: impl FnMut(u64) -> Arc<KeyState>,
    ) -> Result<Vec<Arc<Self>>, String> {
        let make = Maker { config, exchange, clock };
        if config.keys.is_empty() {
            return Ok(vec![make.key("", config.api_key.as_ref(), 1, &mut state)?]);
        }
        let of = |key: &KeyConfig| make.key(&key.name, Some(&key.api_key), key.weight, &mut state);
        config.keys.iter().map(of).collect()
    }

    /// The header with the key, for a call in that dialect.
    pub(super) fn credential(&self, dialect: Provider) -> Option<(&HeaderName, &HeaderValue)> {
        let found = self.credentials.iter().find(|(spoken, ..)| *spoken == dialect);
        found.map(|(_, name, value)| (name, value))
    }

    /// Credentials that are exchanged while the node runs, if it is such a key.
    pub(super) fn source(&self) -> Option<&CloudSource> {
        self.state.source.get()
    }

    pub(super) fn has_secret(&self) -> bool {
        !self.credentials.is_empty() || self.source().is_some()
    }
}

/// Makes the keys of one target.
struct Maker<'c> {
    config: &'c TargetConfig,
    exchange: &'c Exchange,
    clock: &'c Arc<dyn Clock>,
}

impl Maker<'_> {
    fn key(
        &self,
        name: &str,
        secret: Option<&Secret>,
        weight: u32,
        state: &mut impl FnMut(u64) -> Arc<KeyState>,
    ) -> Result<Arc<Key>, String> {
        let auth = self.config.auth;
        let cloud = match (auth, secret) {
            (Auth::SigV4, Some(key)) => Some(CloudCredentials::of_aws_key(key.expose())),
            (Auth::Gcp, Some(file)) => Some(CloudCredentials::of_gcp_file(file.expose())),
            (Auth::SigV4 | Auth::Gcp, None) => {
                self.config.machine.as_ref().map(|machine| Ok(machine.credentials.clone()))
            }
            _ => None,
        };
        let cloud = cloud.transpose().map_err(|error| error.to_string())?;
        let credential = |dialect: &Provider| {
            let secret = secret.filter(|_| auth != Auth::None && cloud.is_none())?;
            let sent = credential(auth, *dialect, secret.expose())?;
            Some(sent.map(|(header, value)| (*dialect, header, value)))
        };
        let credentials: Result<_, _> = self.config.speaks.iter().filter_map(credential).collect();
        let credentials =
            credentials.map_err(|_| "an API key has characters that no header can carry".to_owned())?;
        let fingerprint = self.config.machine.as_ref().map_or(0, |machine| machine.fingerprint);
        let id = id(name, secret.map_or("", Secret::expose), fingerprint);
        let state = state(id);
        if let Some(cloud) = cloud {
            let label = if name.is_empty() {
                self.config.name.clone()
            } else {
                format!("{}/{name}", self.config.name)
            };
            state.source.get_or_init(|| CloudSource::new(&label, cloud, self.exchange.clone(), self.clock));
        }
        Ok(Arc::new(Key { name: name.into(), id, weight, credentials, state }))
    }
}

fn credential(
    auth: Auth,
    dialect: Provider,
    secret: &str,
) -> Option<Result<(HeaderName, HeaderValue), InvalidHeaderValue>> {
    let (name, scheme) = match auth {
        Auth::None | Auth::SigV4 | Auth::Gcp => return None,
        Auth::OfDialect => return Some(dialect::credential(dialect, secret)),
        Auth::XApiKey => (HeaderName::from_static("x-api-key"), ""),
        Auth::Bearer => (AUTHORIZATION, "Bearer "),
        Auth::ApiKey => (HeaderName::from_static("api-key"), ""),
        Auth::XGoogApiKey => (HeaderName::from_static("x-goog-api-key"), ""),
    };
    Some(HeaderValue::from_str(&[scheme, secret].concat()).map(|mut value| {
        value.set_sensitive(true);
        (name, value)
    }))
}

fn id(name: &str, secret: &str, fingerprint: u64) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    hasher.write(name.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(secret.as_bytes());
    hasher.write_u64(fingerprint);
    hasher.finish()
}
