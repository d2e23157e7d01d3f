//! Nouns and pure rules of the gateway: no I/O, no runtime, no database, no web framework.

pub mod attempt;
pub mod clock;
pub mod failure;
pub mod fence;
pub mod group;
pub mod ids;
pub mod leader_url;
pub mod leadership;
pub mod model_name;
pub mod network;
pub mod part;
pub mod peer;
pub mod plausible_clock;
pub mod price;
pub mod principal;
pub mod provider;
pub mod quota;
pub mod quoted;
pub mod secret;
pub mod share;
pub mod summary;
pub mod terms;
pub mod tokens;
pub mod usage;
pub mod user;
