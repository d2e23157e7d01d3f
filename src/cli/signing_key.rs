//! `sproxy signing-key`: the keys that leaders sign access tokens with.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::Query;
use super::error::Error;
use super::output::{text, time};
use super::session::Session;

/// `sproxy signing-key …`
#[derive(Debug, Args)]
pub struct SigningKeyArgs {
    #[command(flatten)]
    session: Session,
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Action {
    /// Every key that access tokens are accepted of: whose it is, since when, and until when it was in use
    List,
    /// Have the leader that is asked sign with another key, once all nodes know it; who is signed in stays so
    Rotate {
        /// Somebody has got hold of the key: refuse what it has signed. Refresh tokens stay good
        #[arg(long)]
        at_once: bool,
    },
}

const KEYS: &str = "signing-keys";

pub async fn run(args: SigningKeyArgs) -> Result<(), Error> {
    let (client, output) = (args.session.client()?, args.session.output());
    match args.action {
        Action::List => {
            let keys = client.all(&["admin", "v1", KEYS], &Query::new()).await?;
            let columns = [
                text("id", "id"),
                text("node", "node"),
                time("created", "created_at"),
                time("retired", "retired_at"),
                text("fingerprint", "fingerprint"),
            ];
            output.list(&keys, &columns)
        }
        Action::Rotate { at_once } => {
            let query: Query = at_once.then(|| ("at_once", "true".to_owned())).into_iter().collect();
            let key = client.post_with(&["admin", "v1", KEYS, "rotate"], &query).await?;
            let field = |name| key.get(name).and_then(Value::as_str).unwrap_or_default();
            let of_the_old = if at_once { "are refused from now on" } else { "are good until they expire" };
            let said = format!(
                "{} signs with {} from now on; access tokens of the key before {of_the_old}",
                field("node"),
                field("id")
            );
            output.done(&key, &said)
        }
    }
}
