//! `sproxy alert`: who is told of what happens, what they were told, and whether it arrives.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Query;
use super::error::Error;
use super::output::{at_least_one, count, text, time, yes_no};
use super::session::Session;

/// `sproxy alert …`
#[derive(Debug, Args)]
pub struct AlertArgs {
    #[command(flatten)]
    session: Session,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Every receiver of the node
    List,
    /// What was raised, and what became of it at each receiver; newest first
    Events {
        /// What is about the cluster, where several leaders share a database
        #[arg(long)]
        cluster: bool,
        /// How many
        #[arg(long, default_value = "20", value_parser = at_least_one, value_name = "N")]
        limit: usize,
    },
    /// Send a test event to all receivers of the node, or to one; exit code 1 if it does not arrive everywhere
    Test {
        /// The receiver's name
        #[arg(long)]
        name: Option<String>,
    },
}

const ALERTS: &str = "alerts";

pub async fn run(args: AlertArgs) -> Result<(), Error> {
    let (client, output) = (args.session.client()?, args.session.output());
    match args.action {
        Action::List => {
            let receivers = client.all(&["admin", "v1", ALERTS], &Query::new()).await?;
            let columns = [
                text("name", "name"),
                text("host", "host"),
                text("format", "format"),
                yes_no("signed", "signed"),
                text("events", "events"),
                count("waiting", "waiting"),
                count("failures", "failures"),
                time("last delivery", "last_delivery_at"),
                time("last given up", "last_given_up_at"),
                time("next try", "next_try_at"),
                text("last error", "last_error"),
            ];
            output.list(&receivers, &columns)
        }
        Action::Events { cluster, limit } => {
            let mut query = Query::new();
            query.extend(cluster.then(|| ("of", "cluster".to_owned())));
            let events = client.list(&["admin", "v1", ALERTS, "events"], &query, limit).await?;
            let columns = [
                time("at", "created_at"),
                text("event", "event"),
                text("title", "title"),
                text("receiver", "receiver"),
                text("state", "state"),
                count("attempts", "attempts"),
                time("done", "done_at"),
                text("error", "error"),
            ];
            output.list(&events.rows, &columns)?;
            events.warn_if_cut("--limit shows them");
            Ok(())
        }
        Action::Test { name } => {
            let body = name.map_or_else(|| json!({}), |name| json!({ "name": name }));
            let mut answer = client.post(&["admin", "v1", ALERTS, "test"], Some(&body)).await?;
            let results = answer.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
            let results = results.unwrap_or_default();
            let columns = [
                text("name", "name"),
                text("host", "host"),
                yes_no("delivered", "delivered"),
                text("status", "status"),
                count("ms", "duration_ms"),
                text("error", "error"),
            ];
            output.list(&results, &columns)?;
            let arrived = |result: &Value| result.get("delivered") == Some(&Value::Bool(true));
            if !results.is_empty() && results.iter().all(arrived) { Ok(()) } else { Err(Error::NotDelivered) }
        }
    }
}
