//! Calls whose answers are known beforehand: every dialect, JSON and streams, a few that hang up, a few errors.

use serde_json::{Value, json};

use super::books::Received;
use crate::domain::provider::Provider;

/// One call, decided by its number alone, so that every run is the same.
pub struct Plan {
    provider: Provider,
    pub stream: bool,
    pub hang_up: bool,
    pub status: u16,
    input: u64,
    output: u64,
}

impl Plan {
    #[must_use]
    pub fn of(number: u64) -> Self {
        let dialects = Provider::ALL.len() as u64;
        let provider = Provider::ALL[usize::try_from(number % dialects).unwrap_or(0)];
        let kind = (number / dialects) % 25;
        let stream = kind.is_multiple_of(2);
        Self {
            provider,
            stream,
            hang_up: kind == 4,
            status: if kind == 7 { 500 } else { 200 },
            input: 10 + number % 4_000,
            output: 1 + number % 700,
        }
    }

    /// The call of a node at `url`, which the mock provider answers with the planned tokens.
    pub fn request(&self, http: &reqwest::Client, url: &str, key: &str) -> reqwest::RequestBuilder {
        let (path, body) = self.path_and_body();
        let mut request = http.post(format!("{url}{path}")).header("x-api-key", key).json(&body);
        request = request.header("mock-input", self.input).header("mock-output", self.output);
        if self.status != 200 {
            request = request.header("mock-status", self.status);
        }
        if self.stream {
            request = request.header("mock-events", 8).header("mock-delay-ms", 10);
        }
        request
    }

    /// What the books have to say of its answer.
    #[must_use]
    pub fn received(&self) -> Received {
        let (input, output) = if self.status == 200 { (self.input, self.output) } else { (0, 0) };
        Received { input, output, status: self.status }
    }

    /// What a stream's last event has in it; a caller that has read that has the whole answer, however the connection
    /// ends. None where no event says that it is the last.
    #[must_use]
    pub fn last_event(&self) -> Option<&'static str> {
        match self.provider {
            _ if !self.stream || self.status != 200 => None,
            Provider::Anthropic => Some("\"message_stop\""),
            Provider::Openai => Some("[DONE]"),
            Provider::Gemini => None,
            Provider::Ollama => Some("\"done\":true"),
        }
    }

    #[must_use]
    pub fn path_and_body(&self) -> (&'static str, Value) {
        let stream = self.stream;
        let said = json!([{ "role": "user", "content": "How much is the fish?" }]);
        match self.provider {
            Provider::Anthropic => (
                "/v1/messages",
                json!({ "model": "claude-sonnet-4-5", "max_tokens": 1024, "stream": stream, "messages": said }),
            ),
            Provider::Openai => {
                ("/v1/chat/completions", json!({ "model": "gpt-5-mini", "stream": stream, "messages": said }))
            }
            Provider::Gemini => {
                let path = if stream {
                    "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
                } else {
                    "/v1beta/models/gemini-2.5-flash:generateContent"
                };
                (
                    path,
                    json!({ "contents": [{ "role": "user", "parts": [{ "text": "How much is the fish?" }] }] }),
                )
            }
            Provider::Ollama => {
                ("/api/chat", json!({ "model": "llama3.3", "stream": stream, "messages": said }))
            }
        }
    }
}
