//! One upstream address of a provider: its key, weight, models, health and connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use http::{HeaderValue, Uri};

use super::authorize::SigningScope;
use super::error::BadTarget;
use super::health::HealthState;
use super::key::Key;
use super::target_state::TargetState;
use crate::cloud::bedrock;
use crate::cloud::hosting::{Hosting, Platform};
use crate::config::{Auth, HangUp, Http2, TargetConfig};
use crate::dialect::convert::Api;
use crate::dialect::{self, Unknown};
use crate::domain::clock::Clock;
use crate::domain::provider::Provider;
use crate::transport::{self, Endpoint, Exchange, Proxy};

/// One upstream address.
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Target {
    name: Arc<str>,
    url: Arc<str>,
    provider: Provider,
    speaks: Vec<Provider>,
    tier: u32,
    weight: u32,
    rename: BTreeMap<String, Arc<str>>,
    models: GlobSet,
    model_globs: Vec<String>,
    /// The base URL's path without a trailing slash, and without the version that requests bring along.
    base_path: String,
    platform: Platform,
    /// For each dialect whose calls are made otherwise there.
    hosting: Vec<(Provider, Hosting)>,
    pub(super) signing: Option<SigningScope>,
    keys: Vec<Arc<Key>>,
    total_key_weight: u64,
    /// What answers say of where they come from.
    header: Option<HeaderValue>,
    include_usage: bool,
    responses: bool,
    websocket: bool,
    /// It is at its provider's own address.
    is_vendors: bool,
    /// Some models are named, beside those that it serves as it serves every model.
    names_models: bool,
    allow_admin_paths: bool,
    on_hangup: HangUp,
    health_path: Option<String>,
    pub(super) state: Arc<TargetState>,
}

