//! How an answer ends that is not whole.

/// An answer that could not be carried to its end. hyper closes the connection on it, which is how the caller learns
/// that the answer is not whole.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Aborted(pub String);
