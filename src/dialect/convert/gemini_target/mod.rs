//! Gemini as the target of conversions: what its requests and answers are, whoever's API the caller speaks.

mod answer;
pub mod conversation;
pub mod media;
pub mod reading;
pub mod request;
mod schema;
pub mod signature;
