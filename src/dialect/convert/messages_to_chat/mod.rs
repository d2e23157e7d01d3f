//! Callers of Anthropic's Messages on models behind Chat Completions: Claude Code on whatever a compatible server has.

mod answer;
mod content;
mod request;
#[cfg(test)]
mod tests;

pub use request::request;
