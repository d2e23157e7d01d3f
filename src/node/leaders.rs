//! How this node reaches its leaders, or the others where several lead, and how they reach it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::error::Error;
use crate::cluster::follower::client::{ClientTls, GrpcLeaderClient, connector, leaders_at};
use crate::cluster::follower::leader_set::LeaderSet;
use crate::cluster::leader;
use crate::cluster::standing::Standing;
use crate::config::{ClusterConfig, Config, LeaderUrls, Secret};
use crate::domain::leader_url::{LeaderUrl, NotALeaderUrl};

/// Whom a follower may follow.
pub(super) type Leaders = LeaderSet<GrpcLeaderClient>;

fn to_follow(config: &Config, urls: Vec<LeaderUrl>) -> Result<Leaders, Error> {
    let (secret, tls) = credentials(config)?;
    leaders_at(urls, secret, tls).map_err(Error::Unusable)
}

/// Whom this node follows; none: it leads. Its configuration says so, unless it was promoted, or superseded as a leader.
pub(super) fn of(config: &Config, standing: Option<&Standing>) -> Result<Option<Leaders>, Error> {
    let configured = config.cluster.leader.as_ref();
    if standing.map_or(configured.is_none(), |standing| standing.leads(configured.is_none())) {
        if let (Some(_), Some(own)) = (configured, standing.and_then(Standing::own)) {
            tracing::warn!(
                term = own.term,
                "this node was promoted: it leads, although it has cluster.leader"
            );
        }
        return Ok(None);
    }
    let superseded_by = standing.and_then(Standing::superseded_by);
    let urls = match (configured, superseded_by) {
        (Some(urls), _) => urls.iter().cloned().collect(),
        (None, Some(by)) => {
            tracing::warn!(leader = %by, "this node led before, and was superseded: it follows, although it has no cluster.leader");
            vec![by.leads_at]
        }
        (None, None) => Vec::new(),
    };
    to_follow(config, urls).map(Some)
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
    let bound = listener.map(TcpListener::local_addr).transpose()?.unwrap_or(config.cluster.listen);
    Ok(url_at(config, bound, is_tls))
}

/// Where followers would register if this node, now a follower, were promoted, or why nobody could.
pub(super) fn url_if_promoted(config: &Config) -> Result<LeaderUrl, String> {
    let ClusterConfig { listen, tls, leader, advertise_grpc, .. } = &config.cluster;
    let has_certificate = tls.as_ref().is_some_and(|tls| tls.identity.is_some());
    let (mut is_near, mut is_tls) = (true, has_certificate);
    for url in leader.iter().flat_map(LeaderUrls::iter) {
        is_near &= url.is_loopback();
        is_tls |= url.is_tls();
    }
    if is_tls && !has_certificate {
        return Err(
            "the leader is reached under TLS, and this node has no certificate of its own for that: set \
                    cluster.tls.cert and cluster.tls.key, and start it again"
                .to_owned(),
        );
    }
    if listen.port() == 0 {
        return Err("cluster.listen has port 0: followers have to find this node at a port that stays; set one, and start \
                    it again"
            .to_owned());
    }
    if listen.ip().is_loopback() && !is_near && advertise_grpc.is_none() {
        let port = listen.port();
        return Err(format!(
            "cluster.listen is {listen}, where no other machine reaches this node: set it to 0.0.0.0:{port} or such, and \
             start it again"
        ));
    }
    let url: LeaderUrl =
        url_at(config, *listen, is_tls).parse().map_err(|error: NotALeaderUrl| error.to_string())?;
    if url.is_unspecified() {
        return Err(format!(
            "nobody reaches this node at {url}: set cluster.advertise or cluster.advertise_grpc, and start it again"
        ));
    }
    Ok(url)
}

fn url_at(config: &Config, bound: SocketAddr, is_tls: bool) -> String {
    if let Some(url) = &config.cluster.advertise_grpc {
        return url.clone();
    }
    let named = config.cluster.advertise.as_deref().and_then(|url| url.parse::<http::Uri>().ok());
    let host = named.as_ref().and_then(http::Uri::host);
    let scheme = if is_tls { "https" } else { "http" };
    match host {
        Some(host) => format!("{scheme}://{host}:{}", bound.port()),
        None => format!("{scheme}://{bound}"),
    }
}
