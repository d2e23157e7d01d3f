//! Who may call: everyone's credentials in memory, and every change to users, groups and keys.
//!
//! A request is authenticated from the `directory` alone. A change is one transaction with its audit entry; when it
//! is committed, the directory follows, so it holds from the next request on. Only leaders change anything: each has a
//! key that signs access tokens. Several leaders may work on one database: each takes over what another has changed
//! ([`Accounts::reload`]). Followers take over what their leader has ([`Accounts::adopt`]).

mod audit;
mod authenticate;
mod authority;
mod bootstrap;
mod browser_sessions;
mod device_login;
mod directory;
mod error;
mod external;
mod groups;
mod import;
mod keys;
mod limits;
mod login_throttle;
mod maintenance;
mod names;
mod private_file;
mod provision;
mod sessions;
mod signing_key;
mod users;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, watch};

pub use audit::Actor;
pub use bootstrap::FirstStart;
pub use browser_sessions::{
    BROWSER_IDLE_MAX, BROWSER_SESSION_MAX, EndedBrowserSession, NewBrowserSession, SignIn,
};
pub use device_login::{DEVICE_LOGIN_MAX, DEVICE_POLL, DeviceRefusal, NewDeviceLogin, WaitingDevice};
pub use error::Error;
pub use external::{ExternalPerson, ExternalRules, PasswordDirectory, Refused};
pub use groups::{GroupChange, NewGroup, RemovedGroup};
pub use import::{ImportOptions, ImportOutcome, ImportRow, Imported, ImportedRow, RefusedRow};
pub use keys::{CreatedKey, NewKey, ReissuedKey};
pub use limits::LimitsChange;
pub use login_throttle::Rules as LoginThrottleRules;
pub use provision::{
    MembersChange, ProvisionedGroup, ProvisionedGroupChange, ProvisionedUser, ProvisionedUserChange,
};
pub use sessions::Session;
pub use signing_key::SigningKey;
pub use users::{NewUser, RemovedUser, UserChange};

use crate::config::AuthConfig;
use crate::crypto::password::Hasher;
use crate::crypto::token::{PublicKey, Signer};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::ids::{GroupId, NodeId, UserId};
use crate::domain::principal::Principal;
use crate::domain::quota::Allowance;
use crate::store::{AccountsChange, AccountsState, MetaRepo, Store, Tx};
use authenticate::Authenticator;
use directory::Directory;
use login_throttle::LoginThrottle;

/// Settings of accounts.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Lifetime of access tokens.
    pub access_token_ttl: Duration,
    /// Lifetime of refresh tokens; each use replaces the token by a new one.
    pub refresh_token_ttl: Duration,
    /// Threads that hash passwords.
    pub login_threads: usize,
    /// Passwords that may wait for them.
    pub login_queue: usize,
    /// Called on a thread that has hashed a password, before it ends: the node gives memory back there.
    pub after_hashing: fn(),
    /// Limits of failed logins.
    pub login_throttle: LoginThrottleRules,
    /// How long the public half of a new signing key is known before tokens are signed with it: all nodes have it by then.
    pub key_announcement: Duration,
    pub is_leader: bool,
}

impl Settings {
    /// From the configuration, for a leader or a follower. Nothing happens after hashing.
    #[must_use]
    pub fn new(config: &AuthConfig, is_leader: bool) -> Self {
        Self {
            access_token_ttl: config.access_token_ttl,
            refresh_token_ttl: config.refresh_token_ttl,
            login_threads: config.login_threads,
            login_queue: config.login_queue,
            after_hashing: || (),
            login_throttle: LoginThrottleRules::default(),
            key_announcement: Duration::from_secs(2),
            is_leader,
        }
    }
}

