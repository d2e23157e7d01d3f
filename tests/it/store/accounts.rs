//! Users, groups, keys, refresh tokens, audit and what a node remembers, on both databases.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use sproxy::domain::clock::Timestamp;
use sproxy::domain::group::{Group, Limits};
use sproxy::domain::ids::{Jti, KeyId, UserId};
use sproxy::domain::summary::StatsBy;
use sproxy::domain::user::{ApiKey, Role, User};
use sproxy::store::{
    AccountsChange, AccountsState, ApiKeyRepo, AuditEntry, AuditFilter, AuditRepo, Error, GroupRepo, MetaKey,
    MetaRepo, RefreshToken, RefreshTokenRepo, Store, UsageRepo, UserFilter, UserRepo,
};
use uuid::Uuid;

use crate::harness::databases::{TestDatabase, on_both};
use crate::harness::records::{at, group, record, user};

fn alice() -> User {
    named_user(1, "alice")
}

pub(super) fn named_user(number: u128, name: &str) -> User {
    User {
        id: user(number),
        name: name.to_owned(),
        group_id: None,
        role: Role::User,
        manages: BTreeSet::new(),
        active: true,
        password_hash: Some("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA".to_owned()),
        limits: Limits {
            daily_tokens: Some(0),
            models: Some(vec!["claude-*".to_owned()]),
            ..Limits::default()
        },
        tokens_valid_from: at("2026-11-01"),
        created_at: at("2026-11-02"),
        updated_at: at("2026-11-03"),
        last_login_at: None,
        identity: None,
        external_id: None,
    }
}

pub(super) fn named_group(number: u128, name: &str) -> Group {
    Group {
        id: group(number),
        name: name.to_owned(),
        limits: Limits { rpm: Some(60), monthly_nanousd: Some(i64::MAX), ..Limits::default() },
        created_at: at("2026-11-02"),
        updated_at: at("2026-11-03"),
    }
}

fn key_of(owner: UserId, seed: u8) -> ApiKey {
    ApiKey {
        id: KeyId(Uuid::from_u128(u128::from(seed))),
        user_id: owner,
        name: format!("laptop {seed}"),
        prefix: format!("sk-sp-{seed:02}"),
        digest: [seed; 32],
        created_at: at("2026-11-02").plus(Duration::from_secs(seed.into())),
        last_used_at: None,
        expires_at: Some(at("2027-11-02")),
    }
}

/// Adds a user in a transaction of its own; returns the state version after it.
async fn add(store: &Store, user: &User) -> u64 {
    let tx = store.begin().await.expect("a transaction");
    UserRepo::on(&tx).create(user).await.expect("created");
    tx.commit().await.expect("committed")
}

