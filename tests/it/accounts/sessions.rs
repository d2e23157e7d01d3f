//! A session that ends is over at every node: at other leaders on the same database, and at followers.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sproxy::accounts::{Actor, Error};
use sproxy::crypto::token::new_private_key;
use sproxy::domain::clock::Clock as _;
use sproxy::domain::ids::{Jti, UserId};
use sproxy::store::{EndedSession, EndedSessionRepo, MetaKey, MetaRepo, RefreshTokenRepo, Store, UserRepo};

use super::{Leader, PASSWORD, TTL, pair, two_leaders};
use crate::harness::databases::{TestDatabase, on_both};
use crate::harness::{Node, until};

async fn version(store: &Store) -> u64 {
    MetaRepo::on(store).state_version().await.expect("a version")
}

async fn ended(store: &Store) -> Vec<EndedSession> {
    EndedSessionRepo::on(store).all().await.expect("read")
}

async fn admin(store: &Store) -> UserId {
    UserRepo::on(store).get_by_name("admin").await.expect("read").expect("there").id
}

on_both! {
    async fn a_session_that_ends_at_one_leader_is_over_at_the_other(db: TestDatabase) {
        let (one, two) = two_leaders(&db).await;
        let (session, other) = (one.signs_in().await, one.signs_in().await);
        assert!(two.accepts(&session) && two.accepts(&other));
        let (before, accounts) = (version(&db.store).await, db.store.accounts_state().await.expect("read"));
        one.logout(&session.refresh_token).await.expect("ended").expect("known");
        assert_eq!(version(&db.store).await, before + 1);
        two.reload().await.expect("read");
        assert!(!one.accepts(&session) && !two.accepts(&session));
        assert!(one.accepts(&other) && two.accepts(&other));

        // It costs those who look what is new.
        let news = db.store.sign_in_news(before).await.expect("read").expect("nothing but that");
        assert_eq!((news.version, news.ended_sessions), (before + 1, ended(&db.store).await));
        assert!(news.token_keys.len() == 2 && accounts.token_keys.len() == 2);
        assert_eq!(db.store.sign_in_news(before - 1).await.expect("read").map(|news| news.ended_sessions.len()), Some(1));
        one.revoke_sessions(&Actor::system(), "admin").await.expect("revoked");
        assert_eq!(db.store.sign_in_news(before).await.expect("read"), None, "a user has changed, too");
        assert_eq!(db.store.sign_in_news(before + 9).await.expect("read"), None, "the database fell back");

        // Once more is no news.
        let before = version(&db.store).await;
        one.logout(&session.refresh_token).await.expect("over").expect("known");
        two.refresh(&session.refresh_token).await.expect_err("over");
        assert_eq!(version(&db.store).await, before);

        // Nor is a restart, and what is of no use any more goes.
        let again = two.again(&db.second_store().await, "sp-9").await;
        assert!(!again.accepts(&session));
        one.clock.advance(TTL + Duration::from_mins(59));
        one.maintain().await.expect("done");
        assert_eq!(ended(&db.store).await.len(), 1, "clocks differ");
        one.clock.advance(Duration::from_mins(2));
        one.maintain().await.expect("done");
        assert_eq!(ended(&db.store).await, []);
        assert!(!one.accepts(&session), "it has expired");
        one.logout(&session.refresh_token).await.expect("over").expect("known");
        assert_eq!((ended(&db.store).await.len(), version(&db.store).await), (0, before), "nothing is left to refuse");
    }

    async fn a_refresh_token_that_is_used_twice_ends_its_session_everywhere(db: TestDatabase) {
        let (one, two) = two_leaders(&db).await;
        let first = one.signs_in().await;
        let second = two.refresh(&first.refresh_token).await.expect("renewed");
        assert!([&first, &second].into_iter().all(|session| one.accepts(session) && two.accepts(session)));
        let stolen = one.refresh(&first.refresh_token).await;
        assert!(matches!(stolen, Err(Error::WrongRefreshToken)), "{stolen:?}");
        two.reload().await.expect("read");
        assert!([&first, &second].into_iter().all(|session| !one.accepts(session) && !two.accepts(session)));
    }

    /// Who has lost the answer asks once more, with the key that it has written down before.
    async fn a_refresh_with_a_key_may_be_repeated_until_its_token_is_used(db: TestDatabase) {
        let (one, two) = two_leaders(&db).await;
        let (mine, others) = ("my key of this refresh 0123456789", "a key of somebody else 0123456789");
        let first = one.signs_in().await;
        let lost = one.refresh_idempotently(&first.refresh_token, mine).await.expect("renewed");
        let lost_again = two.refresh_idempotently(&first.refresh_token, mine).await.expect("repeated");
        let second = one.refresh_idempotently(&first.refresh_token, mine).await.expect("and again");
        assert!(lost.refresh_token != second.refresh_token && lost_again.refresh_token != second.refresh_token);
        assert!(one.accepts(&second) && two.accepts(&second));

        // The session goes on from the last answer, and the token that it came for is as spent as any.
        let third = two.refresh_idempotently(&second.refresh_token, "the key of the next one 0123").await;
        let third = third.expect("renewed");
        let late = one.refresh_idempotently(&first.refresh_token, mine).await;
        assert!(matches!(late, Err(Error::WrongRefreshToken)), "{late:?}");
        assert!(one.refresh(&third.refresh_token).await.is_err(), "its session is over");

        // A thief has the token alone: with another key, or with none.
        for key in [Some(others), None] {
            let first = one.signs_in().await;
            let second = one.refresh_idempotently(&first.refresh_token, mine).await.expect("renewed");
            let stolen = match key {
                Some(key) => two.refresh_idempotently(&first.refresh_token, key).await,
                None => two.refresh(&first.refresh_token).await,
            };
            assert!(matches!(stolen, Err(Error::WrongRefreshToken)), "{stolen:?}");
            assert!(one.refresh(&second.refresh_token).await.is_err(), "its session is over");
        }
    }

    /// To the time of its own clock, which is behind, the other's tokens are of later.
    async fn a_leader_whose_clock_is_behind_ends_what_one_has_begun_that_is_ahead(db: TestDatabase) {
        let (one, two) = two_leaders(&db).await;
        two.clock.advance(Duration::from_mins(50));
        let (revoked, ended_there) = (two.signs_in().await, two.signs_in().await);
        one.logout(&ended_there.refresh_token).await.expect("ended").expect("known");
        one.maintain().await.expect("done");
        two.reload().await.expect("read");
        two.clock.advance(Duration::from_secs(3_500));
        two.maintain().await.expect("done");
        assert!(two.accepts(&revoked) && !two.accepts(&ended_there), "to the end of its life");
        one.revoke_sessions(&Actor::system(), "admin").await.expect("revoked");
        two.reload().await.expect("read");
        assert!(!two.accepts(&revoked) && !one.accepts(&revoked));
        let after = one.signs_in().await;
        assert!(one.accepts(&after));
    }

    /// Who signs in and out all day long does not fill the state of all nodes.
    async fn beyond_a_number_of_ended_sessions_a_user_has_none_left(db: TestDatabase) {
        let (one, two) = two_leaders(&db).await;
        let [left, last, next] = [one.signs_in().await, two.signs_in().await, two.signs_in().await];
        let user = admin(&db.store).await;
        let until = one.clock.now().plus(TTL);
        let add = async |many: usize| {
            let tx = db.store.begin().await.expect("a transaction");
            for _ in 0..many {
                let ended = EndedSession { session: Jti::new(), until };
                EndedSessionRepo::on(&tx).add(ended, user).await.expect("added");
            }
            tx.commit().await.expect("committed");
        };
        add(9_999).await;
        two.logout(&last.refresh_token).await.expect("ended").expect("known");
        assert!(one.accepts(&left), "the ten thousandth");
        two.logout(&next.refresh_token).await.expect("ended").expect("known");
        one.reload().await.expect("read");
        for session in [&left, &last, &next] {
            assert!(!one.accepts(session) && !two.accepts(session));
        }
        assert_eq!(ended(&db.store).await, []);
        assert!(one.refresh(&left.refresh_token).await.is_err());
        let after = two.signs_in().await;
        assert!(one.accepts(&after) && two.accepts(&after));
    }

    async fn what_an_older_sproxy_has_ended_stays_so(db: TestDatabase) {
        let one = Leader::start(&db.store, "sp-1").await;
        let (session, other) = (one.signs_in().await, one.signs_in().await);
        // It revoked the refresh token, and remembered the rest in its memory.
        let jti = session.refresh_token.split('-').nth(2).expect("an id").parse().expect("an id");
        assert!(RefreshTokenRepo::on(&db.store).revoke(jti, one.clock.now()).await.expect("revoked"));
        let older = STANDARD.encode(new_private_key().expect("a key"));
        MetaRepo::on(&db.store).set(MetaKey::SigningKey, &older).await.expect("set");
        let again = one.again(&db.store, "sp-1").await;
        assert!(!again.accepts(&session) && again.accepts(&other));
        assert_eq!(ended(&db.store).await.len(), 1, "followers hear of it");
    }
}