/// Users, groups and keys of this node. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    authenticator: Authenticator,
    store: Store,
    clock: Arc<dyn Clock>,
    settings: Settings,
    hasher: Hasher,
    /// Asked about whoever has no password here.
    password_directory: OnceLock<Arc<dyn PasswordDirectory>>,
    login_throttle: Mutex<LoginThrottle>,
    /// The same for codes of programs that wait, by the user who types them.
    code_throttle: Mutex<LoginThrottle>,
    signer: ArcSwapOption<Signer>,
    /// Where the key is kept that this node signs with. Held while it is replaced.
    signing: tokio::sync::Mutex<Option<KeyPlace>>,
    /// Held over a change and the directory's update, so that both happen in the same order.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// The state version after the last change; followers are told when it moves.
    version: watch::Sender<u64>,
}

/// Where this node keeps the key that it signs with, and what it is called.
struct KeyPlace {
    path: PathBuf,
    node: NodeId,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("authenticator", &self.inner.authenticator).finish_non_exhaustive()
    }
}

impl Accounts {
    /// Authenticates a caller by API key or access token. In memory: never waits, never asks a database.
    ///
    /// # Errors
    /// Whatever is wrong with the credential; see [`Error`].
    pub fn authenticate(&self, credential: &str, now: Timestamp) -> Result<Principal, Error> {
        self.inner.authenticator.authenticate(credential, now)
    }

    /// Like [`Accounts::authenticate`], but accepts the local admin token, too; for the control plane only.
    ///
    /// # Errors
    /// Whatever is wrong with the credential; see [`Error`].
    pub fn authenticate_operator(&self, credential: &str, now: Timestamp) -> Result<Principal, Error> {
        self.inner.authenticator.authenticate_operator(credential, now)
    }

    /// Watches the version of users, groups, keys and limits.
    #[must_use]
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.inner.version.subscribe()
    }

    /// The public keys that access tokens are verified with.
    #[must_use]
    pub fn public_keys(&self) -> Vec<PublicKey> {
        self.inner.authenticator.public_keys()
    }

    /// Replaces the accounts with the leader's, after they were written to this node's database. Holds from the next
    /// request on. Grows with the number of users and keys.
    pub fn adopt(&self, state: &AccountsState) {
        self.inner.authenticator.adopt(state);
        self.inner.version.send_replace(state.version);
    }

    /// Applies one change of the leader's, after it was written to this node's database. Holds from the next request
    /// on. Costs what changes, whatever else there is.
    pub fn adopt_step(&self, change: &AccountsChange) {
        self.inner.authenticator.directory.step(change);
        let keys: Vec<_> = change.token_keys.iter().copied().map(PublicKey).collect();
        self.inner.authenticator.set_public_keys(&keys);
        self.inner.authenticator.end_sessions(&change.ended_sessions);
        self.inner.version.send_replace(change.version);
    }

    /// The current name of a user.
    #[must_use]
    pub fn user_name(&self, id: UserId) -> Option<Arc<str>> {
        self.inner.authenticator.directory.user_name(id)
    }

    /// The current name of a group.
    #[must_use]
    pub fn group_name(&self, id: GroupId) -> Option<Arc<str>> {
        self.inner.authenticator.directory.group_name(id)
    }

    /// The current name of a user, and what the user may use.
    #[must_use]
    pub fn user_allowance(&self, id: UserId) -> Option<(Arc<str>, Arc<Allowance>)> {
        self.inner.authenticator.directory.user_allowance(id)
    }

    /// The current name of a group, and what its members may use together.
    #[must_use]
    pub fn group_allowance(&self, id: GroupId) -> Option<(Arc<str>, Arc<Allowance>)> {
        self.inner.authenticator.directory.group_allowance(id)
    }

    /// How many users, groups and keys there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        self.inner.authenticator.directory.counts()
    }

    /// Begins a change: nobody else changes anything until the guard is dropped, here or in another process on the same
    /// database. What is read within it is how the change before left it.
    async fn change(&self) -> Result<Change, Error> {
        if !self.inner.settings.is_leader {
            return Err(Error::NotLeader);
        }
        let lock = self.hold().await;
        let (tx, version) = self.inner.store.begin_locked().await?;
        let known = *self.inner.version.borrow();
        if version < known {
            // It is compared and mended as soon as the version is looked at.
            self.inner.version.send_modify(|_| ());
            return Err(Error::FellBack);
        }
        let (now, is_up_to_date) = (self.inner.clock.now(), version == known);
        Ok(Change { accounts: self.clone(), tx, now, version, is_up_to_date, _lock: lock })
    }

    /// Takes over what another leader on the same database has changed; the answer is the database's state version. Holds
    /// from the next request on. A version that has not moved costs one look-up; one that moved because sessions ended costs
    /// those; one below what this node knows (a database that fell back) changes nothing here.
    ///
    /// # Errors
    /// The database's.
    pub async fn reload(&self) -> Result<u64, Error> {
        let _lock = self.hold().await;
        self.load_news().await
    }

    /// As [`Accounts::reload`], under the lock of changes.
    async fn load_news(&self) -> Result<u64, Error> {
        let version = MetaRepo::on(&self.inner.store).state_version().await?;
        let known = *self.inner.version.borrow();
        if version <= known {
            return Ok(version);
        }
        let Some(news) = self.inner.store.sign_in_news(known).await? else { return self.load().await };
        let keys: Vec<_> = news.token_keys.into_iter().map(PublicKey).collect();
        self.inner.authenticator.set_public_keys(&keys);
        self.inner.authenticator.end_sessions(&news.ended_sessions);
        self.inner.version.send_replace(news.version);
        Ok(news.version)
    }

    /// Makes accounts and public keys what the database holds. Under the lock of changes.
    async fn load(&self) -> Result<u64, Error> {
        let state = self.inner.store.accounts_state().await?;
        self.adopt(&state);
        Ok(state.version)
    }

    /// While this is held nobody changes users, groups, keys or limits here.
    pub async fn hold(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.inner.changing).lock_owned().await
    }

    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }
}

