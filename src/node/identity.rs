//! The name of this node.

use super::error::Error;
use super::leaders::Leaders;
use super::waiting::{EarlyListener, Reason};
use crate::cluster::{self, leader};
use crate::config::{Config, Secret};
use crate::domain::clock::Clock;
use crate::domain::ids::{NodeId, NotANodeId};
use crate::store::{MetaKey, MetaRepo, Store};

/// The default name of a leader.
const FIRST: &str = "sp-1";

/// The name in the configuration, else the one this database knows, else a leader's default or what the leader gives.
pub(super) async fn of_alone(
    config: &Config,
    store: &Store,
    link: Option<&Leaders>,
    addr: &str,
    early_listener: &EarlyListener,
) -> Result<NodeId, Error> {
    let meta = MetaRepo::on(store);
    let known = match &config.node.id {
        Some(id) => Some(id.as_str().to_owned()),
        None => meta.get(MetaKey::NodeId).await?,
    };
    let text = match (known, link) {
        (Some(text), _) => text,
        (None, None) => FIRST.to_owned(),
        (None, Some(link)) => {
            let reason =
                Reason::new(format!("this node has no id yet: its leader at {link} has to give it one"));
            let registering = cluster::ask_for_id(link, addr, config.cluster.weight, store);
            return Ok(Box::pin(early_listener.while_waiting(reason, registering)).await?);
        }
    };
    let id = text.parse().map_err(|e: NotANodeId| Error::Unusable(e.to_string()))?;
    cluster::keep_name(&id, store).await?;
    Ok(id)
}

/// The name of a node that shares `store` with other leaders, known to its own database.
pub(super) async fn of_shared(
    config: &Config,
    store: &Store,
    spool: &Store,
    clock: &dyn Clock,
) -> Result<NodeId, Error> {
    let known = match &config.node.id {
        Some(id) => Some(id.clone()),
        None => MetaRepo::on(spool).get(MetaKey::NodeId).await?.and_then(|text| text.parse().ok()),
    };
    let secret = config.cluster.secret.as_ref().map(Secret::expose);
    leader::join_cluster(store, secret, known.as_ref(), clock.now()).await?;
    let id = match known {
        Some(id) => id,
        None => leader::new_name(store).await?,
    };
    cluster::keep_name(&id, spool).await?;
    Ok(id)
}
