//! Why a cluster on this machine could not be played with.

/// The cluster could not be run; a verdict on its books is not an error but an exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{what}: {source}")]
    Call { what: String, source: reqwest::Error },
    /// A process that does not do what it must.
    #[error("{0}")]
    Node(String),
}

impl Error {
    /// An error of the operating system, and what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }

    /// A call that a node did not answer as it must, and what was tried.
    pub fn call(what: impl Into<String>) -> impl FnOnce(reqwest::Error) -> Self {
        move |source| Self::Call { what: what.into(), source }
    }
}
