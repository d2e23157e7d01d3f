//! Why the demo could not be played.

/// The demo could not be played; its verdict is not an error but an exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A call to a node.
    #[error("{what}: {source}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: reqwest::Error,
    },
    /// A node that does not do what it must.
    #[error("{0}")]
    Node(String),
}
