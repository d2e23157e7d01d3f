//! How this node reaches its leaders, or the others where several lead, and how they reach it.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::error::Error;
use crate::cluster::follower::client::{ClientTls, GrpcLeaderClient, connector, leaders_at};
use crate::cluster::follower::leader_set::LeaderSet;
use crate::cluster::leader;
use crate::config::{Config, LeaderUrls, Secret};

/// Whom a follower may follow.
pub(super) type Leaders = LeaderSet<GrpcLeaderClient>;

pub(super) fn to_follow(config: &Config, urls: &LeaderUrls) -> Result<Leaders, Error> {
    let (secret, tls) = credentials(config)?;
    leaders_at(urls.iter().cloned().collect(), secret, tls).map_err(Error::Unusable)
}

/// How a leader asks the others.
pub(super) fn connect(config: &Config) -> Result<leader::Connect, Error> {
    let (secret, tls) = credentials(config)?;
    Ok(Arc::new(connector(secret, tls)))
}

/// What this node proves itself with to a leader.
fn credentials(config: &Config) -> Result<(Option<&str>, Option<ClientTls>), Error> {
    let tls = config.cluster.tls.as_ref().map(ClientTls::read).transpose().map_err(Error::Unusable)?;
    Ok((config.cluster.secret.as_ref().map(Secret::expose), tls))
}

/// The URL of this leader's gRPC side for other nodes.
pub(super) fn own_url(
    config: &Config,
    listener: Option<&TcpListener>,
    is_tls: bool,
) -> Result<String, Error> {
    if let Some(url) = &config.cluster.advertise_grpc {
        return Ok(url.clone());
    }
    let bound = listener.map(TcpListener::local_addr).transpose()?.unwrap_or(config.cluster.listen);
    let named = config.cluster.advertise.as_deref().and_then(|url| url.parse::<http::Uri>().ok());
    let host = named.as_ref().and_then(http::Uri::host);
    let scheme = if is_tls { "https" } else { "http" };
    Ok(match host {
        Some(host) => format!("{scheme}://{host}:{}", bound.port()),
        None => format!("{scheme}://{bound}"),
    })
}
