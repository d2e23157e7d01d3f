//! `sproxy peer`: the nodes of the cluster as the registry knows them.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Query;
use super::error::Error;
use super::output::{count, text, time, yes_no};
use super::session::Session;
use super::stats::say_incomplete;

/// `sproxy peer …`
#[derive(Debug, Args)]
pub struct PeerArgs {
    #[command(flatten)]
    session: Session,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Every node: whether it leads, its address, when it was last seen, what it still owes; of a follower also whom it follows
    List,
    /// Take a node out of traffic until it is undrained: its /readyz says 503, and what still comes is served
    Drain {
        /// The node's id, such as sp-2
        id: String,
    },
    /// Let a drained node take traffic again
    Undrain {
        /// The node's id
        id: String,
    },
    /// Take a node that will not come back out of the registry; its usage logs stay
    Forget {
        /// The node's id
        id: String,
    },
}

const PEERS: &str = "peers";

pub async fn run(args: PeerArgs) -> Result<(), Error> {
    let (client, output) = (args.session.client()?, args.session.output());
    match args.action {
        Action::List => {
            let mut peers = client.all(&["admin", "v1", PEERS], &Query::new()).await?;
            if !output.is_json() {
                peers.iter_mut().for_each(mark_followed);
            }
            let columns = [
                text("id", "id"),
                text("role", "role"),
                text("address", "addr"),
                count("weight", "weight"),
                yes_no("active", "is_active"),
                yes_no("draining", "draining"),
                count("owes", "unsynced"),
                time("synced through", "synced_through"),
                time("last seen", "last_seen"),
                text("version", "version"),
            ];
            output.list(&peers, &columns)?;
            if output.is_json() {
                return Ok(());
            }
            // A follower that cannot ask its leader lists all the same.
            let totals = client.get(&["admin", "v1", "stats"], &Query::new()).await;
            totals.map_or(Ok(()), |totals| say_incomplete(&totals))
        }
        Action::Drain { id } => {
            let peer = client.post(&["admin", "v1", PEERS, &id, "drain"], None).await?;
            output.done(
                &peer,
                &format!("{id} is draining: its /readyz says 503, and what still comes is served"),
            )
        }
        Action::Undrain { id } => {
            let peer = client.post(&["admin", "v1", PEERS, &id, "undrain"], None).await?;
            output.done(&peer, &format!("{id} takes traffic again"))
        }
        Action::Forget { id } => {
            let answer = client.delete(&["admin", "v1", PEERS, &id]).await?;
            output.done(&answer, &format!("{id} is forgotten"))
        }
    }
}

/// A follower tells which of the leaders it follows.
fn mark_followed(peer: &mut Value) {
    if peer["followed"] == json!(true) {
        peer["role"] = json!("leader (followed)");
    }
}
