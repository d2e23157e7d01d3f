//! What the parts of a node share.

use std::sync::Arc;
use std::time::Duration;

use super::backups::BackupMetrics;
use crate::accounts::Accounts;
use crate::alerts::Alerts;
use crate::cluster::standing::Standing;
use crate::domain::clock::Clock;
use crate::domain::ids::NodeId;
use crate::ldap::Ldap;
use crate::ledger::Ledger;
use crate::oidc::Oidc;
use crate::proxy::Live;
use crate::quota::Quota;
use crate::store::{DatabaseLock, Store};
use crate::telemetry::spans::Spans;

/// What every part of a node is built from.
pub(super) struct SharedParts {
    pub(super) id: NodeId,
    pub(super) store: Store,
    /// Whether it leads by promotion. None: it shares `store` with other leaders.
    pub(super) standing: Option<Standing>,
    /// This node's own books, if it shares `store` with other leaders.
    pub(super) spool: Option<Store>,
    pub(super) lock: Arc<DatabaseLock>,
    pub(super) accounts: Accounts,
    /// The identity provider at which people sign in; a leader's.
    pub(super) oidc: Option<Arc<Oidc>>,
    /// The directory whose passwords are good here, too; a leader's.
    pub(super) ldap: Option<Arc<Ldap>>,
    pub(super) quota: Quota,
    pub(super) ledger: Ledger,
    pub(super) live: Arc<Live>,
    /// Who is told of what happens.
    pub(super) alerts: Alerts,
    pub(super) clock: Arc<dyn Clock>,
    /// How others reach this node's HTTP side.
    pub(super) addr: String,
    /// `usage.retention`
    pub(super) retention: Duration,
    /// Backups that are made by the clock.
    pub(super) backups: BackupMetrics,
    /// Whoever collects spans is told of calls and pushes.
    pub(super) spans: Option<Spans>,
}