async fn sign_in(node: &Node) -> (String, String) {
    let body = json!({ "username": "admin", "password": PASSWORD });
    let answer = node.http.post(node.url("/auth/login")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let session: Value = answer.json().await.unwrap();
    let token = |name: &str| session[name].as_str().unwrap().to_owned();
    (token("access_token"), token("refresh_token"))
}

async fn sign_out(node: &Node, refresh_token: &str) {
    let logout = node.http.post(node.url("/auth/logout")).json(&json!({ "refresh_token": refresh_token }));
    assert_eq!(logout.send().await.unwrap().status(), 204);
}

async fn me(node: &Node, token: &str) -> u16 {
    node.http.get(node.url("/me")).bearer_auth(token).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_logout_at_the_leader_ends_the_access_token_at_a_follower_and_over_its_restarts() {
    let (_mock, mut leader, mut follower) = pair().await;
    let ((ended, refresh_token), (stays, _)) = (sign_in(&leader).await, sign_in(&leader).await);
    let (revoked, replayed) = (sign_in(&leader).await, sign_in(&leader).await);
    for token in [&ended, &stays, &revoked.0, &replayed.0] {
        until("the follower knows the key", async || (me(&follower, token).await == 200).then_some(())).await;
    }
    // The token is good for an hour, and nobody waits for that.
    sign_out(&leader, &refresh_token).await;
    let over = async |follower: &Node, token: &str| {
        until("it is over at the follower", async || (me(follower, token).await == 401).then_some(())).await;
    };
    over(&follower, &ended).await;
    for turn in 0..2 {
        let refresh = leader.http.post(leader.url("/auth/refresh"));
        let refresh = refresh.json(&json!({ "refresh_token": replayed.1 })).send().await.unwrap();
        assert_eq!(refresh.status().as_u16(), if turn == 0 { 200 } else { 401 });
    }
    over(&follower, &replayed.0).await;
    sign_out(&follower, &revoked.1).await;
    over(&follower, &revoked.0).await;
    assert_eq!(me(&leader, &revoked.0).await, 401);
    assert_eq!((me(&leader, &stays).await, me(&follower, &stays).await), (200, 200));

    leader.kill().await;
    follower.kill().await;
    follower.restart().await;
    for token in [&ended, &revoked.0, &replayed.0] {
        assert_eq!(me(&follower, token).await, 401, "it knows by itself");
    }
    assert_eq!(me(&follower, &stays).await, 200);
    leader.restart().await;
    assert_eq!((me(&leader, &ended).await, me(&leader, &stays).await), (401, 200));
}
