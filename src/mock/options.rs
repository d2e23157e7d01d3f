//! How a mock is set up, for all of its calls.

use crate::mock::credentials::Credentials;
use crate::mock::script::ReadScript;

/// The settings of a mock.
#[derive(Debug, Default)]
pub struct Options {
    pub credentials: Credentials,
    /// What happens to the first calls.
    pub script: ReadScript,
}
