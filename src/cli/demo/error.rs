//! Why the demo could not be run.

/// The demo could not be run; its verdict is not an error but an exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
    #[error("{what}: {source}")]
    Call { what: &'static str, source: reqwest::Error },
    /// A node that does not do what it must.
    #[error("{0}")]
    Node(String),
}
