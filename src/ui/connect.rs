//! How to connect clients: lines to be copied, with the address by which this page was reached. The operator's manual has
//! the same lines; a test holds the two together.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use crate::http::browser::{AskedAt, SignedIn};
use crate::http::control::ControlState;
use crate::ui::shell::{self, Page};

/// What stands for a key in lines.
pub const NO_KEY: &str = "sk-sp-...";

/// A client, and what to tell it.
pub struct Client {
    pub name: &'static str,
    pub steps: Vec<Step>,
}

/// One thing to do.
pub struct Step {
    pub what: &'static str,
    pub lines: String,
}

fn step(what: &'static str, lines: String) -> Step {
    Step { what, lines }
}

/// Every client, for a gateway at `url` and a key.
#[must_use]
pub fn all(url: &str, key: &str) -> Vec<Client> {
    vec![
        Client {
            name: "Claude Code",
            steps: vec![step(
                "In the shell that starts it",
                format!("export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={key}"),
            )],
        },
        Client {
            name: "Codex",
            steps: vec![
                step("In ~/.codex/config.toml", format!("openai_base_url = \"{url}/v1\"")),
                step("Once; it reads the key from its input", "codex login --with-api-key".to_owned()),
            ],
        },
        Client {
            name: "Gemini CLI",
            steps: vec![
                step(
                    "In the shell that starts it",
                    format!("export GOOGLE_GEMINI_BASE_URL={url} GEMINI_API_KEY={key}"),
                ),
                step(
                    "In ~/.gemini/settings.json",
                    r#"{"security":{"auth":{"selectedType":"gemini-api-key"}}}"#.to_owned(),
                ),
            ],
        },
        Client {
            name: "opencode",
            steps: vec![step(
                "In opencode.json; openai likewise",
                format!(
                    r#"{{"provider":{{"anthropic":{{"options":{{"baseURL":"{url}/v1","apiKey":"{key}"}}}}}}}}"#
                ),
            )],
        },
        Client {
            name: "Cursor",
            steps: vec![step(
                "Settings, Models: \"Override OpenAI Base URL\", and the key as OpenAI's. It calls from its maker's servers, so the address has to be public",
                format!("{url}/v1"),
            )],
        },
        Client {
            name: "aider",
            steps: vec![step(
                "In the shell that starts it",
                format!("export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={key}"),
            )],
        },
        Client {
            name: "OpenAI's SDKs",
            steps: vec![step("In the environment", format!("OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}"))],
        },
        Client {
            name: "Anthropic's SDKs",
            steps: vec![step(
                "In the environment",
                format!("ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={key}"),
            )],
        },
        Client {
            name: "Ollama's clients",
            steps: vec![step("In the environment", format!("OLLAMA_HOST={url}"))],
        },
    ]
}

/// The clients, with their lines.
#[must_use]
pub fn clients(url: &str, key: &str) -> Markup {
    html! {
        section.card aria-labelledby="clients" {
            header { h2 id="clients" { "Lines for your client" } }
            @for client in all(url, key) {
                div.client {
                    h3 { (client.name) }
                    @for step in &client.steps {
                        p.hint { (step.what) ":" }
                        div.copy data-what=(format!("the lines for {}", client.name)) { pre tabindex="0" { (step.lines) } }
                    }
                }
            }
        }
    }
}

/// How to connect.
pub async fn show(
    State(state): State<ControlState>,
    SignedIn(me): SignedIn,
    AskedAt(site): AskedAt,
) -> Response {
    let url = state.sites.public_url(&site);
    let content = html! {
        (shell::heading("Connect a client", html! { "The gateway speaks each provider's own API: a client needs its address and a key of yours, nothing else." },
            html! { a.button.primary href="/ui/keys" { "Create a key" } }))
        section.card { div.inside {
            p { "The gateway is at" }
            div.copy data-what="the address" { pre tabindex="0" { (url) } }
            p.hint { "Put your key where " code { (NO_KEY) } " stands. A key that you have just created is filled in for you." }
        } }
        (clients(&url, NO_KEY))
    };
    Page { place: shell::CONNECT, title: "Connect a client", content }.answer(&me)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_the_same_lines() {
        let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/README.md");
        let manual = std::fs::read_to_string(manual).expect("the manual");
        for client in all("https://llm.example.com", NO_KEY) {
            for step in client.steps {
                // The manual writes variables without their values where they are plain.
                let first = step.lines.split(['=', ' ']).next().unwrap_or_default().to_owned();
                let line = if client.name.ends_with("SDKs") { first } else { step.lines };
                assert!(manual.contains(&line), "{}: {line}", client.name);
            }
        }
    }
}
