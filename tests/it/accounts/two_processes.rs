//! Accounts of two processes on one database, each with a memory of its own: no change and no session undoes another.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, Statement,
    TransactionTrait as _,
};
use sproxy::accounts::{
    Accounts, Actor, Error, LimitsChange, NewGroup, NewKey, NewUser, Settings, UserChange,
};
use sproxy::domain::clock::{Clock as _, SystemClock};
use sproxy::domain::ids::KeyId;
use sproxy::domain::user::{Role, User};
use sproxy::store::{ApiKeyRepo, MetaRepo, Store, UserRepo};

use crate::harness::auth::auth;
use crate::harness::databases::{TestDatabase, on_all};
use crate::harness::records::at;
use crate::harness::until;

const PASSWORD: &str = "correct horse battery";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Accounts of the leader `node`. Its key's file is not looked at again unless the key is replaced.
async fn open(store: &Store, node: &str) -> Accounts {
    let settings = Settings::new(&auth(), true);
    let accounts = Accounts::open(store.clone(), settings, Arc::new(SystemClock)).await.expect("accounts");
    let directory = tempfile::tempdir().expect("a directory");
    accounts.open_signing_key(directory.path(), &node.parse().expect("an id")).await.expect("a signing key");
    accounts
}

/// One and the other, after the user `admin` was made.
async fn two(db: &TestDatabase) -> (Accounts, Accounts) {
    let one = open(&db.store, "sp-1").await;
    one.first_start(Some(PASSWORD.to_owned())).await.expect("a first start");
    (one, open(&db.second_store().await, "sp-9").await)
}

fn actor() -> Actor {
    Actor::system()
}

async fn user(store: &Store, name: &str) -> User {
    UserRepo::on(store).get_by_name(name).await.expect("read").expect("there")
}

async fn version(store: &Store) -> u64 {
    MetaRepo::on(store).state_version().await.expect("a version")
}

fn new(name: &str) -> NewUser {
    NewUser { name: name.to_owned(), ..NewUser::default() }
}

fn turned(active: bool) -> UserChange {
    UserChange { active: Some(active), ..UserChange::default() }
}

