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
//! | 7 | [`cli`] | people at a terminal |
//! | 6 | [`node`] | wiring, supervision, leaving |
//! | 5 | [`http`], [`grpc`], [`mock`] | the doors; a fake provider |
//! | 4 | [`proxy`], [`cluster`] | the two flows: answer a request; keep the cluster's books |
//! | 3 | [`accounts`], [`quota`], [`upstream`], [`ledger`] | the gateway's own rules |
//! | 2 | [`config`], [`store`], [`metering`], [`transport`], [`inbound`], [`crypto`], [`wire`], [`telemetry`] | mechanisms: each knows one outside thing |
//! | 1 | [`dialect`] | what each provider's API is, and what a request asks for |
//! | 0 | [`domain`], [`json`] | nouns and pure rules; JSON, whatever it says |
//!
//! # A request, as a straight line
//!
//! A door reads the head and finds the route → the principal comes from memory ([`accounts`]) → what is asked is read
//! ([`dialect::request`]: model, stream; nothing else is parsed) → [`quota`] admits → [`ledger`] reserves room for the
//! record → [`upstream`] sends, and fails over only while nobody can have begun to work → the answer flows through the
//! tap while a meter reads along → the record is committed → the last bytes are released. An early return drops what
//! was reserved.
//!
//! # A usage record, as a straight line
//!
//! The last byte, an error or a hang-up makes the reservation a record → the ledger's writer commits what waits, one
//! transaction per batch, with the sums of what was new, and tells those who wait → a follower pushes what the leader
//! has not acknowledged → the leader makes the same insert, where a `request_id` that it has is no news, and
//! acknowledges after the commit. A crash anywhere in between repeats a step harmlessly.
//!
//! # What holds everywhere
//!
//! - No upper floor sees a type of the database, and no lower floor sees one of a door.
//! - Every queue, wait and body has a limit, and every limit has a refusal.
//! - A failure has a kind ([`domain::failure`]); each door translates it once.
//! - The time is an argument or a [`domain::clock::Clock`].
//! - No secret is in a log, an error, an answer or a `Debug` form.

pub mod domain;
pub mod json;

pub mod dialect;

pub mod config;
pub mod crypto;
pub mod inbound;
pub mod metering;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod wire;

pub mod accounts;
pub mod ledger;
pub mod quota;
pub mod upstream;

pub mod cluster;
pub mod proxy;

pub mod grpc;
pub mod http;
pub mod mock;

pub mod node;

pub mod cli;
