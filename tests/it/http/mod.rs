//! The control plane over sockets: a router on port 0 with a database of its own, and a client that makes a test
//! short.

mod backup;
mod browsers;
mod canary;
mod import;
mod keys;
mod lists;
mod login;
mod managed_usage;
mod my_models;
mod people;
mod quota;
mod roles;
mod scim;
mod usage;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sproxy::accounts::{Accounts, LoginThrottleRules, Settings};
use sproxy::alerts::{Alerts, AlertsParts};
use sproxy::config::{AlertingConfig, LdapConfig, OidcConfig, UpstreamConfig};
use sproxy::domain::clock::{Clock, ManualClock, Moment, SystemClock, Timestamp};
use sproxy::domain::failure::{Failure, Kind};
use sproxy::domain::ids::NodeId;
use sproxy::domain::leadership::Leadership;
use sproxy::domain::peer::Peer;
use sproxy::domain::price::{Entry, Price, PriceList, Source as PriceSource};
use sproxy::domain::secret::Secret;
use sproxy::domain::summary::Dismissed;
use sproxy::http::callers::Callers;
use sproxy::http::control::{Cluster, ControlState, Promotion};
use sproxy::http::reload::{Reload, Reloaded};
use sproxy::http::scim::token::ScimToken;
use sproxy::http::site::Sites;
use sproxy::ldap::Ldap;
use sproxy::oidc::Oidc;
use sproxy::proxy::Live;
use sproxy::quota::{Quota, SubjectId};
use sproxy::store::usage::NodeFilter;
use sproxy::store::{Location, Store, Synchronous, UsageRepo};
use sproxy::ui::router;
use sproxy::upstream::Configs;

pub const ADMIN_PASSWORD: &str = "correct horse battery";
/// What a directory that provisions people has.
pub const SCIM_TOKEN: &str = "canary-scim-token-0123456789abcdef0123";
pub const START: &str = "2026-11-22T10:00:00Z";

/// Prices of a node that has no targets.
fn free() -> PriceList {
    PriceList::flat(Entry {
        price: Arc::new(Price::default()),
        multipliers: Vec::new(),
        source: PriceSource::BuiltIn,
    })
}

/// A leader's control plane, and the clock it lives by.
pub struct Plane {
    pub url: String,
    pub store: Store,
    pub accounts: Accounts,
    pub quota: Quota,
    pub clock: Arc<ManualClock>,
    pub dir: tempfile::TempDir,
    /// The local admin token.
    pub admin: String,
    client: reqwest::Client,
}

/// A node without peers.
struct Alone(Timestamp);

impl Cluster for Alone {
    fn no_accounts_yet(&self) -> Option<String> {
        None
    }

    fn peers(&self) -> Vec<Peer> {
        Vec::new()
    }

    fn leader(&self) -> Option<NodeId> {
        None
    }

    fn complete_through(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Failure>> {
        Box::pin(async { Ok(Some(self.0)) })
    }

    fn rejected(&self) -> BoxFuture<'_, Result<Dismissed, Failure>> {
        Box::pin(async { Ok(Dismissed::default()) })
    }

    fn dismiss_rejected<'a>(&'a self, _: &'a mut Dismissed) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn drain<'a>(&'a self, id: &'a NodeId, _: bool) -> BoxFuture<'a, Result<Peer, Failure>> {
        Box::pin(async move { Err(Failure::new(Kind::NotFound, format!("there is no peer {id}"))) })
    }

    fn forget<'a>(&'a self, id: &'a NodeId) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move { Err(Failure::new(Kind::NotFound, format!("there is no peer {id}"))) })
    }
}

impl Promotion for Alone {
    fn known(&self) -> Option<Leadership> {
        None
    }

    fn superseded(&self) -> Option<String> {
        None
    }

    fn learn(&self, _: Leadership) -> BoxFuture<'_, Result<Leadership, Failure>> {
        Box::pin(async { Err(Failure::new(Kind::Conflict, "there is nobody else")) })
    }

    fn promote(&self, _: bool) -> BoxFuture<'_, Result<Leadership, Failure>> {
        Box::pin(async { Err(Failure::new(Kind::Conflict, "it leads already")) })
    }
}

/// What came back.
pub struct Got {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The JSON of an answer that has to have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The problem of an answer that has to be one.
    #[track_caller]
    pub fn problem(self, status: u16, word: &str) -> Value {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        let problem = self.expect(status);
        assert_eq!(problem["type"], format!("urn:sproxy:problem:{word}"), "{problem}");
        problem
    }
}

