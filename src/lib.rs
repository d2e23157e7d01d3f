//! sproxy: an LLM gateway that a company runs itself. This is the architecture, top to bottom.
//!
//! Every caller proves itself with a credential of its own and speaks the provider's API; the call passes through
//! untouched, a meter reads along, and the account of it is in the books before the caller has its last byte. Nodes
//! form a cluster: sp-1 leads, the others follow, each with its own database; the leader answers for all.
//!
//! # Floors
//!
//! A module imports strictly lower floors, and the files of a module form no circle (`tests/it/architecture.rs`).
//!
//! | floor | modules | what for |
//! |---|---|---|
//! | 11 | [`cli`] | people at a terminal |
//! | 10 | [`node`] | wiring, supervision, leaving |
//! | 9 | [`ui`] | people at a browser |
//! | 8 | [`http`], [`grpc`], [`mock`] | what listens; a fake provider |
//! | 7 | [`alerts`] | looks at the flows, and tells operators what happens |
//! | 6 | [`proxy`], [`cluster`] | the two flows: answer a request; keep the cluster's books |
//! | 5 | [`accounts`], [`quota`], [`upstream`], [`ledger`] | the gateway's own rules |
//! | 4 | [`config`], [`store`], [`metering`], [`transport`], [`inbound`], [`wire`], [`telemetry`] | mechanisms: each knows one outside thing |
//! | 3 | [`dialect`] | what each provider's API is, and what a request asks for |
//! | 2 | [`cloud`], [`websocket`] | what the clouds that host models want otherwise: paths, bodies, frames, signatures; messages in place of HTTP |
//! | 1 | [`crypto`] | cryptography |
//! | 0 | [`domain`], [`json`] | nouns and pure rules; JSON, whatever it says |
//!
//! Floors 0 to 5 are a crate of their own, `sproxy_foundation`, whose root is `src/foundation.rs`: cargo compiles the two
//! crates side by side. Everywhere else its modules are named as if they were here, in `crate`.
//!
//! # A request, as a straight line
//!
//! A server reads the head and finds the route → the principal comes from memory ([`accounts`]) → what is asked is read
//! ([`dialect::request`]: model, stream; nothing else is parsed) → [`ledger`] reserves room for the record → [`quota`]
//! admits → [`upstream`] says where to, and where else while nobody can have begun to work, or what was refused is not
//! billed → the answer passes while a meter reads along → the record is committed → the last bytes are released. An early
//! return drops what was reserved.
//!
//! # A usage record, as a straight line
//!
//! The last byte, an error or a hang-up makes the reservation a record → the ledger's writer commits what waits, one
//! transaction per batch, with the sums of what was new, and tells those who wait → a follower pushes what the leader
//! has not acknowledged → the leader makes the same insert, where a `request_id` that it has is no news, and
//! acknowledges after the commit. A crash anywhere in between repeats a step harmlessly.
//!
//! # Where to look
//!
//! | who wants to know where… | begins in |
//! |---|---|
//! | the model of a request is read | `Peek` in `src/dialect/request.rs`; the body's keys in `src/dialect/request/body.rs` |
//! | what an answer used is counted | `src/metering/counts.rs` (the rule), `src/metering/scanner.rs` (the bytes) |
//! | a price is found, and a cost computed | `PriceList::find`, `Price::cost_nanousd` in `src/domain/price.rs`; applied to a record in `src/proxy/recorder.rs`, to its billed steps in `src/domain/part.rs`, to failed attempts in `src/proxy/attempts.rs` |
//! | a call is booked | `Recorder::settle` in `src/proxy/recorder.rs`; written in `src/ledger/writer.rs` |
//! | usage is pushed, committed and acknowledged | follower: `push_all` in `src/cluster/follower/push.rs` → `push_usage` in `src/cluster/follower/client.rs` → leader: `push_usage` in `src/grpc/cluster.rs` → `push_usage` and `apply_batch` in `src/cluster/leader/push.rs` → `apply_batch` in `src/cluster/leader/store.rs` → `apply_batch` in `src/ledger/apply_batch.rs` → `insert_pushed_batch` in `src/store/usage/insert.rs` → `insert_batch` in `src/store/usage/sqlite.rs` or `src/store/usage/postgres.rs`, which commits; and back: `acknowledgement` in `src/cluster/leader/push.rs` → `apply_acknowledgement` in `src/cluster/follower/push.rs` → `mark_synced` in `src/store/usage/sync.rs` |
//! | a follower goes on to another leader | the rules: `src/cluster/follower/addresses.rs`; the connections: `src/cluster/follower/leader_set.rs`; silence is noticed in `src/cluster/follower/service/watch.rs`, by the signs of life in `src/grpc/watch.rs` |
//! | a limit is checked | `Quota::admit` in `src/quota/mod.rs` |
//! | a target is chosen, and another tried | `src/upstream/balance.rs`, `src/upstream/plan.rs`; the loop in `src/proxy/send.rs` |
//! | why an attempt failed, and what cools down | `src/upstream/failure.rs`, `src/upstream/cooldown.rs` |
//! | what is sent to a target is made | `BufferedRequest::for_candidate` in `src/proxy/outgoing.rs` |
//! | a call is made one of Bedrock's or Vertex's, and signed | `invoke_call` in `src/cloud/bedrock.rs`, `anthropic_call` in `src/cloud/vertex.rs`, `Signer` in `src/cloud/sigv4.rs`; its answer becomes the provider's own by `as_own` in `src/proxy/hosted.rs`; its credentials are kept by `CredentialSource` in `src/upstream/credentials/source.rs` |
//! | a call goes to a target of another API | which targets: `Target::conversion_of`, `probably_has` and `surely_has` in `src/upstream/conversion.rs`; its request: `src/proxy/converted.rs`; its answer, behind the meter: `src/proxy/converter.rs`; the pairs: `request` in `src/dialect/convert/mod.rs` and the directories beside it; what models can take: `src/config/capabilities.toml` |
//! | a call comes over a WebSocket | opened: `Gateway::open_websocket` in `src/proxy/websocket/open.rs`; a connection of Responses: `src/proxy/websocket/session.rs`, `src/proxy/websocket/exchange.rs`, `src/proxy/websocket/sockets.rs`; one of Realtime: `src/proxy/websocket/realtime.rs`, `src/proxy/websocket/booking.rs`; messages: `src/dialect/websocket.rs` |
//! | something is left out that a model's host does not know | `in_refusal` in `src/dialect/anthropic/unknown.rs`, `UnknownFields` in `src/upstream/unknown.rs` |
//! | targets or prices are replaced | `Live` in `src/proxy/live.rs`; a call goes by one snapshot |
//! | an answer passes | `src/proxy/call.rs`, `src/proxy/response_body.rs` |
//! | a dialect is added | `src/dialect/mod.rs`: a file beside `src/dialect/openai.rs`, and what the compiler then asks for |
//! | a node leaves | the order in `src/node/supervisor.rs`; what callers notice of it: `Shutdown` in `src/inbound/server.rs` |
//! | an endpoint of the control plane (admin API, own data, logins) is added | its handler, which takes an `Admin` (`src/http/input.rs`) and notes changes in the audit log; `router` in `src/http/control.rs`, which says where it is answered; and `src/http/openapi.rs` |
//! | a page is added | its function, below `src/ui`; `router` in `src/ui/mod.rs`; its place in the menu: `src/ui/shell.rs`; who may see it: `src/ui/permit.rs`. Who is signed in: `SignedIn` in `src/http/browser.rs`, kept by `src/accounts/browser_sessions.rs` |
//! | a program is signed in by somebody at a browser | `src/http/oauth.rs`, `src/accounts/device_login.rs`; the page: `src/ui/device.rs` |
//! | a company's directory makes and disables users (SCIM) | routes and the token: `router` in `src/http/scim/mod.rs`; what is sent, as changes: `read` in `src/http/scim/patch.rs`; made: `src/accounts/provision.rs` |
//! | a metric is defined | where it is counted: `src/proxy/metrics.rs`, `src/ledger/stats.rs`, `src/quota/mod.rs`, `src/upstream/metrics.rs`, `src/alerts/metrics.rs`, `src/cluster/leader/metrics.rs` and the gauges in `src/cluster/leader/service.rs`, the same two files in `src/cluster/follower/`; put together in `src/node/metrics.rs` |
//! | a column of a usage log is added | `src/store/usage/usage_columns.rs`, and `migrations` |
//! | a leader's database moves to the other engine | the order of steps: `migrate` in `src/node/migration.rs`; the rows: `DatabaseCopy` in `src/store/copy/mod.rs`; who may be served meanwhile: `src/store/copy/marks.rs` |
//! | an operator is told of something | found: `src/alerts/watch/conditions.rs`, `src/alerts/watch/limits.rs`, `src/alerts/watch/peers.rs`, `src/alerts/watch/seen.rs`, `src/alerts/watch/summary.rs`; raised: `Alerts::raise` in `src/alerts/service.rs`; sent: `src/alerts/deliver.rs`; a new kind: `EventKind` in `src/domain/alert.rs`, and what the compiler then asks for |
//! | a person's session on a laptop is kept and refreshed | `Login` in `src/cli/logins/mod.rs`; its file and lock: `SessionFile` in `src/cli/logins/saved.rs`; its secret: `Keychain` in `src/cli/logins/keychain/mod.rs`; the server's side: `refresh_idempotently` in `src/accounts/sessions.rs` |
//! | a client's settings are written, and taken back | which files and values: `src/cli/connect/clients.rs`; the way back: `Managed` in `src/cli/connect/managed.rs` |
//! | a caller is told which models there are | in a provider's own way: `src/proxy/models.rs`; with what is known of each: `src/proxy/available_models.rs`, `src/http/my_models.rs`; what Codex is given of it: `src/cli/connect/codex_models.rs` |
//! | the agent on a laptop passes a call on | `Forwarder` in `src/cli/agent/forward.rs`; who may call: `src/cli/agent/guard.rs`; where to: `Nodes` in `src/cli/agent/nodes.rs` |
//! | a setting is read | `src/config/sections.rs`, with its default in `src/config/defaults.toml` |
//!
//! # What holds everywhere
//!
//! - No upper floor sees a type of the database, and no lower floor sees one of a server.
//! - Every queue, wait and body has a limit, and every limit has a refusal.
//! - A failure has a kind ([`domain::failure`]); each server translates it once.
//! - The time is an argument or a [`domain::clock::Clock`].
//! - No secret is in a log, an error, an answer or a `Debug` form.

pub use sproxy_foundation::{
    accounts, cloud, config, crypto, dialect, domain, inbound, json, ledger, metering, quota, store,
    telemetry, transport, upstream, websocket, wire,
};

pub mod cluster;
pub mod ldap;
pub mod oidc;
pub mod proxy;

pub mod alerts;

pub mod grpc;
pub mod http;
pub mod mock;

pub mod ui;

pub mod node;

pub mod cli;
