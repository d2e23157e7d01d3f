//! What one more user costs: authentication and changes at 1,000, 10,000 and 100,000 users, each with a key of their
//! own and in a group of ten.
//!
//! `cargo bench --bench accounts` prints each figure at the three sizes, with the growth from the smallest to the
//! largest, and writes `target/bench-accounts.json`. What lies on the way of a request must not grow; caches that no
//! longer hold everything make up for what does.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark prints figures for people, and fails by panicking"
)]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use sproxy::accounts::{Accounts, Actor, LimitsChange, LoginThrottleRules, Settings, UserChange};
use sproxy::crypto::api_key;
use sproxy::domain::clock::{Clock as _, SystemClock, Timestamp};
use sproxy::domain::group::{Group, Limits};
use sproxy::domain::ids::{GroupId, KeyId, UserId};
use sproxy::domain::user::{ApiKey, Role, User};
use sproxy::store::{AccountsChange, AccountsState, Location, Store, Synchronous};
use tempfile::TempDir;

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const GROUP_SIZE: usize = 10;
/// Measured operations: those that take under a microsecond, those that take a transaction, those that read it all.
const MANY: usize = 1_000_000;
const SOME: usize = 300;
const FEW: usize = 5;

const FIGURES: [&str; 6] = [
    "authenticate by API key",
    "change a limit, until it holds",
    "follower: adopt a step",
    "follower: adopt the whole",
    "read the whole from the database",
    "start: open accounts",
];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let columns = SIZES.map(|size| runtime.block_on(measure(size)));
    println!("{:34} {:>12} {:>12} {:>12} {:>9}", "µs", SIZES[0], SIZES[1], SIZES[2], "growth");
    let rows = FIGURES.iter().enumerate().map(|(at, name)| {
        let [small, middle, large] = columns.map(|column| column[at].as_secs_f64() * 1e6);
        let growth = large / small;
        println!("{name:34} {small:>12.2} {middle:>12.2} {large:>12.2} {growth:>8.1}x");
        json!({"name": name, "users": SIZES, "us": [small, middle, large], "growth": growth})
    });
    let written = serde_json::to_string_pretty(&rows.collect::<Vec<_>>()).expect("JSON");
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench-accounts.json"), written)
        .expect("written");
}

/// The figures at one size, in the order of [`FIGURES`].
async fn measure(size: usize) -> [Duration; FIGURES.len()] {
    let (state, keys) = company(size);
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(&location(&dir)).await.expect("opened");
    store.replace_accounts(&state, &[]).await.expect("written");
    let opened = Instant::now();
    let accounts = Accounts::open(store.clone(), settings(), Arc::new(SystemClock)).await.expect("opened");
    let opened = opened.elapsed();

    let authenticated = authenticate(&accounts, &keys);
    let changed = change_limits(&accounts, &state.users, &keys).await;
    let whole = middle(FEW, async |_| {
        black_box(store.accounts_state().await.expect("read"));
    })
    .await;
    let step = middle(SOME, async |at| {
        let users = vec![state.users[scattered(at, size)].clone()];
        accounts.adopt_step(&AccountsChange { version: 1, users, ..AccountsChange::default() });
    })
    .await;
    let adopted = middle(FEW, async |_| accounts.adopt(&state)).await;
    store.close().await;
    [authenticated, changed, step, adopted, whole, opened]
}

fn authenticate(accounts: &Accounts, keys: &[String]) -> Duration {
    let now = SystemClock.now();
    let start = Instant::now();
    for at in 0..MANY {
        black_box(accounts.authenticate(&keys[scattered(at, keys.len())], now).expect("known"));
    }
    start.elapsed() / u32::try_from(MANY).expect("fits")
}

/// From an admin's change to the first request that it holds for.
async fn change_limits(accounts: &Accounts, users: &[User], keys: &[String]) -> Duration {
    middle(SOME, async |at| {
        let who = scattered(at, users.len());
        let rpm = Some(Some(u32::try_from(at).expect("fits")));
        let change =
            UserChange { limits: LimitsChange { rpm, ..LimitsChange::default() }, ..UserChange::default() };
        accounts.change_user(&Actor::system(), &users[who].name, change).await.expect("changed");
        let principal = accounts.authenticate(&keys[who], SystemClock.now()).expect("known");
        assert_eq!(principal.allowance.limits().rpm, rpm.flatten());
    })
    .await
}

/// The middle of `times` runs.
async fn middle(times: usize, run: impl AsyncFn(usize)) -> Duration {
    let mut runs = Vec::with_capacity(times);
    for at in 0..times {
        let start = Instant::now();
        run(at).await;
        runs.push(start.elapsed());
    }
    runs.sort();
    runs[runs.len() / 2]
}

/// One place after another, far from each other.
fn scattered(at: usize, size: usize) -> usize {
    at.wrapping_mul(7_919) % size
}

fn company(size: usize) -> (AccountsState, Vec<String>) {
    let now = SystemClock.now();
    let group = |number: usize| Group {
        id: GroupId::new(),
        name: format!("group-{number}"),
        limits: Limits { rpm: Some(1_000_000), ..Limits::default() },
        created_at: now,
        updated_at: now,
    };
    let groups: Vec<_> = (0..size.div_ceil(GROUP_SIZE)).map(group).collect();
    let users: Vec<_> = (0..size).map(|number| user(number, groups[number / GROUP_SIZE].id, now)).collect();
    let (keys, texts) = users.iter().map(|user| key_of(user, now)).unzip();
    (AccountsState { version: 1, users, groups, keys, ..AccountsState::default() }, texts)
}

fn user(number: usize, group: GroupId, now: Timestamp) -> User {
    User {
        id: UserId::new(),
        name: format!("user-{number}"),
        group_id: Some(group),
        role: Role::User,
        manages: BTreeSet::new(),
        active: true,
        password_hash: None,
        limits: Limits { daily_tokens: Some(1_000_000), ..Limits::default() },
        tokens_valid_from: Timestamp::default(),
        created_at: now,
        updated_at: now,
        last_login_at: None,
        identity: None,
        external_id: None,
    }
}

fn key_of(user: &User, now: Timestamp) -> (ApiKey, String) {
    let new = api_key::generate().expect("randomness");
    let key = ApiKey {
        id: KeyId::new(),
        user_id: user.id,
        name: "laptop".to_owned(),
        prefix: new.prefix.clone(),
        digest: new.digest,
        created_at: now,
        last_used_at: None,
        expires_at: None,
    };
    (key, new.text)
}

fn location(dir: &TempDir) -> Location {
    Location::Sqlite { path: dir.path().join("bench.db"), synchronous: Synchronous::Normal }
}

fn settings() -> Settings {
    Settings {
        access_token_ttl: Duration::from_hours(1),
        refresh_token_ttl: Duration::from_hours(24),
        login_threads: 1,
        login_queue: 1,
        after_hashing: || (),
        login_throttle: LoginThrottleRules::default(),
        key_announcement: Duration::ZERO,
        is_leader: true,
    }
}
