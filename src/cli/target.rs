//! `sproxy target`: a node's upstream addresses, their health and their load.

use clap::{Args, Subcommand};

use super::client::Query;
use super::error::Error;
use super::output::{count, text, yes_no};
use super::session::Session;

/// `sproxy target …`
#[derive(Debug, Args)]
pub struct TargetArgs {
    #[command(flatten)]
    session: Session,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Every target of the node
    List,
    /// Send no new calls to a target, until the node restarts or it is undrained
    Drain {
        /// The target's name
        name: String,
    },
    /// Send calls to a drained target again
    Undrain {
        /// The target's name
        name: String,
    },
}

const TARGETS: &str = "targets";

pub async fn run(args: TargetArgs) -> Result<(), Error> {
    let (client, output) = (args.session.client()?, args.session.output());
    match args.action {
        Action::List => {
            let targets = client.all(&["admin", "v1", TARGETS], &Query::new()).await?;
            let columns = [
                text("name", "name"),
                text("provider", "provider"),
                text("url", "url"),
                text("models", "models"),
                count("weight", "weight"),
                yes_no("healthy", "healthy"),
                yes_no("draining", "draining"),
                count("in flight", "in_flight"),
                count("attempts", "attempts"),
                count("failures", "failures"),
                text("cooling until", "cooling_until"),
                text("last error", "last_error"),
                text("reason", "reason"),
            ];
            output.list(&targets, &columns)
        }
        Action::Drain { name } => {
            let target = client.post(&["admin", "v1", TARGETS, &name, "drain"], None).await?;
            output.done(&target, &format!("{name} gets no new calls"))
        }
        Action::Undrain { name } => {
            let target = client.post(&["admin", "v1", TARGETS, &name, "undrain"], None).await?;
            output.done(&target, &format!("{name} gets calls again"))
        }
    }
}