impl Target {
    /// `before`: the target of that name until now.
    pub(super) fn new(
        config: &TargetConfig,
        before: Option<&Self>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, BadTarget> {
        let bad = |reason: String| BadTarget { name: config.name.clone(), reason };
        let uri: Uri = config.url.parse().map_err(|_| bad(format!("`{}` is no URL", config.url)))?;
        let base_path = uri.path().trim_end_matches('/').to_owned();
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let endpoint = endpoint(uri, config).map_err(bad)?;
        let exchange = Exchange { proxy: endpoint.proxy.clone(), ca_file: endpoint.ca_file.clone() };
        let state = match before {
            Some(before) if before.state.endpoint == endpoint => Arc::clone(&before.state),
            _ => Arc::new(TargetState::new(endpoint, Arc::clone(clock)).map_err(bad)?),
        };
        let keys = Key::all_of(config, &exchange, clock, |id| state.key(id)).map_err(bad)?;
        let mut models = GlobSetBuilder::new();
        for glob in &config.models {
            models.add(GlobBuilder::new(glob).build().map_err(|e| bad(e.to_string()))?);
        }
        Ok(Self {
            name: config.name.as_str().into(),
            url: config.url.as_str().into(),
            provider: config.provider,
            speaks: config.speaks.clone(),
            tier: config.tier,
            weight: config.weight,
            rename: config.rename.iter().map(|(asked, sent)| (asked.clone(), sent.as_str().into())).collect(),
            models: models.build().map_err(|e| bad(e.to_string()))?,
            model_globs: config.models.clone(),
            platform: config.platform,
            hosting: hosting(config, &base_path),
            signing: (config.auth == Auth::SigV4).then(|| SigningScope {
                region: config.region.clone(),
                service: bedrock::service(&host),
                host,
            }),
            base_path,
            total_key_weight: keys.iter().map(|key| u64::from(key.weight)).sum(),
            keys,
            header: HeaderValue::from_str(&config.name).ok(),
            include_usage: config.include_usage,
            responses: config.responses,
            websocket: config.websocket,
            is_vendors: dialect::is_own_address(config.provider, &config.url),
            names_models: !config.rename.is_empty() || config.models.iter().any(|glob| glob != "*"),
            allow_admin_paths: config.allow_admin_paths,
            on_hangup: config.on_hangup,
            health_path: config.health_path.clone(),
            state,
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, shared.
    #[must_use]
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Its base URL, without credentials.
    #[must_use]
    pub fn url(&self) -> Arc<str> {
        Arc::clone(&self.url)
    }

    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider
    }

    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Who hosts its models.
    #[must_use]
    pub fn platform(&self) -> Platform {
        self.platform
    }

    /// How calls of that dialect are made there, if not as at the provider itself.
    #[must_use]
    pub fn hosting(&self, dialect: Provider) -> Option<&Hosting> {
        self.hosting.iter().find(|(hosted, _)| *hosted == dialect).map(|(_, hosting)| hosting)
    }

    /// Whether calls may be made there in another form than the caller's.
    #[must_use]
    pub fn may_rewrite(&self) -> bool {
        self.platform != Platform::Provider
    }

    /// What calls for the model with these betas leave out, because its host does not know it.
    #[must_use]
    pub fn unknown_fields(&self, model: &Arc<str>, betas: &[&str]) -> Vec<Unknown> {
        self.state.unknown.of(model, betas, Instant::now())
    }

    /// A call with these betas was refused for what its host does not know, and the next is sent without. False if
    /// nothing follows from it that did not before.
    #[must_use]
    pub fn does_not_know(&self, model: &Arc<str>, unknown: Vec<Unknown>, betas: &[&str]) -> bool {
        self.state.unknown.refused(model, unknown, betas, Instant::now())
    }

    /// A call with these betas was answered.
    pub fn knows<'b>(&self, model: &Arc<str>, betas: impl Iterator<Item = &'b str>) {
        self.state.unknown.accepted(model, betas);
    }

    /// Whether `OpenAI` streams may be asked for their usage on the caller's behalf.
    #[must_use]
    pub fn include_usage(&self) -> bool {
        self.include_usage
    }

    /// Whether it has `OpenAI`'s Responses, beside Chat Completions.
    pub(super) fn has_responses(&self) -> bool {
        self.responses
    }

    /// Whether calls of that dialect may be made over a WebSocket, where the dialect has that.
    #[must_use]
    pub fn takes_websocket(&self, dialect: Provider) -> bool {
        self.websocket && self.speaks(dialect)
    }

    /// Whether models of every maker may be expected of it.
    pub(super) fn has_any_vendors_models(&self) -> bool {
        !self.is_vendors && dialect::serves_any_vendor(self.provider)
    }

    /// Whether calls in the dialect reach it, as they are or converted.
    #[must_use]
    pub fn is_reached_by(&self, dialect: Provider) -> bool {
        self.speaks(dialect)
            || Api::ALL.into_iter().any(|api| api.dialect() == dialect && self.conversion_of(api).is_some())
    }

    /// Whether calls about the provider's account may go there.
    #[must_use]
    pub fn allows_admin_paths(&self) -> bool {
        self.allow_admin_paths
    }

    /// What happens to an answer whose caller has hung up.
    #[must_use]
    pub fn on_hangup(&self) -> HangUp {
        self.on_hangup
    }

    /// The path of active health checks.
    #[must_use]
    pub fn health_path(&self) -> Option<&str> {
        self.health_path.as_deref()
    }

    /// The globs of the models it serves.
    #[must_use]
    pub fn model_globs(&self) -> &[String] {
        &self.model_globs
    }

    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        self.serves_everything() || self.models.is_match(model) || self.rename.contains_key(model)
    }

    /// Whether it is known by name to have the model, not just by serving everything.
    pub(super) fn names(&self, model: &str) -> bool {
        // Every call of a target that simply serves everything comes here.
        if !self.names_models {
            return false;
        }
        let is_meant = |glob: &String| glob != "*";
        let by_glob = self.models.matches(model).into_iter().filter_map(|at| self.model_globs.get(at));
        by_glob.into_iter().any(is_meant) || self.rename.contains_key(model)
    }

    /// The model that is sent in place of `asked`, if it is another.
    pub(super) fn renamed(&self, asked: &str) -> Option<&Arc<str>> {
        if self.rename.is_empty() { None } else { self.rename.get(asked) }
    }

    /// The names that it takes for models of other names.
    pub fn renamed_models(&self) -> impl Iterator<Item = &str> {
        self.rename.keys().map(String::as_str)
    }

    /// Whether it takes calls of that dialect as they are.
    #[must_use]
    pub fn speaks(&self, dialect: Provider) -> bool {
        self.speaks.contains(&dialect)
    }

    #[must_use]
    pub fn tier(&self) -> u32 {
        self.tier
    }

    pub(super) fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    pub(super) fn total_key_weight(&self) -> u64 {
        self.total_key_weight
    }

    /// Its name as the value of a header; `None` if no header can carry it.
    #[must_use]
    pub fn header(&self) -> Option<&HeaderValue> {
        self.header.as_ref()
    }

    /// Whether it serves every model.
    #[must_use]
    pub fn serves_everything(&self) -> bool {
        self.model_globs.iter().any(|glob| glob == "*")
    }

    /// An answer's stream of events came to its end; `hollow`: without an event.
    pub fn stream_ended(&self, hollow: bool) {
        self.state.health.stream_ended(hollow, Instant::now());
    }

    /// Whether it may be given calls at all.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        let is_up = self.health_state(now) != HealthState::Down;
        !self.state.is_draining() && is_up && self.weight > 0
    }

