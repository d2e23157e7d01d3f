//! `sproxy key`: the API keys that callers prove themselves with.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Query;
use super::error::Error;
use super::output::{note, print, text, time};
use super::session::Session;
use crate::domain::clock::{Clock, SystemClock, Timestamp};

/// `sproxy key …`
#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(flatten)]
    session: Session,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it; nobody can show it again
    Create {
        /// Whose key it is: name or id
        #[arg(long)]
        user: String,
        /// A label for people
        #[arg(long, value_name = "LABEL", default_value = "")]
        name: String,
        /// When it stops working: a time such as 2027-01-01T00:00:00Z, a day, or a duration such as 90d
        #[arg(long, value_name = "WHEN", value_parser = moment)]
        expires: Option<Timestamp>,
    },
    /// Keys, newest first: their labels and first characters
    List {
        /// Only this user's: name or id
        #[arg(long)]
        user: Option<String>,
    },
    /// Make a key that takes the place of another and print it; the old one works a while longer
    Reissue {
        /// The old key's id, as listed
        id: String,
        /// How long the old key works besides the new one; 0: not at all
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = overlap)]
        overlap: Duration,
    },
    /// Refuse a key from its next use on
    Revoke {
        /// The key's id, as listed
        id: String,
    },
}

const KEYS: &str = "keys";

pub async fn run(args: KeyArgs) -> Result<(), Error> {
    let (client, output) = (args.session.client()?, args.session.output());
    match args.action {
        Action::Create { user, name, expires } => {
            let mut body = json!({ "user": user, "name": name });
            if let Some(expires) = expires {
                body["expires_at"] = json!(expires);
            }
            let made = client.post(&["admin", "v1", KEYS], Some(&body)).await?;
            if output.is_json() {
                return output.done(&made, "");
            }
            // The key alone on standard output, so that `KEY=$(sproxy key create …)` works.
            note(&format!("a key of {user}; it is shown only this once:"));
            print(made.get("key").and_then(Value::as_str).unwrap_or_default())
        }
        Action::List { user } => {
            let query: Query = user.map(|user| ("user", user)).into_iter().collect();
            let keys = client.all(&["admin", "v1", KEYS], &query).await?;
            let columns = [
                text("id", "id"),
                text("user", "user"),
                text("label", "name"),
                text("begins with", "prefix"),
                time("created", "created_at"),
                time("last used", "last_used_at"),
                time("expires", "expires_at"),
            ];
            output.list(&keys, &columns)
        }
        Action::Reissue { id, overlap } => {
            let query: Query = vec![("overlap_seconds", overlap.as_secs().to_string())];
            let made = client.post_with(&["admin", "v1", KEYS, &id, "reissue"], &query).await?;
            if output.is_json() {
                return output.done(&made, "");
            }
            let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (user, end) = (said(&made["user"]), said(&made["replaces"]["expires_at"]));
            note(&format!(
                "a new key of {user}, shown only this once; the old one is refused from {end} on:"
            ));
            print(&said(&made["key"]))
        }
        Action::Revoke { id } => {
            let answer = client.delete(&["admin", "v1", KEYS, &id]).await?;
            output.done(&answer, &format!("key {id} is revoked: refused from its next use on"))
        }
    }
}

fn overlap(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|_| "a duration such as 24h, 30m or 0".to_owned())
}

/// A moment, or a duration from now on.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(duration) = humantime::parse_duration(text) {
        return Ok(SystemClock.now().plus(duration));
    }
    text.parse().map_err(|_| {
        "a time such as 2027-01-01T00:00:00Z, a day such as 2027-01-01, or a duration such as 90d".to_owned()
    })
}
