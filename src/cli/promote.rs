//! `sproxy promote`: a follower becomes the leader.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::client::{Client, Query};
use super::error::Error;
use super::output::note;
use super::session::Session;

/// Make a follower the leader, because the leader is lost, or in its stead
///
/// The follower that is asked leads with the users, groups, keys and limits that it had of its leader. Every node that it
/// knows is told, follows it, and pushes to it what it holds. The leader before steps down by itself as soon as it is
/// reached, follows, and pushes what its books hold: nothing is lost or counted twice. People sign in again; API keys stay
/// good.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    #[command(flatten)]
    session: Session,
    /// Take over although the leader was heard of within the last 30 seconds
    #[arg(long)]
    force: bool,
}

/// The node finishes what it has begun before it begins anew; as long as `http.shutdown_timeout` of its configuration.
const PATIENCE: Duration = Duration::from_mins(5);
const ASK_EVERY: Duration = Duration::from_millis(200);

pub async fn run(args: PromoteArgs) -> Result<(), Error> {
    let (client, output) = (args.session.client()?, args.session.output());
    let query: Query = args.force.then(|| ("force", "true".to_owned())).into_iter().collect();
    let promoted = client.post_with(&["admin", "v1", "promote"], &query).await?;
    if !output.is_json() {
        note("promoted; waiting until the node has begun anew as the leader …");
    }
    let leads = leading(&client, &promoted["term"]).await?;
    let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let said = format!(
        "{} leads (term {}); followers register at {}. Its peers hear of it by themselves: see `sproxy peer list`, and write \
         that address into their cluster.leader when you can",
        field(&leads["node"]),
        leads["term"],
        field(&leads["promoted"]["leads_at"]),
    );
    output.done(&leads, &said)
}

/// What the node says once it leads by `term`.
async fn leading(client: &Client, term: &Value) -> Result<Value, Error> {
    let begun = Instant::now();
    loop {
        let answer = client.get(&["admin", "v1", "leadership"], &Query::new()).await;
        match answer {
            Ok(leads) if leads["leads"] == json!(true) && leads["term"] == *term => return Ok(leads),
            Ok(_) | Err(Error::Unreachable { .. }) if begun.elapsed() < PATIENCE => sleep(ASK_EVERY).await,
            Ok(other) => return Err(Error::Refused(format!("the node does not lead: {other}"))),
            Err(error) => return Err(error),
        }
    }
}
