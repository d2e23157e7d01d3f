//! Each leader signs with a key of its own, in its data directory; what it has signed is accepted at every node.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use sproxy::accounts::{Accounts, Actor, Error, Session, Settings};
use sproxy::crypto::token::{Claims, Signer, new_private_key};
use sproxy::domain::clock::{Clock as _, ManualClock};
use sproxy::domain::ids::{Jti, NodeId};
use sproxy::domain::peer::Peer;
use sproxy::store::{AuditFilter, AuditRepo, MetaKey, MetaRepo, PeerRepo, Store, UserRepo};

use super::{HERE, Leader, PASSWORD, TTL, pair, settings, two_leaders};
use crate::harness::databases::{TestDatabase, on_both};
use crate::harness::records::{at, node};
use crate::harness::{Node, until};

const SECOND: Duration = Duration::from_secs(1);
/// A second less than the lifetime of access tokens.
const ALMOST_TTL: Duration = Duration::from_secs(3_599);

/// The key that a token names.
fn kid(session: &Session) -> String {
    let header = session.access_token.split('.').next().expect("a header");
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("Base64")).expect("JSON");
    header["kid"].as_str().expect("a key").to_owned()
}

/// What signs in this moment, and what did: the nodes of the keys in force, and those of retired ones.
async fn signing(accounts: &Accounts) -> (Vec<String>, Vec<String>) {
    let keys = accounts.signing_keys().await.expect("listed");
    let (mut in_use, mut retired) = (Vec::new(), Vec::new());
    for key in keys {
        let node = key.node.unwrap_or_default();
        if key.retired_at.is_none() { in_use.push(node) } else { retired.push(node) }
    }
    in_use.sort();
    retired.sort();
    (in_use, retired)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

/// Leaves the database as a leader of an older sproxy had it: its key in `meta`. The answer is a token of that leader.
async fn make_older(store: &Store, clock: &ManualClock) -> Session {
    let private = new_private_key().expect("a key");
    MetaRepo::on(store).set(MetaKey::SigningKey, &STANDARD.encode(&private)).await.expect("set");
    let admin = UserRepo::on(store).get_by_name("admin").await.expect("read").expect("there");
    let now = clock.now();
    let claims = Claims {
        user: admin.id,
        jti: Jti::new(),
        session: Jti::new(),
        issued_at: now,
        expires_at: now.plus(TTL),
    };
    let access_token = Signer::new(&private).expect("a signer").sign(&claims).expect("signed");
    Session { access_token, refresh_token: String::new(), expires_in: TTL }
}

on_both! {
    async fn what_one_leader_has_signed_another_accepts(db: TestDatabase) {
        let (one, two) = two_leaders(&db).await;
        let (at_one, at_two) = (one.signs_in().await, two.signs_in().await);
        assert_ne!(kid(&at_one), kid(&at_two), "each has a key of its own");
        assert!([&at_one, &at_two].into_iter().all(|session| one.accepts(session) && two.accepts(session)));
        let again = two.again(&db.second_store().await, "sp-9").await;
        assert_eq!(kid(&again.signs_in().await), kid(&at_two), "a restart changes nothing");
        assert!(again.accepts(&at_one) && again.accepts(&at_two));
        assert_eq!(signing(&one).await, (names(&["sp-1", "sp-9"]), names(&[])));
    }

    async fn who_is_signed_in_stays_so_when_the_key_moves_out_of_the_database(db: TestDatabase) {
        let before = Leader::start(&db.store, "sp-1").await;
        for interrupted in [false, true] {
            let session = make_older(&db.store, &before.clock).await;
            let older = MetaRepo::on(&db.store).get(MetaKey::SigningKey).await.expect("read").expect("set");
            let directory = Arc::new(tempfile::tempdir().expect("a directory"));
            if interrupted {
                // The process died after it had written the file, and before it committed.
                let first = Leader::start_in(&db.store, "sp-1", Arc::clone(&directory), settings(true)).await;
                first.expect("started");
                MetaRepo::on(&db.store).set(MetaKey::SigningKey, &older).await.expect("set");
            }
            let one = Leader::start_in(&db.store, "sp-1", directory, settings(true)).await.expect("started");
            assert!(one.accepts(&session), "interrupted: {interrupted}");
            assert_eq!(kid(&one.signs_in().await), kid(&session), "it is the key that signs");
            assert_eq!(MetaRepo::on(&db.store).get(MetaKey::SigningKey).await.expect("read"), None);
            // The other leader of that database has a key of its own, and accepts what the first has signed.
            let two = Leader::start(&db.second_store().await, "sp-9").await;
            assert!(two.accepts(&session) && kid(&two.signs_in().await) != kid(&session));
        }
    }

    /// It may have led another database before.
    async fn a_key_in_the_database_is_not_lost_to_a_leader_that_has_one(db: TestDatabase) {
        let one = Leader::start(&db.store, "sp-1").await;
        let session = make_older(&db.store, &one.clock).await;
        let again = one.again(&db.store, "sp-1").await;
        assert!(again.accepts(&session) && kid(&again.signs_in().await) != kid(&session));
        again.maintain().await.expect("done");
        again.clock.advance(ALMOST_TTL);
        assert!(again.accepts(&session), "until it expires");
        assert_eq!(signing(&again).await, (names(&["sp-1"]), names(&[""])), "nobody signs with it");
    }

    async fn a_replaced_key_is_good_for_what_it_has_signed_until_that_expires(db: TestDatabase) {
        let (one, two) = two_leaders(&db).await;
        let before = one.signs_in().await;
        let new = one.rotate_signing_key(&Actor::system(), false).await.expect("replaced");
        assert_eq!((new.node.as_deref(), new.retired_at), (Some("sp-1"), None));
        two.reload().await.expect("read");
        let after = one.signs_in().await;
        assert_eq!(kid(&after), new.id);
        for leader in [&one, &two] {
            assert!(leader.accepts(&before) && leader.accepts(&after));
            leader.clock.advance(ALMOST_TTL);
            leader.maintain().await.expect("done");
            assert!(leader.accepts(&before) && leader.accepts(&after), "to the last second");
        }
        assert_eq!(signing(&one).await, (names(&["sp-1", "sp-9"]), names(&["sp-1"])));
        one.clock.advance(2 * SECOND);
        one.maintain().await.expect("done");
        two.reload().await.expect("read");
        assert_eq!(signing(&one).await, (names(&["sp-1", "sp-9"]), names(&[])));
        assert_eq!((one.public_keys().len(), two.public_keys().len()), (2, 2));
        let again = one.again(&db.store, "sp-1").await;
        assert_eq!(kid(&again.signs_in().await), new.id, "it is in the file");
        assert_eq!(mode(&one.key_file()), 0o600);
        let audit = AuditRepo::on(&db.store).page(&AuditFilter::default(), 10, None).await.expect("listed").items;
        let entry = audit.iter().find(|entry| entry.action == "signing_key.rotate").expect("an entry");
        assert_eq!(entry.subject, "signing key of sp-1");
        assert!(entry.detail.contains(&new.fingerprint) && entry.detail.contains(&kid(&before)), "{}", entry.detail);
    }

    async fn a_key_that_was_stolen_is_good_for_nothing_from_then_on(db: TestDatabase) {
        let (one, two) = two_leaders(&db).await;
        let (at_one, at_two) = (one.signs_in().await, two.signs_in().await);
        one.rotate_signing_key(&Actor::system(), true).await.expect("replaced");
        two.reload().await.expect("read");
        for leader in [&one, &two] {
            assert!(!leader.accepts(&at_one) && leader.accepts(&at_two));
        }
        let renewed = two.refresh(&at_one.refresh_token).await.expect("the session goes on");
        assert!(one.accepts(&renewed));
        assert_eq!(signing(&one).await, (names(&["sp-1", "sp-9"]), names(&[])));
    }

    async fn all_know_a_key_before_it_signs_and_a_process_that_dies_meanwhile_has_its_old_one(db: TestDatabase) {
        let (one, two) = two_leaders(&db).await;
        let slow = Settings { key_announcement: Duration::from_hours(1), ..settings(true) };
        let one = Leader::start_in(&db.store, "sp-1", Arc::clone(&one.directory), slow).await.expect("again");
        let old = kid(&one.signs_in().await);
        let rotating = tokio::spawn({
            let accounts = one.accounts.clone();
            async move { accounts.rotate_signing_key(&Actor::system(), false).await }
        });
        until("the other leader knows the new key", async || {
            two.reload().await.expect("read");
            (two.public_keys().len() == 3).then_some(())
        })
        .await;
        let session = one.signs_in().await;
        assert_eq!(kid(&session), old, "and it does not sign yet");
        // A housekeeping in between takes nothing away.
        one.maintain().await.expect("done");
        assert_eq!(signing(&one).await, (names(&["sp-1", "sp-1", "sp-9"]), names(&[])));
        rotating.abort();
        let again = one.again(&db.store, "sp-1").await;
        assert_eq!(kid(&again.signs_in().await), old);
        assert!(again.accepts(&session));
        assert_eq!(signing(&one).await, (names(&["sp-1", "sp-9"]), names(&["sp-1"])));
    }

    async fn a_node_that_is_gone_for_good_signs_no_more(db: TestDatabase) {
        let (one, two) = two_leaders(&db).await;
        let session = two.signs_in().await;
        one.retire_signing_keys_of(&node("sp-9")).await.expect("retired");
        assert!(one.accepts(&session), "what it has signed is good until it expires");
        assert_eq!(signing(&one).await, (names(&["sp-1"]), names(&["sp-9"])));
        // It lives all the same, and sees that its key is not wanted any more.
        two.maintain().await.expect("done");
        assert_eq!(signing(&one).await, (names(&["sp-1", "sp-9"]), names(&["sp-9"])));
        let after = two.signs_in().await;
        one.reload().await.expect("read");
        assert!(one.accepts(&after) && kid(&after) != kid(&session));
        // Or it comes back later.
        one.retire_signing_keys_of(&node("sp-9")).await.expect("retired");
        let again = two.again(&db.second_store().await, "sp-9").await;
        assert_ne!(kid(&again.signs_in().await), kid(&after));
        // What it leaves behind goes some time after its tokens have expired: clocks differ.
        one.clock.advance(2 * TTL + SECOND);
        one.maintain().await.expect("done");
        assert_eq!(signing(&one).await, (names(&["sp-1", "sp-9"]), names(&[])));
    }

    async fn a_leader_that_is_no_peer_is_gone_for_good_a_day_later(db: TestDatabase) {
        let (one, _two) = two_leaders(&db).await;
        let peer = |name: &str| Peer {
            id: name.parse::<NodeId>().expect("an id"),
            addr: String::new(),
            weight: 1,
            is_active: false,
            draining: false,
            registered_at: at("2026-11-29"),
            last_seen: None,
            unsynced: 0,
            synced_through: None,
            version: String::new(),
            leads_at: None,
            instance_id: None,
        };
        let peers = PeerRepo::on(&db.store);
        peers.upsert(&peer("sp-9")).await.expect("written");
        one.clock.advance(Duration::from_hours(25));
        one.maintain().await.expect("done");
        assert_eq!(signing(&one).await, (names(&["sp-1", "sp-9"]), names(&[])), "it is a peer");
        peers.delete(&node("sp-9")).await.expect("deleted");
        one.maintain().await.expect("done");
        assert_eq!(signing(&one).await, (names(&["sp-1"]), names(&["sp-9"])));
    }

    /// As when a leader takes the state that a follower holds of one that is lost.
    async fn keys_of_a_leader_before_are_good_for_what_it_has_signed_and_then_no_more(db: TestDatabase) {
        let one = Leader::start(&db.store, "sp-1").await;
        let lost = new_private_key().expect("a key");
        let public = Signer::new(&lost).expect("a signer").public();
        let mut state = db.store.accounts_state().await.expect("read");
        state.token_keys = vec![sproxy::store::TokenKey::of_another(public.0)];
        state.version += 1;
        db.store.replace_accounts_at(state.version - 1, &state, &[]).await.expect("adopted");
        one.reload().await.expect("read");
        assert_eq!(one.public_keys().len(), 2, "its own is not lost");
        one.maintain().await.expect("done");
        assert_eq!(signing(&one).await, (names(&["sp-1"]), names(&[""])));
        one.clock.advance(2 * TTL + SECOND);
        one.maintain().await.expect("done");
        assert_eq!(signing(&one).await, (names(&["sp-1"]), names(&[])));
        assert_eq!(one.public_keys().len(), 1);
    }

    async fn a_database_that_has_lost_a_key_gets_it_back(db: TestDatabase) {
        let one = Leader::start(&db.store, "sp-1").await;
        // By a standby that has lagged behind.
        let mut state = db.store.accounts_state().await.expect("read");
        state.token_keys.clear();
        state.version += 1;
        db.store.replace_accounts(&state, &[]).await.expect("replaced");
        one.maintain().await.expect("done");
        assert_eq!(signing(&one).await, (names(&["sp-1"]), names(&[])));
        assert!(one.accepts(&one.signs_in().await));
    }

    async fn of_two_leaders_that_meet_a_fresh_database_one_makes_the_admin(db: TestDatabase) {
        let open = async |store: Store, name: &str| {
            let directory = Arc::new(tempfile::tempdir().expect("a directory"));
            Leader::start_in(&store, name, directory, settings(true)).await.expect("started")
        };
        let one = open(db.store.clone(), "sp-1").await;
        let two = open(db.second_store().await, "sp-9").await;
        let (first, second) = tokio::join!(one.first_start(None), two.first_start(None));
        let shown: Vec<_> = [first, second].map(|made| made.expect("it goes on")).into_iter().flatten().collect();
        let [made] = shown.as_slice() else { panic!("{} passwords were shown", shown.len()) };
        let password = made.generated_password.clone().expect("a password");
        for leader in [&one, &two] {
            leader.reload().await.expect("read");
            let session = leader.login("admin", password.clone(), HERE).await.expect("logged in");
            assert!(one.accepts(&session) && two.accepts(&session));
        }
        assert_eq!(UserRepo::on(&db.store).count().await.expect("counted"), 1);
    }

    async fn keys_that_were_a_list_in_the_database_are_taken_over(db: TestDatabase) {
        let keys: Vec<[u8; 32]> = (1..=3_u8).map(|seed| [seed; 32]).collect();
        let listed: Vec<String> = keys.iter().map(|key| STANDARD.encode(key)).collect();
        db.store.close().await;
        let database = sea_orm::Database::connect(db.url()).await.expect("a connection");
        let back = [
            "DELETE FROM seaql_migrations WHERE version >= 'm20261129_000012'".to_owned(),
            "ALTER TABLE usage_logs DROP COLUMN converted_from".to_owned(),
            "DROP TABLE provisioned_groups".to_owned(),
            "DROP TABLE deprovisioned_users".to_owned(),
            "DROP TABLE provider_sessions".to_owned(),
            "DROP INDEX index_users_external_id".to_owned(),
            "DROP INDEX index_users_identity_issuer_identity_subject".to_owned(),
            "ALTER TABLE users DROP COLUMN identity_issuer".to_owned(),
            "ALTER TABLE users DROP COLUMN identity_subject".to_owned(),
            "ALTER TABLE users DROP COLUMN external_id".to_owned(),
            "DROP INDEX index_usage_logs_errors".to_owned(),
            "DROP TABLE device_logins".to_owned(),
            "DROP TABLE browser_sessions".to_owned(),
            "DROP TABLE group_managers".to_owned(),
            "ALTER TABLE users DROP COLUMN exact_role".to_owned(),
            "ALTER TABLE audit DROP COLUMN credential".to_owned(),
            "ALTER TABLE audit DROP COLUMN address".to_owned(),
            "DROP TABLE alert_outbox".to_owned(),
            "ALTER TABLE usage_batches DROP COLUMN resumes_after".to_owned(),
            "ALTER TABLE usage_batches DROP COLUMN session".to_owned(),
            "DROP TABLE token_keys".to_owned(),
            "DROP TABLE ended_sessions".to_owned(),
            "ALTER TABLE refresh_tokens DROP COLUMN access_until".to_owned(),
            format!("INSERT INTO meta (key, value) VALUES ('token_keys', '{},{}')", listed.join(","), listed[0]),
        ];
        for sql in back {
            sea_orm::ConnectionTrait::execute_unprepared(&database, &sql).await.expect("done");
        }
        database.close().await.expect("closed");
        let store = db.second_store().await;
        let state = store.accounts_state().await.expect("read");
        assert_eq!(state.token_keys.iter().map(|key| key.public).collect::<Vec<_>>(), keys);
        let one = Leader::start(&store, "sp-1").await;
        assert_eq!(one.public_keys().len(), 4);
    }
}

#[tokio::test]
async fn the_key_is_a_file_of_its_owner_alone_that_other_programs_can_read() {
    let db = TestDatabase::sqlite().await;
    let one = Leader::start(&db.store, "sp-1").await;
    let session = one.signs_in().await;
    let file = one.key_file();
    assert_eq!(mode(&file), 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("-----BEGIN PRIVATE KEY-----\n") && text.ends_with("-----END PRIVATE KEY-----\n")
    );
    assert!(!one.directory.path().join("signing.key.new").exists());

    // One that died in the middle left half a file beside it, and an administrator has opened the other to all.
    std::fs::write(one.directory.path().join("signing.key.new"), "-----BEGIN").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let again = one.again(&db.store, "sp-1").await;
    assert_eq!((mode(&file), kid(&again.signs_in().await)), (0o600, kid(&session)));

    for damaged in ["", "not a key", &text[..60], &text.replace("PRIVATE", "PUBLIC")] {
        std::fs::write(&file, damaged).unwrap();
        let directory = Arc::clone(&one.directory);
        let refused = Leader::start_in(&db.store, "sp-1", directory, settings(true)).await;
        let refused = refused.err().expect("no key");
        assert!(matches!(refused, Error::SigningKeyFile(_)), "{refused}");
        assert!(refused.to_string().starts_with(&file.display().to_string()), "{refused}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), damaged, "it is not written over");
    }
    std::fs::remove_file(&file).unwrap();
    let without = one.again(&db.store, "sp-1").await;
    assert!(without.accepts(&session), "who is signed in stays so");
    assert_eq!(signing(&without).await, (names(&["sp-1"]), names(&["sp-1"])));
}

async fn sign_in(node: &Node) -> String {
    let body = json!({ "username": "admin", "password": PASSWORD });
    let answer = node.http.post(node.url("/auth/login")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned()
}

async fn me(node: &Node, token: &str) -> u16 {
    node.http.get(node.url("/me")).bearer_auth(token).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_key_that_is_replaced_under_way_keeps_nobody_out_at_any_node() {
    let (_mock, mut leader, mut follower) = pair().await;
    let keys = async |node: &Node, token: &str| {
        let answer =
            node.http.get(node.url("/admin/v1/signing-keys")).bearer_auth(token).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["items"].as_array().unwrap().clone()
    };
    let before = sign_in(&leader).await;
    until("the follower knows the key", async || (me(&follower, &before).await == 200).then_some(())).await;
    let listed = keys(&follower, &before).await;
    assert_eq!(
        (listed.len(), &listed[0]["node"], &listed[0]["retired_at"]),
        (1, &json!("sp-1"), &Value::Null)
    );

    // Asked of the follower, by somebody who is signed in with the old key.
    let answer = follower.http.post(follower.url("/admin/v1/signing-keys/rotate")).bearer_auth(&before);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let after = sign_in(&leader).await;
    assert_eq!((me(&follower, &after).await, me(&leader, &after).await), (200, 200), "at once");
    assert_eq!((me(&follower, &before).await, me(&leader, &before).await), (200, 200), "still");
    let listed = keys(&leader, &after).await;
    assert_eq!(listed.len(), 2);
    assert!(listed[0]["retired_at"].is_null() && !listed[1]["retired_at"].is_null(), "{listed:?}");

    // The follower knows both after a restart without its leader, and so does the leader.
    leader.kill().await;
    follower.kill().await;
    follower.restart().await;
    assert_eq!((me(&follower, &after).await, me(&follower, &before).await), (200, 200));
    leader.restart().await;
    assert_eq!((me(&leader, &after).await, me(&leader, &before).await), (200, 200));
    assert!(!follower.data_dir().join("signing.key").exists(), "a follower signs nothing");
    assert_eq!(mode(&leader.data_dir().join("signing.key")), 0o600);

    let stolen = leader.call(Method::POST, "/admin/v1/signing-keys/rotate?at_once=true", None).await;
    assert_eq!(stolen.status(), 200);
    assert_eq!((me(&leader, &after).await, me(&leader, &before).await), (401, 401));
    until("the follower refuses them", async || {
        (me(&follower, &after).await == 401 && me(&follower, &before).await == 401).then_some(())
    })
    .await;
}