on_all! {
    async fn each_change_has_a_version_of_its_own_and_a_name_one_owner(db: TestDatabase) {
        let (one, two) = two(&db).await;
        let actor = actor();
        let mut expected = version(&db.store).await;
        for round in 0..20 {
            let (same, left, right) = (format!("same-{round}"), format!("l-{round}"), format!("r-{round}"));
            let (a, b) = tokio::join!(one.create_user(&actor, new(&same)), two.create_user(&actor, new(&same)));
            let refused = a.err().or(b.err()).expect("one of them has the name");
            assert!(matches!(refused, Error::Conflict(_)), "{refused}");
            let (a, b) = tokio::join!(one.create_user(&actor, new(&left)), two.create_user(&actor, new(&right)));
            a.and(b).expect("both");
            expected += 3;
            assert_eq!(version(&db.store).await, expected);
        }
    }

    async fn what_one_has_changed_holds_at_the_other_once_it_has_looked(db: TestDatabase) {
        let (one, two) = two(&db).await;
        let actor = actor();
        let mut watched = two.versions();
        watched.mark_unchanged();
        assert_eq!(two.reload().await.expect("read"), version(&db.store).await);
        assert!(!watched.has_changed().expect("open"), "nothing is new");
        one.create_user(&actor, new("alice")).await.expect("new");
        let key = one.create_key(&actor, "alice", NewKey::default()).await.expect("new").text;
        let now = SystemClock.now();
        assert!(two.authenticate(&key, now).is_err(), "not yet");
        assert_eq!(two.reload().await.expect("read"), version(&db.store).await);
        assert_eq!(&*two.authenticate(&key, now).expect("known").user, "alice");
        assert_eq!(*watched.borrow_and_update(), version(&db.store).await);
    }

    /// The version after it is above both, so nobody would look for the other's any more.
    async fn a_change_that_follows_anothers_brings_that_with_it(db: TestDatabase) {
        let (one, two) = two(&db).await;
        let actor = actor();
        let key = one.create_key(&actor, "admin", NewKey::default()).await.expect("new").text;
        two.create_user(&actor, new("bob")).await.expect("new");
        two.reload().await.expect("read");
        assert_eq!(&*two.authenticate(&key, SystemClock.now()).expect("known").user, "admin");
        assert_eq!(two.counts(), (2, 0, 1));
    }

    async fn changes_to_one_user_that_meet_are_both_kept(db: TestDatabase) {
        let (one, two) = two(&db).await;
        let actor = actor();
        one.create_user(&actor, new("alice")).await.expect("new");
        let group = NewGroup { name: "devs".to_owned(), ..NewGroup::default() };
        let devs = two.create_group(&actor, group).await.expect("new");
        for round in 1..=20_u32 {
            let limits = LimitsChange { rpm: Some(Some(round)), ..LimitsChange::default() };
            let limits = UserChange { limits, ..UserChange::default() };
            let joins = (round % 2 == 0).then(|| "devs".to_owned());
            let joins = UserChange { group: Some(joins), ..UserChange::default() };
            let (a, b) =
                tokio::join!(one.change_user(&actor, "alice", limits), two.change_user(&actor, "alice", joins));
            a.and(b).expect("both");
            let alice = user(&db.store, "alice").await;
            assert_eq!(alice.limits.rpm, Some(round));
            assert_eq!(alice.group_id, (round % 2 == 0).then_some(devs.id));
        }
    }

    async fn two_that_take_an_admin_away_at_once_leave_one(db: TestDatabase) {
        let (one, two) = two(&db).await;
        let actor = actor();
        let other = NewUser { role: Role::Admin, ..new("other") };
        one.create_user(&actor, other).await.expect("new");
        let two_of_them = open(&db.second_store().await, "sp-9").await;
        for round in 0..20 {
            let demoted = UserChange { role: Some(Role::User), ..UserChange::default() };
            let (a, b) = tokio::join!(
                one.change_user(&actor, "admin", demoted),
                two_of_them.change_user(&actor, "other", turned(false)),
            );
            assert!(a.is_ok() != b.is_ok(), "round {round}: {:?} and {:?}", a.err(), b.err());
            let active = UserRepo::on(&db.store).count_active_admins().await.expect("counted");
            assert_eq!(active, 1);
            let again = UserChange { role: Some(Role::Admin), active: Some(true), ..UserChange::default() };
            two.change_user(&actor, "admin", again.clone()).await.expect("back");
            two.change_user(&actor, "other", again).await.expect("back");
        }
    }

    async fn a_refresh_token_that_two_exchange_at_once_is_good_for_one(db: TestDatabase) {
        let (one, two) = two(&db).await;
        for _ in 0..5 {
            let session = one.login("admin", PASSWORD.to_owned(), HERE).await.expect("logged in");
            let token = session.refresh_token;
            let (a, b) = tokio::join!(one.refresh(&token), two.refresh(&token));
            let won = match (a, b) {
                (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => {
                    assert!(matches!(lost, Error::WrongRefreshToken), "{lost}");
                    won
                }
                both => panic!("{both:?}"),
            };
            let replayed = two.refresh(&won.refresh_token).await;
            assert!(matches!(replayed, Err(Error::WrongRefreshToken)), "its session is over: {replayed:?}");
        }
    }

    async fn no_session_outlives_what_ends_it_at_the_other(db: TestDatabase) {
        let (one, two) = two(&db).await;
        let actor = actor();
        let alice = NewUser { password: Some(PASSWORD.to_owned()), ..new("alice") };
        one.create_user(&actor, alice).await.expect("new");
        for round in 0..6 {
            let session = two.login("alice", PASSWORD.to_owned(), HERE).await.expect("logged in");
            let token = session.refresh_token;
            let (ended, refreshed) = if round % 2 == 0 {
                let (ended, refreshed) = tokio::join!(
                    one.change_user(&actor, "alice", turned(false)),
                    two.refresh(&token)
                );
                (ended.map(drop), refreshed)
            } else {
                let (ended, refreshed) = tokio::join!(one.logout(&token), two.refresh(&token));
                (ended.map(drop), refreshed)
            };
            ended.expect("ended");
            one.change_user(&actor, "alice", turned(true)).await.expect("enabled again");
            let left = refreshed.map_or(token, |session| session.refresh_token);
            let dead = one.refresh(&left).await;
            assert!(matches!(dead, Err(Error::WrongRefreshToken)), "round {round}: {dead:?}");
        }
        let (ended, session) = tokio::join!(
            one.change_user(&actor, "alice", turned(false)),
            two.login("alice", PASSWORD.to_owned(), HERE)
        );
        ended.expect("ended");
        one.change_user(&actor, "alice", turned(true)).await.expect("enabled again");
        match session {
            Ok(session) => assert!(one.refresh(&session.refresh_token).await.is_err(), "it was ended"),
            Err(refused) => assert!(matches!(refused, Error::Disabled(_)), "{refused}"),
        }
    }

    async fn the_later_use_of_a_key_is_kept_whoever_tells_of_it_first(db: TestDatabase) {
        let (one, _) = two(&db).await;
        let actor = actor();
        let created = |name: &str| one.create_key(&actor, "admin", NewKey { name: name.to_owned(), ..NewKey::default() });
        let (a, b) = (created("a").await.expect("new").key.id, created("b").await.expect("new").key.id);
        let (early, late) = (at("2026-11-22T10:00:00Z"), at("2026-11-22T10:05:00Z"));
        let keys = ApiKeyRepo::on(&db.store);
        for uses in [[(a, late), (b, early)], [(b, late), (a, early)]] {
            keys.set_last_used(&uses).await.expect("noted");
        }
        let used = async |id: KeyId| keys.get_by_id(id).await.expect("read").expect("there").last_used_at;
        assert_eq!((used(a).await, used(b).await), (Some(late), Some(late)));
    }

    async fn a_state_that_was_made_of_an_earlier_one_is_not_put_in_the_place_of_a_later_one(db: TestDatabase) {
        let (one, _) = two(&db).await;
        let mut state = db.store.accounts_state().await.expect("read");
        let read_at = state.version;
        one.create_user(&actor(), new("alice")).await.expect("new");
        state.version += 5;
        let refused = db.store.replace_accounts_at(read_at, &state, &[]).await.expect_err("it has changed");
        assert!(refused.is_temporary(), "{refused}");
        assert_eq!(user(&db.store, "alice").await.name, "alice");
        assert_eq!(version(&db.store).await, read_at + 1);
        db.store.replace_accounts_at(read_at + 1, &state, &[]).await.expect("as it was read");
        assert_eq!(version(&db.store).await, read_at + 5);
    }
}

/// Holds a row of PostgreSQL, so that whoever comes to it stops there.
struct Barrier {
    database: DatabaseConnection,
    held: DatabaseTransaction,
}

impl Barrier {
    async fn before(db: &TestDatabase, rows: &str) -> Self {
        let database = sea_orm::Database::connect(db.url()).await.expect("a connection");
        let held = database.begin().await.expect("a transaction");
        held.execute_unprepared(&format!("SELECT 1 FROM {rows} FOR UPDATE")).await.expect("locked");
        Self { database, held }
    }

    /// Returns when so many stand still, before this row or behind each other.
    async fn until_there_are(&self, many: i64) {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        until("they stand before the row", async || {
            let asked = Statement::from_string(DbBackend::Postgres, sql);
            let row = self.database.query_one_raw(asked).await.expect("read").expect("a row");
            (row.try_get_by_index::<i64>(0).expect("a number") == many).then_some(())
        })
        .await;
    }

    async fn open(self) {
        self.held.commit().await.expect("released");
    }
}

/// Whatever the order of their statements is: the end waits until the other is done, and ends what came of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_renewed_while_it_is_ended_is_over() {
    let Some(db) = TestDatabase::postgres().await else { return };
    let (one, two) = two(&db).await;
    let token = two.login("admin", PASSWORD.to_owned(), HERE).await.expect("logged in").refresh_token;
    let barrier = Barrier::before(&db, "refresh_tokens").await;
    let renewing = tokio::spawn({
        let (two, token) = (two.clone(), token.clone());
        async move { two.refresh(&token).await }
    });
    barrier.until_there_are(1).await;
    let ending = tokio::spawn({
        let one = one.clone();
        async move { one.logout(&token).await }
    });
    barrier.until_there_are(2).await;
    barrier.open().await;
    let renewed = renewing.await.expect("no panic").expect("it came first");
    ending.await.expect("no panic").expect("ended");
    let dead = one.refresh(&renewed.refresh_token).await;
    assert!(matches!(dead, Err(Error::WrongRefreshToken)), "{dead:?}");
    two.reload().await.expect("read");
    for accounts in [&one, &two] {
        assert!(accounts.authenticate(&renewed.access_token, SystemClock.now()).is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_begins_while_its_user_is_disabled_is_over() {
    let Some(db) = TestDatabase::postgres().await else { return };
    let (one, two) = two(&db).await;
    let actor = actor();
    let alice = NewUser { password: Some(PASSWORD.to_owned()), ..new("alice") };
    one.create_user(&actor, alice).await.expect("new");
    let barrier = Barrier::before(&db, "users WHERE name = 'alice'").await;
    let beginning = tokio::spawn({
        let two = two.clone();
        async move { two.login("alice", PASSWORD.to_owned(), HERE).await }
    });
    barrier.until_there_are(1).await;
    let ending = tokio::spawn({
        let one = one.clone();
        async move { one.change_user(&Actor::system(), "alice", turned(false)).await }
    });
    barrier.until_there_are(2).await;
    barrier.open().await;
    let begun = beginning.await.expect("no panic").expect("it came first");
    ending.await.expect("no panic").expect("disabled");
    one.change_user(&actor, "alice", turned(true)).await.expect("enabled again");
    let dead = one.refresh(&begun.refresh_token).await;
    assert!(matches!(dead, Err(Error::WrongRefreshToken)), "{dead:?}");
    two.reload().await.expect("read");
    for accounts in [&one, &two] {
        assert!(accounts.authenticate(&begun.access_token, SystemClock.now()).is_err());
    }
}
