//! What the pairs onto Chat Completions share: how a request of it is written for `OpenAI` and for those who imitate it,
//! and how the blocks of an answer are told apart.

pub mod blocks;
pub mod call_ids;
mod calls;
pub mod conversation;
pub mod reading;
pub mod reasoning;
pub mod request;
#[cfg(test)]
pub(super) mod testing;
