//! `sproxy usage retry-rejected` and `dismiss-rejected`: what the leader refused of a follower's usage.

use serde_json::Value;

use super::client::{Client, Query};
use super::confirm::confirm;
use super::error::Error;
use super::output::{Output, note};

/// Offers it again.
pub async fn retry(client: &Client, output: Output) -> Result<(), Error> {
    let retried = client.post(&["admin", "v1", "usage", "retry-rejected"], None).await?;
    let said = match text(&retried, "retried").as_str() {
        "0" => none_of(&retried),
        many => format!(
            "{many} usage logs of {} are offered again: `sproxy peer list` says what it still owes",
            text(&retried, "node")
        ),
    };
    output.done(&retried, &said)
}

/// Gives it up, or says what would be given up. Asks before, unless `yes`.
///
/// # Errors
/// [`Error::Usage`] where nobody can be asked. The node's refusal, or what keeps it from being asked.
pub async fn dismiss(client: &Client, output: Output, yes: bool, dry_run: bool) -> Result<(), Error> {
    if dry_run || !yes {
        let found = post(client, true).await?;
        if dry_run || found["dismissed"] == 0 {
            let would = format!("{} would be dismissed", sum(&found));
            let said = if found["dismissed"] == 0 { none_of(&found) } else { would };
            return output.done(&found, &said);
        }
        let question =
            format!("Dismiss {}? They will be in no total, and there is no way back.", sum(&found));
        if !confirm(&question, "--yes dismisses them, --dry-run does not")? {
            note("nothing was dismissed");
            return Ok(());
        }
    }
    let dismissed = post(client, false).await?;
    let said = match text(&dismissed, "dismissed").as_str() {
        "0" => none_of(&dismissed),
        _ => format!("{} are dismissed: owed no more, and in no total", sum(&dismissed)),
    };
    output.done(&dismissed, &said)
}

async fn post(client: &Client, dry_run: bool) -> Result<Value, Error> {
    let query: Query = [("dry_run", dry_run.to_string())].into_iter().collect();
    client.post_with(&["admin", "v1", "usage", "dismiss-rejected"], &query).await
}

fn sum(answer: &Value) -> String {
    let [many, node, tokens, usd] =
        ["dismissed", "node", "total_tokens", "cost_usd"].map(|key| text(answer, key));
    format!("{many} usage logs of {node} with {tokens} tokens and {usd} USD")
}

fn none_of(answer: &Value) -> String {
    format!("{} has no usage logs that its leader refused", text(answer, "node"))
}

fn text(answer: &Value, key: &str) -> String {
    answer[key].to_string().trim_matches('"').to_owned()
}