on_both! {
    async fn a_user_comes_back_by_id_and_by_name(db: TestDatabase) {
        let users = UserRepo::on(&db.store);
        add(&db.store, &alice()).await;
        assert_eq!(users.get_by_id(user(1)).await.expect("read"), Some(alice()));
        assert_eq!(users.get_by_name("alice").await.expect("read"), Some(alice()));
        assert_eq!(users.get_by_name("Alice").await.expect("read"), None, "names are exact");
        assert_eq!(users.get_by_id(user(2)).await.expect("read"), None);
    }

    async fn every_role_comes_back_with_the_groups_that_it_manages(db: TestDatabase) {
        let manager = User { role: Role::Manager, manages: [group(1), group(2)].into(), ..alice() };
        let auditor = User { role: Role::Auditor, ..named_user(2, "bob") };
        let tx = db.store.begin().await.expect("a transaction");
        for (number, name) in [(1, "devs"), (2, "ops")] {
            GroupRepo::on(&tx).create(&named_group(number, name)).await.expect("created");
        }
        UserRepo::on(&tx).create(&manager).await.expect("created");
        UserRepo::on(&tx).create(&auditor).await.expect("created");
        tx.commit().await.expect("committed");
        let users = UserRepo::on(&db.store);
        assert_eq!(users.all().await.expect("read"), [manager.clone(), auditor]);
        assert_eq!(users.list_by_managed(group(2)).await.expect("read"), std::slice::from_ref(&manager));

        let tx = db.store.begin().await.expect("a transaction");
        assert!(GroupRepo::on(&tx).delete(group(2), false).await.expect("removed"));
        tx.commit().await.expect("committed");
        let left = User { manages: [group(1)].into(), ..manager.clone() };
        assert_eq!(users.get_by_id(user(1)).await.expect("read"), Some(left.clone()));

        // As a follower takes it over: whole, and step by step.
        let state = |version, users: Vec<User>, groups| AccountsState { version, users, groups, ..AccountsState::default() };
        let whole = state(7, vec![manager.clone()], vec![named_group(1, "devs"), named_group(2, "ops")]);
        db.store.replace_accounts(&whole, &[]).await.expect("replaced");
        assert_eq!(users.all().await.expect("read"), std::slice::from_ref(&manager));
        let step = AccountsChange { version: 8, users: vec![left.clone()], removed_groups: vec![group(2)], ..AccountsChange::default() };
        db.store.change_accounts(&step, &[]).await.expect("changed");
        assert_eq!(users.all().await.expect("read"), [left]);
        let demoted = state(9, vec![alice()], vec![named_group(1, "devs")]);
        db.store.replace_accounts(&demoted, &[]).await.expect("replaced");
        assert_eq!(users.all().await.expect("read"), [alice()]);
        assert_eq!(users.list_by_managed(group(1)).await.expect("read"), []);
    }

    async fn two_users_of_one_name_are_a_conflict_that_names_it(db: TestDatabase) {
        add(&db.store, &alice()).await;
        let tx = db.store.begin().await.expect("a transaction");
        let error = UserRepo::on(&tx).create(&named_user(2, "alice")).await.expect_err("taken");
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
        assert_eq!(error.to_string(), "a user named alice exists already");
        tx.rollback().await.expect("rolled back");
        let tx = db.store.begin().await.expect("a transaction");
        UserRepo::on(&tx).create(&named_user(2, "bob")).await.expect("created");
        let error = UserRepo::on(&tx).update(&named_user(2, "alice")).await.expect_err("taken");
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
    }

    async fn an_update_overwrites_all_but_the_last_login(db: TestDatabase) {
        add(&db.store, &alice()).await;
        let users = UserRepo::on(&db.store);
        users.set_last_login(user(1), at("2026-11-20")).await.expect("noted");
        let tx = db.store.begin().await.expect("a transaction");
        let changed = User {
            name: "alicia".to_owned(),
            role: Role::Admin,
            active: false,
            password_hash: None,
            limits: Limits::default(),
            ..alice()
        };
        assert!(UserRepo::on(&tx).update(&changed).await.expect("updated"));
        assert!(!UserRepo::on(&tx).update(&named_user(9, "nobody")).await.expect("nobody to update"));
        tx.commit().await.expect("committed");
        let expected = User { last_login_at: Some(at("2026-11-20")), ..changed };
        assert_eq!(users.get_by_id(user(1)).await.expect("read"), Some(expected));
    }

    async fn the_state_version_counts_changes_of_accounts_and_nothing_else(db: TestDatabase) {
        assert_eq!(MetaRepo::on(&db.store).state_version().await.expect("a version"), 0);
        assert_eq!(add(&db.store, &alice()).await, 1);
        assert_eq!(add(&db.store, &named_user(2, "bob")).await, 2);
        let tx = db.store.begin().await.expect("a transaction");
        AuditRepo::on(&tx).append(&entry(1)).await.expect("appended");
        assert_eq!(tx.commit().await.expect("committed"), 2);
        UserRepo::on(&db.store).set_last_login(user(1), at("2026-11-20")).await.expect("noted");
        let tx = db.store.begin().await.expect("a transaction");
        GroupRepo::on(&tx).create(&named_group(1, "research")).await.expect("created");
        tx.rollback().await.expect("rolled back");
        assert_eq!(MetaRepo::on(&db.store).state_version().await.expect("a version"), 2);
    }

    async fn numbers_of_nodes_go_up_whoever_asks_and_are_above_what_they_have_to_be(db: TestDatabase) {
        let next = async |above| MetaRepo::on(&db.store).next_node_number(above).await.expect("a number");
        assert_eq!(next(1).await, 2);
        assert_eq!(next(1).await, 3);
        assert_eq!(next(3).await, 4);
        assert_eq!(next(9).await, 10, "a peer of that name is known");
        assert_eq!(next(1).await, 11);
        let many = futures_util::future::join_all((0..20).map(|_| next(1))).await;
        let many: std::collections::BTreeSet<u64> = many.into_iter().collect();
        assert_eq!(many, (12..32).collect(), "no two of the same");
    }

    async fn a_transaction_that_is_dropped_changes_nothing(db: TestDatabase) {
        {
            let tx = db.store.begin().await.expect("a transaction");
            UserRepo::on(&tx).create(&alice()).await.expect("created");
            AuditRepo::on(&tx).append(&entry(1)).await.expect("appended");
            assert!(UserRepo::on(&tx).get_by_id(user(1)).await.expect("read").is_some(), "it sees its own changes");
        }
        assert_eq!(UserRepo::on(&db.store).count().await.expect("a count"), 0);
        assert!(AuditRepo::on(&db.store).page(&AuditFilter::default(), 10, None).await.expect("a page").items.is_empty());
        add(&db.store, &alice()).await;
    }

    async fn a_removed_user_takes_keys_and_logins_along_and_leaves_the_usage(db: TestDatabase) {
        add(&db.store, &alice()).await;
        let tx = db.store.begin().await.expect("a transaction");
        ApiKeyRepo::on(&tx).create(&key_of(user(1), 1)).await.expect("created");
        RefreshTokenRepo::on(&tx).create(&token(1)).await.expect("created");
        tx.commit().await.expect("committed");
        let usage = UsageRepo::on(&db.store);
        usage.insert_batch(&[record(at("2026-11-22T10:00:00Z"))], true).await.expect("inserted");
        let tx = db.store.begin().await.expect("a transaction");
        assert!(UserRepo::on(&tx).delete(user(1)).await.expect("removed"));
        assert!(!UserRepo::on(&tx).delete(user(1)).await.expect("nobody left"));
        tx.commit().await.expect("committed");
        assert!(ApiKeyRepo::on(&db.store).all().await.expect("keys").is_empty());
        assert_eq!(RefreshTokenRepo::on(&db.store).get_by_jti(token(1).jti).await.expect("read"), None);
        let stats = usage.user_stats(at("2026-11-22"), at("2026-11-23"), 10).await.expect("statistics");
        assert_eq!(&*stats[0].name, "alice", "the name they had");
    }

    async fn statistics_show_the_names_that_users_and_groups_have_now(db: TestDatabase) {
        let tx = db.store.begin().await.expect("a transaction");
        GroupRepo::on(&tx).create(&named_group(1, "science")).await.expect("created");
        UserRepo::on(&tx).create(&named_user(1, "alicia")).await.expect("created");
        tx.commit().await.expect("committed");
        let mut used = record(at("2026-11-22T10:30:00Z"));
        used.group_id = Some(group(1));
        used.group = Some("research".into());
        let usage = UsageRepo::on(&db.store);
        usage.insert_batch(&[used], true).await.expect("inserted");
        for (by, name) in [(StatsBy::User, "alicia"), (StatsBy::Group, "science")] {
            for to in ["2026-11-22T11:00:00Z", "2026-11-22T10:59:00Z"] {
                let rows = usage.stats_by(by, at("2026-11-22"), at(to), 10).await.expect("statistics");
                assert_eq!(&*rows[0].name, name);
            }
        }
    }

    async fn a_group_with_members_is_removed_only_if_they_may_leave_it(db: TestDatabase) {
        let tx = db.store.begin().await.expect("a transaction");
        GroupRepo::on(&tx).create(&named_group(1, "research")).await.expect("created");
        UserRepo::on(&tx).create(&User { group_id: Some(group(1)), ..alice() }).await.expect("created");
        assert_eq!(GroupRepo::on(&tx).get_by_name("research").await.expect("read"), Some(named_group(1, "research")));
        let error = GroupRepo::on(&tx).delete(group(1), false).await.expect_err("has members");
        assert_eq!(error.to_string(), "the group has 1 member(s)");
        assert_eq!(UserRepo::on(&tx).list_by_group(group(1)).await.expect("members").len(), 1);
        assert!(GroupRepo::on(&tx).delete(group(1), true).await.expect("removed"));
        assert!(!GroupRepo::on(&tx).delete(group(1), true).await.expect("gone"));
        tx.commit().await.expect("committed");
        assert_eq!(UserRepo::on(&db.store).get_by_id(user(1)).await.expect("read"), Some(alice()));
    }

    async fn users_are_listed_in_pages_newest_first(db: TestDatabase) {
        let tx = db.store.begin().await.expect("a transaction");
        for number in 0..25_u128 {
            let created_at = at("2026-11-02").plus(Duration::from_secs(u64::try_from(number / 4).expect("small")));
            let user = User { created_at, active: number % 5 > 0, ..named_user(number, &format!("u{number}")) };
            UserRepo::on(&tx).create(&user).await.expect("created");
        }
        tx.commit().await.expect("committed");
        let users = UserRepo::on(&db.store);
        let filter = UserFilter { active: Some(true), ..UserFilter::default() };
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = users.list(&filter, 6, cursor).await.expect("a page");
            seen.extend(page.items.iter().map(|user| (user.created_at, user.id)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 20);
        assert!(seen.windows(2).all(|pair| pair[0] > pair[1]));
    }

    async fn keys_are_kept_by_digest_and_go_when_revoked(db: TestDatabase) {
        add(&db.store, &alice()).await;
        let keys = ApiKeyRepo::on(&db.store);
        let tx = db.store.begin().await.expect("a transaction");
        for seed in [1, 2, 3] {
            ApiKeyRepo::on(&tx).create(&key_of(user(1), seed)).await.expect("created");
        }
        tx.commit().await.expect("committed");
        assert_eq!(keys.get_by_id(key_of(user(1), 2).id).await.expect("read"), Some(key_of(user(1), 2)));
        let newest_first = [3, 2, 1].map(|seed| key_of(user(1), seed));
        assert_eq!(keys.list_by_user(user(1)).await.expect("a list"), newest_first);
        let used_at = at("2026-11-20");
        keys.set_last_used(&[(newest_first[0].id, used_at), (KeyId::new(), used_at)]).await.expect("noted");
        assert_eq!(keys.all().await.expect("keys")[0].last_used_at, Some(used_at));
        let tx = db.store.begin().await.expect("a transaction");
        let twin = ApiKey { id: KeyId::new(), ..key_of(user(1), 1) };
        assert!(matches!(ApiKeyRepo::on(&tx).create(&twin).await, Err(Error::Conflict(_))));
        tx.rollback().await.expect("rolled back");
        let tx = db.store.begin().await.expect("a transaction");
        assert!(ApiKeyRepo::on(&tx).delete(newest_first[1].id).await.expect("revoked"));
        assert!(!ApiKeyRepo::on(&tx).delete(newest_first[1].id).await.expect("gone"));
        assert_eq!(ApiKeyRepo::on(&tx).delete_all_of(user(1)).await.expect("revoked"), 2);
        assert_eq!(tx.commit().await.expect("committed"), 3);
    }

    async fn a_refresh_token_is_used_once_and_a_replay_ends_its_family(db: TestDatabase) {
        let tokens = RefreshTokenRepo::on(&db.store);
        let now = at("2026-11-20");
        for seed in 1..=3 {
            tokens.create(&token(seed)).await.expect("created");
        }
        assert_eq!(tokens.get_by_jti(token(1).jti).await.expect("read"), Some(token(1)));
        assert!(matches!(tokens.create(&token(1)).await, Err(Error::Conflict(_))));
        let both = tokio::join!(tokens.revoke(token(1).jti, now), tokens.revoke(token(1).jti, now));
        assert_ne!(both.0.expect("revoked"), both.1.expect("revoked"), "one of two wins");
        assert!(!tokens.revoke(Jti::new(), now).await.expect("unknown"));
        let used = tokens.get_by_jti(token(1).jti).await.expect("read").expect("revoked ones stay");
        assert_eq!(used.revoked_at, Some(now));
        assert_eq!(tokens.revoke_family(token(1).family, now).await.expect("revoked"), 2, "what was still good");
        assert_eq!(tokens.revoke_all_for_user(user(1), now).await.expect("revoked"), 0);
        assert_eq!(tokens.delete_expired(token(1).expires_at, 10).await.expect("removed"), 0, "valid until then");
        let later = token(1).expires_at.plus(Duration::from_micros(1));
        assert_eq!(tokens.delete_expired(later, 2).await.expect("removed"), 2, "bounded");
        assert_eq!(tokens.delete_expired(later, 2).await.expect("removed"), 1);
    }

    async fn the_audit_is_read_newest_first_in_pages(db: TestDatabase) {
        let audit = AuditRepo::on(&db.store);
        for number in 0..23 {
            audit.append(&entry(number)).await.expect("appended");
        }
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = audit.page(&AuditFilter::default(), 5, cursor).await.expect("a page");
            seen.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 23);
        assert!(seen.is_sorted_by(|a, b| (a.at, a.id) > (b.at, b.id)));
        assert!(seen.contains(&entry(7)));
    }

    async fn a_ledger_keeps_its_id_and_processes_agree_on_it(db: TestDatabase) {
        let other = db.second_store().await;
        let (first, second) = (MetaRepo::on(&db.store), MetaRepo::on(&other));
        let (one, two) = tokio::join!(first.ledger_id(), second.ledger_id());
        assert_eq!(one.expect("an id"), two.expect("an id"));
        assert_eq!(first.get(MetaKey::NodeId).await.expect("read"), None);
        first.set(MetaKey::NodeId, "sp-2").await.expect("set");
        first.set(MetaKey::NodeId, "sp-3").await.expect("set");
        assert_eq!(second.get(MetaKey::NodeId).await.expect("read").as_deref(), Some("sp-3"));
    }

    async fn replicated_accounts_become_exactly_what_was_sent(db: TestDatabase) {
        let source = TestDatabase::sqlite().await;
        let tx = source.store.begin().await.expect("a transaction");
        GroupRepo::on(&tx).create(&named_group(1, "research")).await.expect("created");
        for number in 0..450 {
            let group_id = (number % 2 == 0).then(|| group(1));
            let user = User { group_id, ..named_user(number, &format!("u{number}")) };
            UserRepo::on(&tx).create(&user).await.expect("created");
        }
        for seed in 1..=5 {
            ApiKeyRepo::on(&tx).create(&key_of(user(seed.into()), seed)).await.expect("created");
        }
        tx.commit().await.expect("committed");
        let sent = source.store.accounts_state().await.expect("a state");
        assert_eq!((sent.version, sent.users.len(), sent.keys.len()), (1, 450, 5));
        add(&db.store, &named_user(7_777, "was here before")).await;
        db.store.replace_accounts(&sent, &[(MetaKey::StateLedgerId, "l".to_owned())]).await.expect("replaced");
        assert_eq!(db.store.accounts_state().await.expect("a state"), sent);

        // names swapped, one gone, one new, a key that moved: the next state differs a little
        let mut next = sent.clone();
        next.version = 40;
        let (first, second) = (next.users[0].name.clone(), next.users[1].name.clone());
        (next.users[0].name, next.users[1].name) = (second, first);
        next.users.remove(17);
        next.users.push(named_user(9_999, "new"));
        next.users.sort_by(|a, b| a.name.cmp(&b.name));
        next.groups.clear();
        next.keys.swap(0, 1);
        let (one, two) = (next.keys[0].digest, next.keys[1].digest);
        (next.keys[0].digest, next.keys[1].digest) = (two, one);
        next.keys.swap(0, 1);
        db.store.replace_accounts(&next, &[]).await.expect("replaced");
        assert_eq!(db.store.accounts_state().await.expect("a state"), next);

        let mut contradiction = next.clone();
        let taken = contradiction.users[4].name.clone();
        contradiction.users[3].name = taken;
        contradiction.version = 41;
        let error = db.store.replace_accounts(&contradiction, &[]).await.expect_err("two of one name");
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
        assert_eq!(db.store.accounts_state().await.expect("a state"), next, "nothing was changed");
        let names: HashSet<_> = next.users.iter().map(|user| &user.name).collect();
        assert_eq!(names.len(), next.users.len());
    }

    async fn what_was_removed_is_remembered_until_there_is_too_much_of_it(db: TestDatabase) {
        let removed = async || db.store.accounts_state().await.expect("a state").removed;
        let tx = db.store.begin().await.expect("a transaction");
        GroupRepo::on(&tx).create(&named_group(1, "research")).await.expect("created");
        for (number, name) in [(2, "alice"), (3, "bob"), (4, "carol")] {
            UserRepo::on(&tx).create(&named_user(number, name)).await.expect("created");
        }
        for (owner, seed) in [(2, 10), (3, 11), (4, 12), (4, 13)] {
            ApiKeyRepo::on(&tx).create(&key_of(user(owner), seed)).await.expect("created");
        }
        tx.commit().await.expect("committed");
        assert_eq!(removed().await, BTreeSet::new());

        let undone = db.store.begin().await.expect("a transaction");
        UserRepo::on(&undone).delete(user(2)).await.expect("deleted");
        undone.rollback().await.expect("rolled back");
        assert_eq!(removed().await, BTreeSet::new(), "it was not removed after all");

        let key_id = |seed| KeyId(Uuid::from_u128(seed));
        let tx = db.store.begin().await.expect("a transaction");
        UserRepo::on(&tx).delete(user(2)).await.expect("deleted");
        tx.commit().await.expect("committed");
        let mut gone = BTreeSet::from([user(2).0, key_id(10).0]);
        assert_eq!(removed().await, gone, "a user goes with the keys");
        let tx = db.store.begin().await.expect("a transaction");
        GroupRepo::on(&tx).delete(group(1), false).await.expect("deleted");
        ApiKeyRepo::on(&tx).delete(key_id(11)).await.expect("deleted");
        ApiKeyRepo::on(&tx).delete_all_of(user(4)).await.expect("deleted");
        ApiKeyRepo::on(&tx).delete(key_id(99)).await.expect("nothing to delete");
        tx.commit().await.expect("committed");
        gone.extend([group(1).0, key_id(11).0, key_id(12).0, key_id(13).0]);
        assert_eq!(removed().await, gone);

        let step = AccountsChange { version: 9, removed_users: vec![user(3), user(50)], ..AccountsChange::default() };
        db.store.change_accounts(&step, &[]).await.expect("changed");
        let last = BTreeSet::from([user(3).0, user(50).0]);
        assert_eq!(removed().await, &gone | &last, "as a leader says");
        assert_eq!(db.store.forget_removed(8, 100).await.expect("nothing to forget"), 0);
        assert_eq!(db.store.forget_removed(2, 4).await.expect("forgotten"), 4);
        assert_eq!(db.store.forget_removed(2, 4).await.expect("forgotten"), 2);
        assert_eq!(removed().await, last, "what was removed last");
        let told = BTreeSet::from([user(3).0, user(60).0]);
        let state = db.store.accounts_state().await.expect("a state");
        db.store.replace_accounts(&AccountsState { removed: told.clone(), ..state }, &[]).await.expect("replaced");
        assert_eq!(removed().await, told);
    }
}

fn token(seed: u8) -> RefreshToken {
    RefreshToken {
        jti: Jti(Uuid::from_u128(seed.into())),
        family: Jti(Uuid::from_u128(1)),
        user_id: user(1),
        digest: [seed; 32],
        created_at: at("2026-11-02"),
        expires_at: at("2026-12-02"),
        revoked_at: None,
        access_until: None,
    }
}

fn entry(number: u64) -> AuditEntry {
    AuditEntry {
        id: Uuid::from_u128(u128::from(number)),
        at: Timestamp::from_micros(1_764_000_000_000_000 + i64::try_from(number / 3).expect("small")),
        actor: "admin".to_owned(),
        action: "user.create".to_owned(),
        subject: format!("user-{number}"),
        detail: "role user".to_owned(),
        credential: number.is_multiple_of(2).then(|| "api_key".to_owned()),
        address: number.is_multiple_of(3).then(|| "192.0.2.7".to_owned()),
    }
}