    pub(super) fn health_state(&self, now: Instant) -> HealthState {
        self.state.health.health_state(now)
    }

    /// Why it gets no call now; `None` if it may get one.
    pub(super) fn not_usable(&self) -> Option<String> {
        let why = if self.state.is_draining() {
            "is drained".to_owned()
        } else if self.weight == 0 {
            "has no weight".to_owned()
        } else {
            match self.health_state(Instant::now()) {
                HealthState::Healthy | HealthState::HalfOpen => return None,
                HealthState::Ejected(_) => "has failed several times in a row".to_owned(),
                HealthState::Down => "does not answer its health_path".to_owned(),
            }
        };
        Some(format!("{} {why}", self.name))
    }

    /// Closes connections that have been idle for too long to be used again.
    pub(super) fn close_idle(&self) {
        self.state.client.close_idle();
    }

    /// Stops (or resumes) giving it new calls; those it is answering are finished. True if that is a change.
    pub fn set_draining(&self, draining: bool) -> bool {
        self.state.set_draining(draining)
    }

    /// The path below the base URL. People write base URLs with and without the version (`…/v1`); requests always
    /// bring it, so that it must not stand twice.
    pub(super) fn path(&self, path_and_query: &str, dialect: Provider) -> String {
        let version = self.base_path.rfind('/').map_or("", |at| &self.base_path[at..]);
        let path = path_and_query.split('?').next().unwrap_or_default();
        let repeated = !version.is_empty() && dialect::repeats_version(dialect, version, path);
        let base =
            if repeated { &self.base_path[..self.base_path.len() - version.len()] } else { &*self.base_path };
        [base, path_and_query].concat()
    }
}

fn hosting(config: &TargetConfig, base_path: &str) -> Vec<(Provider, Hosting)> {
    let hosted =
        config.speaks.iter().filter(|dialect| dialect::is_hosted(**dialect, config.platform, base_path));
    let hosting = |dialect: &Provider| {
        let hosting = match config.platform {
            Platform::Vertex => {
                Hosting::Vertex { project: config.project.clone(), region: config.region.clone() }
            }
            Platform::Bedrock => Hosting::Invoke,
            Platform::Provider | Platform::Azure => return None,
        };
        Some((*dialect, hosting))
    };
    hosted.filter_map(hosting).collect()
}

fn endpoint(url: Uri, config: &TargetConfig) -> Result<Endpoint, String> {
    let proxy = config.proxy.as_ref().map(|proxy| Proxy::parse(proxy.expose())).transpose()?;
    Ok(Endpoint {
        url,
        http2: match config.http2 {
            Http2::No => transport::Http2::No,
            Http2::Offered => transport::Http2::Offered,
            Http2::Only => transport::Http2::Only,
        },
        proxy,
        ca_file: config.ca_file.clone(),
        connect_timeout: config.connect_timeout,
        answer_timeout: config.answer_timeout,
        idle_timeout: config.idle_timeout,
        total_timeout: config.total_timeout,
        queue_timeout: config.queue_timeout,
        max_connections: config.max_connections,
        http2_connections: config.http2_connections,
    })
}
