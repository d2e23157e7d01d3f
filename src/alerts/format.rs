//! What a receiver is sent: the event itself, or the form that a chat takes. Names are the operator's people's and not to be
//! trusted there: none of them may mention everybody, set a link or end a card.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::alerts::event::Body;
use crate::config::AlertFormat;
use crate::domain::alert::{EventStatus, Severity};

/// The longest title, in characters; Slack takes 150 in a header, and no title of ours is near it.
const TITLE_MAX: usize = 140;
/// The longest text; Slack takes 3,000 in a section, and what is escaped becomes longer.
const TEXT_MAX: usize = 2_000;

/// The body of a request with the event that `stored` holds.
///
/// # Errors
/// In words: it holds none.
pub(super) fn encode(format: AlertFormat, stored: &str) -> Result<Bytes, String> {
    let read =
        || serde_json::from_str::<Body>(stored).map_err(|error| format!("the event cannot be read: {error}"));
    let made = match format {
        // Byte for byte, so that the signature of a delivery that is repeated is the same.
        AlertFormat::Json => return Ok(Bytes::from(stored.to_owned())),
        AlertFormat::Slack => slack(&read()?),
        AlertFormat::Teams => teams(&read()?),
    };
    Ok(Bytes::from(made.to_string()))
}

/// A message of an incoming webhook: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>. In its
/// texts `&`, `<` and `>` are all that has to be escaped; `verbatim` keeps what looks like a link or a channel from
/// becoming one.
fn slack(body: &Body) -> Value {
    let (title, text) = (slack_escaped(&titled(body)), slack_escaped(&cut(&body.text, TEXT_MAX)));
    let mrkdwn = |text: String| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
    json!({
        "text": title,
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": [
            { "type": "section", "text": mrkdwn(format!("*{title}*\n{text}")) },
            { "type": "context", "elements": [mrkdwn(slack_escaped(&footer(body)))] },
        ],
    })
}

fn slack_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A message with an adaptive card, as the webhook of a Workflow takes it:
/// <https://learn.microsoft.com/en-us/connectors/teams/#microsoft-teams-webhook>. Blocks of text understand some Markdown,
/// in which a name could set a link; a rich text block (1.2) shows its runs as they are.
fn teams(body: &Body) -> Value {
    let color = match (body.status, body.severity) {
        (EventStatus::Resolved, _) => "Good",
        (_, Severity::Critical) => "Attention",
        (_, Severity::Warning) => "Warning",
        (_, Severity::Info) => "Default",
    };
    let line = |run: Value| json!({ "type": "RichTextBlock", "inlines": [run] });
    let lines = cut(&body.text, TEXT_MAX);
    let mut blocks = vec![line(json!({
        "type": "TextRun", "text": titled(body), "weight": "Bolder", "size": "Medium", "color": color,
    }))];
    blocks.extend(lines.lines().map(|text| line(json!({ "type": "TextRun", "text": text }))));
    blocks.push(line(json!({ "type": "TextRun", "text": footer(body), "isSubtle": true, "size": "Small" })));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": blocks,
            },
        }],
    })
}

fn titled(body: &Body) -> String {
    let title = cut(&body.title, TITLE_MAX);
    if body.status == EventStatus::Resolved { format!("Resolved: {title}") } else { title }
}

fn footer(body: &Body) -> String {
    format!("{} · {} · {} · {}", body.event, body.node, body.at, body.id)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::alert::EventSubject;
    use crate::domain::clock::Timestamp;

    const HOSTILE: &str = "<!channel> & [x](http://evil) *b* \"q\" @everyone";

    fn stored() -> String {
        let body = Body {
            id: Uuid::nil(),
            event: "quota.spent".to_owned(),
            status: EventStatus::Firing,
            severity: Severity::Warning,
            at: Timestamp::from_micros(0),
            node: "sp-1".parse().expect("a node"),
            cluster: None,
            subject: EventSubject::named("user", HOSTILE),
            title: format!("{HOSTILE} has used up a limit"),
            text: format!("{HOSTILE}\n{}", "x".repeat(5_000)),
            details: json!({}),
        };
        serde_json::to_string(&body).expect("JSON")
    }

    fn encoded(format: AlertFormat) -> Value {
        serde_json::from_slice(&encode(format, &stored()).expect("a body")).expect("JSON")
    }

    #[test]
    fn a_hostile_name_neither_mentions_nor_links_in_slack() {
        let message = encoded(AlertFormat::Slack);
        let section = message["blocks"][0]["text"]["text"].as_str().expect("a text");
        for text in [message["text"].as_str().expect("a text"), section] {
            assert!(!text.contains(['<', '>']), "{text}");
            assert!(text.contains("&lt;!channel&gt; &amp; [x]"), "{text}");
        }
        assert!(section.chars().count() < 3_000);
        assert_eq!(message["blocks"][0]["text"]["verbatim"], json!(true));
    }

    #[test]
    fn a_hostile_name_is_plain_text_in_teams() {
        let message = encoded(AlertFormat::Teams);
        assert_eq!(message["attachments"][0]["contentType"], "application/vnd.microsoft.card.adaptive");
        let blocks = message["attachments"][0]["content"]["body"].as_array().expect("blocks");
        for block in blocks {
            assert_eq!(block["type"], "RichTextBlock", "nothing that understands Markdown");
            assert_eq!(block["inlines"][0]["type"], "TextRun");
        }
        assert!(blocks[0]["inlines"][0]["text"].as_str().expect("a title").starts_with(HOSTILE));
    }

    #[test]
    fn json_is_what_was_stored_and_nonsense_is_refused() {
        assert_eq!(encode(AlertFormat::Json, &stored()).expect("a body"), stored());
        assert!(encode(AlertFormat::Slack, "{}").is_err());
    }
}
