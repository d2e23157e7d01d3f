//! Why somebody cannot sign in at the provider.

use crate::accounts;
use crate::domain::failure::{Failure, Kind};

/// The longest text of a provider's that is passed on.
const SAID_MAX: usize = 200;

/// Why nobody is signed in. Texts are for whoever wants to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The browser comes back without having begun here, too late, or a second time.
    #[error("this sign-in was begun in another browser, too long ago, or once more since: begin again")]
    Stale,
    #[error("the identity provider cannot be reached: {0}")]
    Unreachable(String),
    /// What it answers is not what the standard asks for: a mistake in its configuration or ours, or an attack.
    #[error("the identity provider's answer is not accepted: {0}")]
    Wrong(String),
    /// It does not let the person in.
    #[error("the identity provider refuses: {0}")]
    Refused(String),
    /// It does, but not whom this gateway is for.
    #[error("{0}")]
    NotAllowed(String),
    #[error(transparent)]
    Accounts(#[from] accounts::Error),
}

impl Error {
    /// The provider's error, in its own words as far as they can be shown.
    pub(super) fn refused(error: &str, description: Option<&str>) -> Self {
        let said =
            description.map_or_else(|| error.to_owned(), |description| format!("{error}: {description}"));
        Self::Refused(said.chars().filter(|letter| !letter.is_control()).take(SAID_MAX).collect())
    }

    /// Whether a person may not sign in any more; anything else may be over in a minute.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NotAllowed(_))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Stale => Self::new(Kind::Invalid, message),
            Error::Unreachable(_) | Error::Wrong(_) => Self::new(Kind::Unavailable, message),
            Error::Refused(_) | Error::NotAllowed(_) => Self::new(Kind::Forbidden, message),
            Error::Accounts(error) => error.into(),
        }
    }
}
