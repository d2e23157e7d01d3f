//! Why a command did not do what it was asked to, in a sentence for people, and the exit code that says so to programs.

use std::io;

use crate::config::Problems;
use crate::node;

/// Done.
pub const DONE: u8 = 0;
/// Tried and failed.
pub const FAILED: u8 = 1;
/// Wrong usage or configuration (`EX_USAGE` of BSD's `sysexits`).
pub const WRONG_USAGE: u8 = 64;

/// A command's failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Config(#[from] Problems),
    /// The node could not be reached, or broke off.
    #[error(
        "no answer from {server} ({reason}): check that a node runs there, or name another one with --server"
    )]
    Unreachable {
        server: String,
        /// What went wrong, from the outermost cause to the innermost.
        reason: String,
    },
    #[error("{0}")]
    Refused(String),
    /// The node could not start, or go on.
    #[error("the node could not go on: {0}")]
    Node(#[from] node::Error),
    /// The demo could not be run.
    #[error("the demo could not be played to its end: {0}")]
    Demo(String),
    /// The demo's books are not right.
    #[error("the demo's books are not right; the verdict says where")]
    Verdict,
    /// The torture could not be run.
    #[error("the torture could not go on: {0}")]
    Torture(String),
    /// The torture found something.
    #[error(
        "the books are not right, or the cluster did not recover by itself; the report says what is wrong"
    )]
    TortureVerdict,
    /// A test alert did not arrive everywhere; the table says where.
    #[error("not every receiver has the test alert")]
    NotDelivered,
    /// The doctor has found something; its lines say what.
    #[error("something stands between you and the gateway; the lines above say what to do")]
    NotHealthy,
    /// A file, a terminal or a socket.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("standard output: {0}")]
    Output(io::Error),
}

impl Error {
    /// An error of the operating system, and what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }

    /// The exit code that tells programs.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => WRONG_USAGE,
            // A reader that has seen enough (`sproxy usage | head`) is no failure.
            Self::Output(reason) if reason.kind() == io::ErrorKind::BrokenPipe => DONE,
            Self::Unreachable { .. }
            | Self::Refused(_)
            | Self::Node(_)
            | Self::Demo(_)
            | Self::Verdict
            | Self::Torture(_)
            | Self::TortureVerdict
            | Self::NotDelivered
            | Self::NotHealthy
            | Self::Io { .. }
            | Self::Output(_) => FAILED,
        }
    }
}