impl Plane {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), START).await
    }

    /// A plane on what an earlier one left in `dir`.
    pub async fn start_in(dir: tempfile::TempDir, now: &str) -> Self {
        Self::start_with(dir, now.parse().expect("a time"), None, None).await.0
    }

    /// A plane where people sign in at an identity provider, which has the time of this machine.
    pub async fn with_provider(config: OidcConfig) -> (Self, Arc<Oidc>) {
        let dir = tempfile::tempdir().expect("a directory");
        let (plane, oidc, _) = Self::start_with(dir, SystemClock.now(), Some(config), None).await;
        (plane, oidc.expect("a provider"))
    }

    /// A plane where passwords of a directory are good, too.
    pub async fn with_directory(config: LdapConfig) -> (Self, Arc<Ldap>) {
        let dir = tempfile::tempdir().expect("a directory");
        let (plane, _, ldap) = Self::start_with(dir, SystemClock.now(), None, Some(config)).await;
        (plane, ldap.expect("a directory"))
    }

    async fn start_with(
        dir: tempfile::TempDir,
        now: Timestamp,
        oidc: Option<OidcConfig>,
        ldap: Option<LdapConfig>,
    ) -> (Self, Option<Arc<Oidc>>, Option<Arc<Ldap>>) {
        let path = dir.path().join("sproxy.db");
        let location = Location::Sqlite { path, synchronous: Synchronous::Normal };
        let store = Store::open(&location).await.expect("a database");
        let clock = Arc::new(ManualClock::new(now));
        let settings = Settings {
            access_token_ttl: Duration::from_hours(1),
            refresh_token_ttl: Duration::from_hours(24),
            login_threads: 2,
            login_queue: 16,
            after_hashing: || (),
            login_throttle: LoginThrottleRules::default(),
            key_announcement: Duration::ZERO,
            is_leader: true,
        };
        let accounts = Accounts::open(store.clone(), settings, clock.clone()).await.expect("accounts");
        accounts.open_signing_key(dir.path(), &"sp-1".parse().expect("an id")).await.expect("a signing key");
        accounts.first_start(Some(ADMIN_PASSWORD.to_owned())).await.expect("a first start");
        accounts.keep_admin_token(dir.path()).expect("a token");
        let quota = Quota::new();
        let used = UsageRepo::on(&store).used(clock.now(), NodeFilter::All).await.expect("sums");
        for (user, used) in used.users {
            quota.restore(SubjectId::User(user), used, clock.now());
        }
        let alerts = Alerts::open(AlertsParts {
            node: "sp-1".parse().expect("an id"),
            own: store.clone(),
            shared: None,
            receivers: &[],
            alerting: &AlertingConfig::default(),
            clock: clock.clone(),
        })
        .expect("no receivers");
        let oidc = oidc
            .map(|config| Arc::new(Oidc::new(config, accounts.clone(), clock.clone()).expect("no proxy")));
        let ldap = ldap.map(|config| Arc::new(Ldap::new(config, clock.clone()).expect("no file")));
        if let Some(ldap) = &ldap {
            accounts.set_password_directory(ldap.clone());
        }
        let state = ControlState {
            alerts,
            accounts: accounts.clone(),
            quota: quota.clone(),
            store: store.clone(),
            live: Live::new(
                Configs {
                    targets: &[],
                    models: &[],
                    upstream: &UpstreamConfig::default(),
                    capabilities: &Arc::default(),
                },
                free(),
                clock.clone(),
            )
            .expect("no targets"),
            models: Arc::default(),
            cluster: Arc::new(Alone(clock.now())),
            promotion: Arc::new(Alone(clock.now())),
            oidc: oidc.clone(),
            ldap: ldap.clone(),
            relay: None,
            sites: Arc::new(Sites {
                callers: Callers { trusted: Vec::new(), secret: None, clock: clock.clone() },
                is_tls: false,
                public_url: None,
            }),
            clock: clock.clone(),
            node: "sp-1".parse().expect("an id"),
            reload: Arc::new(NoConfiguration),
            data_dir: dir.path().to_owned(),
            scim: Some(ScimToken::new(&Secret::new(SCIM_TOKEN))),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let app = router(state).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let admin = std::fs::read_to_string(dir.path().join("admin.token")).expect("a token");
        let (admin, client) = (admin.trim().to_owned(), reqwest::Client::new());
        (Self { url, store, accounts, quota, clock, dir, admin, client }, oidc, ldap)
    }

    /// A request with a credential and a body.
    pub async fn call(&self, method: &str, path: &str, credential: &str, body: Option<Value>) -> Got {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !credential.is_empty() {
            request = request.bearer_auth(credential);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Got { status, headers, text: answer.text().await.expect("a body") }
    }

    pub async fn get(&self, path: &str) -> Got {
        self.call("GET", path, &self.admin, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Got {
        self.call("POST", path, &self.admin, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Got {
        self.call("PATCH", path, &self.admin, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Got {
        self.call("DELETE", path, &self.admin, None).await
    }

    pub async fn login(&self, username: &str, password: &str) -> Got {
        self.call("POST", "/auth/login", "", Some(json!({"username": username, "password": password}))).await
    }

    /// A new user's API key.
    pub async fn user_with_key(&self, name: &str) -> String {
        self.post("/admin/v1/users", json!({"name": name})).await.expect(201);
        self.key_of(name).await
    }

    pub async fn key_of(&self, name: &str) -> String {
        let key = self.post("/admin/v1/keys", json!({"user": name, "name": "test"})).await.expect(201);
        key["key"].as_str().expect("a key").to_owned()
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn moment(&self) -> Moment {
        Moment { at: self.now(), steady: Instant::now() }
    }
}

/// A control plane without a configuration to read again.
struct NoConfiguration;

impl Reload for NoConfiguration {
    fn reload(self: Arc<Self>) -> BoxFuture<'static, Result<Reloaded, Failure>> {
        Box::pin(async { Ok(Reloaded { targets: Vec::new(), needs_restart: Vec::new() }) })
    }
}
