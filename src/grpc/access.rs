//! Who may call: nodes by the cluster's secret, readers of statistics by that or by a role that reads the whole cluster.

use std::sync::Arc;

use http::{HeaderMap, header};
use subtle::ConstantTimeEq;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::accounts::Accounts;
use crate::domain::clock::Clock;
use crate::domain::failure::{Failure, Kind};
use crate::domain::permission::Permission;
use crate::grpc::status::status;

/// Checks that a caller may call.
#[derive(Clone)]
pub struct Access {
    /// `None`: this node listens on loopback only, and any process of this machine may be a follower.
    secret: Option<Arc<str>>,
    accounts: Accounts,
    clock: Arc<dyn Clock>,
}

impl Access {
    /// Access by `secret`, and for statistics by the credentials of admins and auditors.
    #[must_use]
    pub fn new(secret: Option<&str>, accounts: Accounts, clock: Arc<dyn Clock>) -> Self {
        Self { secret: secret.map(Arc::from), accounts, clock }
    }

    /// Checks the caller for this path, before anything of its message is read.
    #[allow(clippy::result_large_err, reason = "tonic's handlers return a Status")]
    pub(super) fn caller(&self, path: &str, headers: &HeaderMap) -> Result<(), Status> {
        match path.rsplit_once('/').map(|(service, _)| service) {
            Some("/sproxy.v1.Cluster") => self.node(headers),
            Some("/sproxy.v1.Stats") => self.reads(headers),
            // Health and reflection are for everybody, and there is nothing else.
            _ => Ok(()),
        }
    }

    /// Checks a node's credential.
    #[allow(clippy::result_large_err, reason = "tonic's handlers return a Status")]
    fn node(&self, headers: &HeaderMap) -> Result<(), Status> {
        if self.secret.is_none() || self.is_secret(bearer(headers).unwrap_or_default()) {
            return Ok(());
        }
        Err(status(Failure::new(Kind::Unauthenticated, "authorization: Bearer <cluster.secret> is required")))
    }

    /// Checks the credential of a reader of statistics.
    #[allow(clippy::result_large_err, reason = "tonic's handlers return a Status")]
    pub(super) fn reader(&self, metadata: &MetadataMap) -> Result<(), Status> {
        self.reads(metadata.as_ref())
    }

    #[allow(clippy::result_large_err, reason = "tonic's handlers return a Status")]
    fn reads(&self, headers: &HeaderMap) -> Result<(), Status> {
        let Some(credential) = bearer(headers) else {
            let text = "authorization: Bearer with the cluster's secret or an admin's or auditor's token or key is required";
            return Err(status(Failure::new(Kind::Unauthenticated, text)));
        };
        if self.is_secret(credential) {
            return Ok(());
        }
        let caller = self.accounts.authenticate_operator(credential, self.clock.now()).map_err(status)?;
        Permission::ReadCluster.of(&caller).map(|_| ()).map_err(status)
    }

    fn is_secret(&self, offered: &str) -> bool {
        self.secret.as_ref().is_some_and(|secret| bool::from(secret.as_bytes().ct_eq(offered.as_bytes())))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(credential.trim())
}
