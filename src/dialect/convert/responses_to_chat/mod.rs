//! Callers of Responses on models behind Chat Completions: Codex on whatever a compatible server has.

mod answer;
mod history;
mod request;
#[cfg(test)]
mod tests;

pub use request::request;
