//! What can go wrong with accounts.

use std::time::Duration;

use crate::crypto::secret_text::NoRandomness;
use crate::crypto::{password, token};
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::domain::permission::RoleNeeded;
use crate::store;

/// About what a full queue of passwords takes.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// Why a caller is refused or a change was not made. No variant carries a credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The credential is not one that exists.
    #[error("unknown credential: check the API key, or log in again")]
    UnknownCredential,
    /// The credential's time is over.
    #[error("the {what} expired at {at}")]
    Expired {
        /// What expired: `API key` or `access token`.
        what: &'static str,
        /// When.
        at: Timestamp,
    },
    /// The access token was issued before everything of the user was revoked, or before the password changed.
    #[error("the access token was revoked: log in again")]
    Revoked,
    /// The user is disabled.
    #[error("user {0} is disabled")]
    Disabled(String),
    /// The name is unknown or the password wrong; which of them is not said.
    #[error("wrong user name or password")]
    WrongLogin,
    /// The refresh token is unknown, used before, revoked or expired.
    #[error("the refresh token is not valid: log in again")]
    WrongRefreshToken,
    /// The browser's session is unknown, ended or too old.
    #[error("you are signed out: sign in again")]
    SignedOut,
    /// The identity provider vouches for somebody who is no user here, and makes nobody one.
    #[error("there is no user {0} here: an admin adds one")]
    NoUser(String),
    /// The directory that knows the passwords of others than this gateway does not answer.
    #[error("the directory of passwords cannot be reached: try again in a moment")]
    DirectoryAway,
    /// Too many failed logins; holds for the right password too, until the wait is over.
    #[error("too many failed logins: try again in {} s", .0.as_secs_f64().ceil())]
    TooManyLogins(Duration),
    /// Too many wrong codes of programs that wait.
    #[error("too many wrong codes: try again in {} s", .0.as_secs_f64().ceil())]
    TooManyCodes(Duration),
    /// More programs wait to be let in than this gateway takes on at a time, of one address or of all.
    #[error("too many programs wait to be signed in: finish or forget some, or try again in a minute")]
    TooManyDevices,
    /// More passwords wait to be checked than this node takes on at a time.
    #[error("too many logins at the moment: try again in {} s", .0.as_secs())]
    Busy(Duration),
    /// The role of whoever asks is not enough.
    #[error(transparent)]
    RoleNeeded(#[from] RoleNeeded),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The thing that was named does not exist.
    #[error("no such {what}: {name}")]
    NotFound {
        /// `user`, `group` or `key`.
        what: &'static str,
        /// The id or name that was given.
        name: String,
    },
    /// It exists already, or its state does not permit this.
    #[error("{0}")]
    Conflict(String),
    /// Nobody could administer any more.
    #[error("this is the last active admin: make somebody else admin first")]
    LastAdmin,
    /// Only the leader can do this.
    #[error("this node is a follower and cannot sign access tokens")]
    NotLeader,
    /// The database has lost changes that were made: a standby that lagged behind has taken its place.
    #[error(
        "the database has fallen back behind the last change and is being brought up to date: try again in a moment"
    )]
    FellBack,
    /// The operating system gives no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The signing key is unusable.
    #[error(transparent)]
    SigningKey(#[from] token::Error),
    /// The file of the signing key holds something else.
    #[error(
        "{0} holds no private key (Ed25519, PEM): put the right file there, or remove this one, and the node makes \
         another key at its next start; who is signed in stays so"
    )]
    SigningKeyFile(String),
    /// A stored password cannot be read, or the machine cannot hash.
    #[error("password hashing failed: {0}")]
    Hashing(password::Error),
    /// The process is going down.
    #[error("a change was interrupted: {0}")]
    Interrupted(String),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file of ours cannot be written.
    #[error("{path}: {reason}")]
    File { path: String, reason: std::io::Error },
}

impl store::RolledBack for Error {
    fn is_rolled_back(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_rolled_back())
    }
}

impl From<password::Error> for Error {
    fn from(error: password::Error) -> Self {
        match error {
            password::Error::Busy => Self::Busy(BUSY_WAIT),
            password::Error::Gone | password::Error::Argon2(_) => Self::Hashing(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::UnknownCredential
            | Error::Expired { .. }
            | Error::Revoked
            | Error::WrongLogin
            | Error::WrongRefreshToken
            | Error::SignedOut => Self::new(Kind::Unauthenticated, message),
            Error::Disabled(_) | Error::NoUser(_) => Self::new(Kind::Forbidden, message),
            Error::RoleNeeded(needed) => needed.into(),
            Error::TooManyLogins(wait) | Error::TooManyCodes(wait) => {
                Self::new(Kind::RateLimited, message).retry_after(wait)
            }
            Error::TooManyDevices => {
                Self::new(Kind::RateLimited, message).retry_after(Duration::from_mins(1))
            }
            Error::Busy(wait) => Self::new(Kind::Unavailable, message).retry_after(wait),
            Error::Invalid(_) => Self::new(Kind::Invalid, message),
            Error::NotFound { .. } => Self::new(Kind::NotFound, message),
            Error::Conflict(_) | Error::LastAdmin => Self::new(Kind::Conflict, message),
            Error::NotLeader => Self::new(Kind::Unavailable, message),
            Error::FellBack | Error::DirectoryAway => {
                Self::new(Kind::Unavailable, message).retry_after(BUSY_WAIT)
            }
            Error::Store(error) => error.into(),
            Error::Randomness(_)
            | Error::SigningKey(_)
            | Error::SigningKeyFile(_)
            | Error::Hashing(_)
            | Error::Interrupted(_)
            | Error::File { .. } => Self::new(Kind::Internal, message),
        }
    }
}
