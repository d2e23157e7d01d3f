//! A key of a target: how it is sent, and what was counted of it.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderName, HeaderValue};
use prometheus_client::metrics::counter::Counter;

use crate::config::{Auth, KeyConfig, Secret, TargetConfig};
use crate::dialect;
use crate::domain::provider::Provider;

/// A key, or that a target has none.
pub(super) struct Key {
    /// Empty for a target's only key.
    pub(super) name: Arc<str>,
    /// The same for the same key under another configuration.
    pub(super) id: u64,
    /// Its share of the target's calls.
    pub(super) weight: u32,
    /// For each dialect that the target speaks.
    credentials: Vec<(Provider, HeaderName, HeaderValue)>,
    pub(super) state: Arc<KeyState>,
}

/// What a key has of its own while the node runs.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    pub(super) attempts: Counter,
    pub(super) failures: Counter,
    in_flight: AtomicUsize,
}

/// A call that a key is used for; it ends when this is dropped.
#[derive(Debug)]
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
    /// A key with characters that no header can carry.
    pub(super) fn all_of(
        config: &TargetConfig,
        mut state: impl FnMut(u64) -> Arc<KeyState>,
    ) -> Result<Vec<Arc<Self>>, InvalidHeaderValue> {
        if config.keys.is_empty() {
            return Ok(vec![Self::new("", config.api_key.as_ref(), 1, config, &mut state)?]);
        }
        let of = |key: &KeyConfig| Self::new(&key.name, Some(&key.api_key), key.weight, config, &mut state);
        config.keys.iter().map(of).collect()
    }

    fn new(
        name: &str,
        secret: Option<&Secret>,
        weight: u32,
        config: &TargetConfig,
        state: &mut impl FnMut(u64) -> Arc<KeyState>,
    ) -> Result<Arc<Self>, InvalidHeaderValue> {
        let credential = |dialect: &Provider| {
            let secret = secret.filter(|_| config.auth != Auth::None)?;
            let sent = credential(config.auth, *dialect, secret.expose());
            Some(sent.map(|(header, value)| (*dialect, header, value)))
        };
        let id = id(name, secret.map_or("", Secret::expose));
        Ok(Arc::new(Self {
            name: name.into(),
            id,
            weight,
            credentials: config.speaks.iter().filter_map(credential).collect::<Result<_, _>>()?,
            state: state(id),
        }))
    }

    /// The header with the key, for a call in that dialect.
    pub(super) fn credential(&self, dialect: Provider) -> Option<(&HeaderName, &HeaderValue)> {
        let found = self.credentials.iter().find(|(spoken, ..)| *spoken == dialect);
        found.map(|(_, name, value)| (name, value))
    }

    pub(super) fn has_secret(&self) -> bool {
        !self.credentials.is_empty()
    }
}

fn credential(
    auth: Auth,
    dialect: Provider,
    secret: &str,
) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
    let (name, scheme) = match auth {
        Auth::OfDialect | Auth::None => return dialect::credential(dialect, secret),
        Auth::XApiKey => (HeaderName::from_static("x-api-key"), ""),
        Auth::Bearer => (AUTHORIZATION, "Bearer "),
        Auth::ApiKey => (HeaderName::from_static("api-key"), ""),
        Auth::XGoogApiKey => (HeaderName::from_static("x-goog-api-key"), ""),
    };
    let mut value = HeaderValue::from_str(&[scheme, secret].concat())?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn id(name: &str, secret: &str) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    hasher.write(name.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(secret.as_bytes());
    hasher.finish()
}
