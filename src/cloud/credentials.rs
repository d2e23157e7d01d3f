//! What calls at a cloud are made with, as it is configured: an AWS access key, or a file of Google's.

use std::sync::Arc;

use super::aws_credentials::{AwsCredentials, AwsSource};
use super::gcp::GcpCredentials;
use super::machine::BadCredentials;
use crate::domain::secret::Secret;

/// Credentials of a cloud, or where they are had from.
#[derive(Clone, Debug)]
pub enum CloudCredentials {
    Aws(AwsSource),
    Gcp(Arc<GcpCredentials>),
}

impl CloudCredentials {
    /// An access key that is written as one text: `KEY_ID:SECRET`, or `KEY_ID:SECRET:SESSION_TOKEN`.
    ///
    /// # Errors
    /// In words; nothing of the text is in them.
    pub fn of_aws_key(text: &str) -> Result<Self, BadCredentials> {
        let mut parts = text.splitn(3, ':').map(str::trim);
        let (id, secret, token) = (parts.next(), parts.next(), parts.next());
        match (id.filter(|id| !id.is_empty()), secret.filter(|secret| !secret.is_empty())) {
            (Some(id), Some(secret)) => Ok(Self::Aws(AwsSource::Static(AwsCredentials {
                access_key_id: id.to_owned(),
                secret_access_key: Secret::new(secret),
                session_token: token.filter(|token| !token.is_empty()).map(Secret::new),
                expires_at: None,
            }))),
            _ => Err(BadCredentials {
                origin: "the AWS access key".to_owned(),
                reason: "has to be written as KEY_ID:SECRET, or KEY_ID:SECRET:SESSION_TOKEN".to_owned(),
            }),
        }
    }

    /// The text of a file of Google's.
    ///
    /// # Errors
    /// In words; nothing of the text is in them.
    pub fn of_gcp_file(text: &str) -> Result<Self, BadCredentials> {
        Ok(Self::Gcp(Arc::new(GcpCredentials::from_json("the credentials", text)?)))
    }

    /// The project that they belong to, where they say so.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        match self {
            Self::Aws(_) => None,
            Self::Gcp(credentials) => credentials.project(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_key_is_one_text() {
        let read = |text: &str| match CloudCredentials::of_aws_key(text) {
            Ok(CloudCredentials::Aws(AwsSource::Static(key))) => Some((
                key.access_key_id,
                key.secret_access_key.expose().to_owned(),
                key.session_token.map(|token| token.expose().to_owned()),
            )),
            _ => None,
        };
        let key =
            |token: Option<&str>| Some(("AKIA1".to_owned(), "s/e+c".to_owned(), token.map(str::to_owned)));
        assert_eq!(read("AKIA1:s/e+c"), key(None));
        assert_eq!(read(" AKIA1:s/e+c:\n"), key(None));
        assert_eq!(read("AKIA1:s/e+c:to:ken="), key(Some("to:ken=")));
        for bad in ["", "AKIA1", "AKIA1:", ":secret"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let told = CloudCredentials::of_aws_key("whole-secret").expect_err("no key").to_string();
        assert!(!told.contains("whole-secret"), "{told}");
    }
}
