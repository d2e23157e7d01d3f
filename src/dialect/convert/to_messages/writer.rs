//! What tells an answer of Messages in the caller's API, piece by piece.

use serde_json::Value;

use super::super::events::EventWriter;
use super::super::messages_events::Counts;
use super::super::upstream_error::UpstreamError;

pub trait Writer {
    /// The answer begins; of a stream there are events, which [`Self::write`] takes.
    fn begin(&mut self, id: &str, model: &str, is_stream: bool);

    fn text(&mut self, piece: &str);

    /// How many characters have been said that a citation may be about.
    fn text_chars(&self) -> usize;

    /// What has been said since the `start`th character was found there.
    fn url_citation(&mut self, url: &str, title: &str, start: usize);

    fn begin_reasoning(&mut self);

    fn reasoning(&mut self, piece: &str);

    /// `carrier`: what Anthropic wants to have back.
    fn end_reasoning(&mut self, carrier: Option<String>);

    /// A call by the name that was sent.
    fn begin_call(&mut self, id: &str, name: &str);

    /// More of its arguments' JSON.
    fn call_arguments(&mut self, piece: &str);

    /// It is whole.
    fn end_call(&mut self);

    /// Anthropic has searched the web.
    fn web_search(&mut self, query: &str);

    /// The answer is over, for Anthropic's reason; what it is as a document comes back.
    fn finish(&mut self, reason: &str, explanation: Option<&str>, counts: &Counts) -> Value;

    /// The stream ends with an error.
    fn fail(&mut self, error: &UpstreamError, counts: &Counts);

    fn is_over(&self) -> bool;

    /// Writes the events that have been made since.
    fn write(&mut self, made: &mut EventWriter);
}
