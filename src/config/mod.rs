//! Configuration: commented defaults in the binary ← `sproxy.toml` ← environment ← flags. What is written is read and
//! checked once; a [`Config`] cannot hold a wrong value.

mod alert_sections;
mod alerts;
mod capabilities;
mod cluster;
mod environment;
mod group_mapping;
mod keys;
mod layers;
mod ldap;
mod ldap_section;
mod load;
mod models;
mod nested;
mod node;
mod oidc;
mod oidc_section;
mod origins;
pub mod prices;
mod problems;
mod proxy;
mod scim;
mod sections;
mod show;
mod table;
mod target_keys;
mod target_platform;
mod targets;
mod telemetry;

pub use alert_sections::{AlertConfig, AlertFormat, AlertingConfig};
pub use environment::Environment;
pub use layers::{DEFAULTS, Sources};
pub use ldap_section::LdapConfig;
pub use load::{data_dir, listen, load, load_from, load_secrets_again, near_misses};
pub use oidc_section::{OidcConfig, WhenRefused};
pub use problems::{Problem, Problems};
pub use sections::{
    Auth, AuthConfig, BackupConfig, ClusterConfig, ClusterTls, Config, CorsOrigins, Database, Durability,
    HangUp, Http2, HttpConfig, KeyConfig, LeaderUrls, LogConfig, LogFormat, MachineCredentials, ModelConfig,
    NodeConfig, OnLoss, ScimConfig, SpanConfig, SpanProtocol, StoreConfig, Synchronous, TargetConfig,
    TelemetryConfig, TlsFiles, UpstreamConfig, UsageConfig,
};
pub use show::{defaults, json_of, show, show_sections};

pub use crate::domain::secret::Secret;
