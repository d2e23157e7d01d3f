//! How a mock is set up, for all of its calls.

use crate::mock::credentials::Credentials;

/// The settings of a mock.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub credentials: Credentials,
}