/// A change that is being made: its transaction, its time, and the right to make it.
struct Change {
    accounts: Accounts,
    tx: Tx,
    now: Timestamp,
    /// The state version before it.
    version: u64,
    /// This node knows all that was changed before, by other leaders, too.
    is_up_to_date: bool,
    _lock: OwnedMutexGuard<()>,
}

impl Change {
    /// Commits, then updates the directory, while the lock is still held. Whoever asked may hang up meanwhile.
    async fn commit<T: Send + Sync + 'static>(
        self,
        changed: T,
        follow: fn(&Directory, &T),
    ) -> Result<T, Error> {
        detached(async move {
            self.settle(|authenticator| follow(&authenticator.directory, &changed)).await?;
            Ok(changed)
        })
        .await
    }

    /// Commits, then has this node's memory follow, while the lock is still held. To be called where no caller who hangs up
    /// ends it in between: what was committed must not be missing from memory.
    async fn settle(self, follow: impl FnOnce(&Authenticator)) -> Result<(), Error> {
        let inner = &self.accounts.inner;
        let version = match self.tx.commit().await {
            Ok(version) => version,
            Err(error) => {
                // A server that died during the commit may have made the change: what it says now is what holds.
                let _unless_away = self.accounts.load().await;
                return Err(error.into());
            }
        };
        follow(&inner.authenticator);
        if version == self.version {
            return Ok(());
        }
        if self.is_up_to_date {
            inner.version.send_replace(version);
        } else if let Err(error) = self.accounts.load_news().await {
            tracing::warn!(%error, "changes of another leader could not be read; it is tried again");
            // The version stays behind the database's, so the next look at that reads them.
            inner.version.send_modify(|_| ());
        }
        Ok(())
    }
}

/// Does `work` in a task of its own: a caller who hangs up takes the request's future down at any `await`, and what was
/// begun has to come to its end.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    #[allow(
        clippy::disallowed_methods,
        reason = "waited for below, unless the caller hangs up, which it has to outlive"
    )]
    let done = tokio::spawn(work);
    done.await.unwrap_or_else(|stopped| Err(Error::Interrupted(stopped.to_string())))
}
