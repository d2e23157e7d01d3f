//! Who somebody is, and who may try how often.

mod logins;
mod sessions;
mod signing_keys;
mod two_processes;

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sproxy::accounts::{Accounts, Error, Session, Settings};
use sproxy::config::AuthConfig;
use sproxy::domain::clock::{Clock, ManualClock};
use sproxy::store::Store;
use tempfile::TempDir;

use crate::harness::auth::auth;
use crate::harness::databases::TestDatabase;
use crate::harness::records::{at, node};
use crate::harness::{Mock, Node, Setup, until};

pub const PASSWORD: &str = "correct horse battery";
pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Lifetime of access tokens.
const TTL: Duration = Duration::from_hours(1);

fn settings(is_leader: bool) -> Settings {
    let auth = AuthConfig { access_token_ttl: TTL, ..auth() };
    Settings { key_announcement: Duration::ZERO, ..Settings::new(&auth, is_leader) }
}

/// The accounts of a leader, with its data directory and its clock.
pub struct Leader {
    accounts: Accounts,
    clock: Arc<ManualClock>,
    directory: Arc<TempDir>,
}

impl Deref for Leader {
    type Target = Accounts;

    fn deref(&self) -> &Accounts {
        &self.accounts
    }
}

impl Leader {
    /// A new leader, with the user `admin` if there was none.
    pub async fn start(store: &Store, name: &str) -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        let started = Self::start_in(store, name, directory, settings(true)).await.expect("started");
        started.first_start(Some(PASSWORD.to_owned())).await.expect("a first start");
        started
    }

    async fn start_in(
        store: &Store,
        name: &str,
        directory: Arc<TempDir>,
        settings: Settings,
    ) -> Result<Self, Error> {
        let clock = Arc::new(ManualClock::new(at("2026-11-29T12:00:00Z")));
        let accounts = Accounts::open(store.clone(), settings, clock.clone()).await?;
        accounts.open_signing_key(directory.path(), &node(name)).await?;
        Ok(Self { accounts, clock, directory })
    }

    /// The same leader after a restart.
    async fn again(&self, store: &Store, name: &str) -> Self {
        let again = Self::start_in(store, name, Arc::clone(&self.directory), settings(true)).await;
        let again = again.expect("started again");
        again.clock.set(self.clock.now());
        again
    }

    fn key_file(&self) -> PathBuf {
        self.directory.path().join("signing.key")
    }

    async fn signs_in(&self) -> Session {
        self.login("admin", PASSWORD.to_owned(), HERE).await.expect("logged in")
    }

    /// Whether an access token is accepted.
    fn accepts(&self, session: &Session) -> bool {
        match self.authenticate(&session.access_token, self.clock.now()) {
            Ok(_) => true,
            Err(Error::UnknownCredential | Error::Revoked | Error::Expired { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A leader and a follower that know each other.
async fn pair() -> (Mock, Node, Node) {
    pair_with("").await
}

/// The same, with `lines` more in the section `cluster` of both.
async fn pair_with(lines: &str) -> (Mock, Node, Node) {
    let mock = Mock::start().await;
    let both = format!("heartbeat_interval = \"300ms\"\n{lines}");
    let leader = Setup::with_targets_at(&mock.url()).section("cluster", &both).start().await;
    let line = format!("{both}\nleader = \"http://{}\"", leader.grpc.unwrap());
    let follower = Setup::with_targets_at(&mock.url()).section("cluster", &line);
    let follower = follower.section("node", "id = \"sp-2\"").start().await;
    until("the follower is ready", async || {
        follower.http.get(follower.url("/readyz")).send().await.unwrap().status().is_success().then_some(())
    })
    .await;
    (mock, leader, follower)
}

/// Two leaders on one database.
pub async fn two_leaders(db: &TestDatabase) -> (Leader, Leader) {
    let one = Leader::start(&db.store, "sp-1").await;
    let two = Leader::start(&db.second_store().await, "sp-9").await;
    one.reload().await.expect("read");
    (one, two)
}
