//! Where a login's refresh token is: in the keychain of a desktop, and in a file where there is none.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use futures_util::future::join_all;

use super::desktop::{Desktop, Hold};
use super::login::name_of;
use super::node_and_mock;
use super::person::{PASSWORD, Person};
use crate::harness::Node;

/// What every refresh token begins with.
const TOKEN: &str = "sp-rt-";

/// The files below a directory in which there is a refresh token.
fn files_with_a_token(directory: &Path) -> Vec<String> {
    let entries =
        std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut found = Vec::new();
    for path in entries {
        if path.is_dir() {
            found.extend(files_with_a_token(&path));
        } else if String::from_utf8_lossy(&std::fs::read(&path).expect("readable")).contains(TOKEN) {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Somebody whom the node knows, at this desktop.
async fn at(desktop: &Desktop, node: &Node) -> Person {
    let mut alice = Person::known_to(node, "alice").await;
    alice.set("DBUS_SESSION_BUS_ADDRESS", &desktop.address());
    alice
}

async fn token_of_alice(alice: &Person, node: &Node) -> String {
    let token = alice.run(&["token"]).await.done();
    assert_eq!(name_of(node, &token).await.as_deref(), Some("alice"));
    token
}

#[tokio::test]
async fn at_a_desktop_the_refresh_token_is_in_the_keychain_and_in_no_file() {
    let Some(desktop) = Desktop::start().await else { return };
    let (node, _mock) = node_and_mock().await;
    let alice = at(&desktop, &node).await;
    let signed_in = alice.sign_in(&node.url(""), "alice").await;
    assert!(signed_in.err.contains("kept in your keychain"), "{}", signed_in.err);
    signed_in.done();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let secrets = desktop.secrets().await;
        assert!(matches!(&*secrets, [one] if one.starts_with(TOKEN)), "{} secrets", secrets.len());
        assert!(seen.insert(secrets), "it is another one after every use");
        assert_eq!(files_with_a_token(alice.home()), [""; 0]);
        alice.let_token_expire();
        token_of_alice(&alice, &node).await;
    }
    let checked = alice.run(&["doctor"]).await.done();
    assert!(checked.contains("kept in your keychain"), "{checked}");

    // Signing in again replaces it, and somebody else's is nobody else's.
    let mut bob = Person::known_to(&node, "bob").await;
    bob.set("DBUS_SESSION_BUS_ADDRESS", &desktop.address());
    bob.sign_in(&node.url(""), "bob").await.done();
    let before = token_of_alice(&alice, &node).await;
    alice.sign_in(&node.url(""), "alice").await.done();
    assert_eq!(name_of(&node, &before).await, None, "the session before has ended");
    assert_eq!(desktop.secrets().await.len(), 2);
    let token = token_of_alice(&alice, &node).await;
    alice.run(&["logout"]).await.done();
    assert_eq!(name_of(&node, &token).await, None, "the session is over");
    assert_eq!(desktop.secrets().await.len(), 1, "bob's");
    bob.let_token_expire();
    bob.run(&["token"]).await.done();
}

#[tokio::test]
async fn ten_shells_that_refresh_at_once_get_the_same_token_through_the_keychain() {
    let Some(desktop) = Desktop::start().await else { return };
    let (node, _mock) = node_and_mock().await;
    let alice = at(&desktop, &node).await;
    alice.sign_in(&node.url(""), "alice").await.done();
    for _ in 0..3 {
        alice.let_token_expire();
        let ended = join_all((0..10).map(|_| alice.run(&["token"]))).await;
        let tokens: BTreeSet<_> = ended.into_iter().map(super::Ended::done).collect();
        assert_eq!(tokens.len(), 1);
        assert_eq!(desktop.secrets().await.len(), 1);
    }
    token_of_alice(&alice, &node).await;
}

#[tokio::test]
async fn without_a_keychain_the_token_is_in_a_private_file_and_moves_when_there_is_one() {
    let (node, _mock) = node_and_mock().await;
    let mut alice = Person::known_to(&node, "alice").await;
    let refused = alice.run(&["login", "--server", &node.url(""), "--keep-in", "keychain"]).await.refused(1);
    assert!(refused.contains("there is no keychain here") && refused.contains("--keep-in file"), "{refused}");
    let signed_in = alice.sign_in(&node.url(""), "alice").await;
    let file = alice.session_file();
    let said = format!("kept in {}, which only you can read: there is no keychain here", file.display());
    assert!(signed_in.err.contains(&said), "{}", signed_in.err);
    signed_in.done();
    let is_in_the_file = |alice: &Person| {
        assert_eq!(files_with_a_token(alice.home()), [alice.session_file().display().to_string()]);
        assert_eq!(
            std::fs::metadata(alice.session_file()).expect("there").permissions().mode() & 0o777,
            0o600
        );
    };
    is_in_the_file(&alice);
    alice.let_token_expire();
    token_of_alice(&alice, &node).await;
    is_in_the_file(&alice);

    let Some(desktop) = Desktop::start().await else { return };
    alice.set("DBUS_SESSION_BUS_ADDRESS", &desktop.address());
    // As a version wrote it that knew no keychain.
    alice.change_session(|session| {
        session.as_object_mut().expect("an object").retain(|key, _| key != "keep_in");
    });
    alice.let_token_expire();
    token_of_alice(&alice, &node).await;
    assert_eq!((files_with_a_token(alice.home()).len(), desktop.secrets().await.len()), (0, 1));

    // Whoever does not want that says so, by a flag or for good.
    for _ in 0..2 {
        let arguments = ["login", "--user", "alice", "--password-stdin", "--keep-in", "file"];
        alice.run_with_input(&arguments, &format!("{PASSWORD}\n")).await.done();
        is_in_the_file(&alice);
        alice.let_token_expire();
        token_of_alice(&alice, &node).await;
        is_in_the_file(&alice);
        assert_eq!(desktop.secrets().await.len(), 0);
    }
    alice.set("SPROXY_KEEP_IN", "keychain");
    alice.sign_in(&node.url(""), "alice").await.done();
    assert_eq!((files_with_a_token(alice.home()).len(), desktop.secrets().await.len()), (0, 1));
}

#[tokio::test]
async fn a_keychain_that_is_locked_or_has_died_is_named_and_asks_nobody_anything() {
    let Some(mut desktop) = Desktop::start().await else { return };
    let (node, _mock) = node_and_mock().await;
    let alice = at(&desktop, &node).await;
    alice.sign_in(&node.url(""), "alice").await.done();
    for is_dead in [false, true] {
        let token = token_of_alice(&alice, &node).await;
        if is_dead {
            desktop.kill_keyring().await;
        } else {
            desktop.lock().await;
        }
        assert_eq!(alice.run(&["token"]).await.done(), token, "one that lives needs no keychain");
        let checked = alice.run(&["doctor"]).await.done();
        assert!(checked.contains("the keychain is locked"), "{checked}");
        alice.let_token_expire();
        let refused = alice.run(&["token"]).await;
        assert_eq!(refused.out, "");
        let refused = refused.refused(1);
        assert!(refused.contains("the keychain is locked: unlock it"), "{refused}");
        assert!(refused.contains("--keep-in file"), "{refused}");
        desktop.unlock().await;
        token_of_alice(&alice, &node).await;
    }
    // What was said to do helps.
    desktop.lock().await;
    let signed_in = alice.sign_in(&node.url(""), "alice").await;
    assert!(signed_in.err.contains("which only you can read: the keychain is locked"), "{}", signed_in.err);
    assert_eq!(files_with_a_token(alice.home()).len(), 1);
    alice.let_token_expire();
    token_of_alice(&alice, &node).await;
    desktop.unlock().await;
    alice.let_token_expire();
    token_of_alice(&alice, &node).await;
    assert_eq!(files_with_a_token(alice.home()).len(), 0);
    alice.run(&["logout"]).await.done();
    assert_eq!(desktop.secrets().await.len(), 0, "what a locked keychain had to keep has gone, too");
}

#[tokio::test]
async fn a_keychain_that_never_answers_is_given_up() {
    let Some(desktop) = Desktop::start().await else { return };
    let (node, _mock) = node_and_mock().await;
    let alice = at(&desktop, &node).await;
    alice.sign_in(&node.url(""), "alice").await.done();
    desktop.signal("STOP").await;
    alice.let_token_expire();
    let refused = alice.run(&["token"]).await.refused(1);
    assert!(refused.contains("the keychain does not answer"), "{refused}");
    let refused = alice.run(&["login", "--server", &node.url(""), "--keep-in", "keychain"]).await.refused(1);
    assert!(refused.contains("the keychain does not answer"), "{refused}");
    let signed_in = alice.sign_in(&node.url(""), "alice").await;
    assert!(signed_in.err.contains("the keychain does not answer"), "{}", signed_in.err);
    signed_in.done();
    assert_eq!(files_with_a_token(alice.home()).len(), 1);
    alice.let_token_expire();
    token_of_alice(&alice, &node).await;
    desktop.signal("CONT").await;
    alice.let_token_expire();
    token_of_alice(&alice, &node).await;
    assert_eq!(files_with_a_token(alice.home()).len(), 0);
    alice.run(&["logout"]).await.done();
    assert_eq!(desktop.secrets().await.len(), 0, "also what it was asked for while it stood still");
}

#[tokio::test]
async fn a_death_between_any_two_writes_signs_nobody_out() {
    let Some(desktop) = Desktop::start().await else { return };
    let (node, _mock) = node_and_mock().await;
    let line = desktop.line();
    let mut alice = at(&desktop, &node).await;
    alice.set("DBUS_SESSION_BUS_ADDRESS", &line.address);
    alice.sign_in(&node.url(""), "alice").await.done();
    // Before the new token is in the keychain; after, but before the file names it; before the old one is removed; after.
    let steps =
        [Hold::Call("CreateItem"), Hold::Answer("CreateItem"), Hold::Call("Delete"), Hold::Answer("Delete")];
    for (step, hold) in steps.into_iter().enumerate() {
        alice.let_token_expire();
        line.hold(hold);
        let mut dying = alice.spawn(&["token"]);
        line.held().await;
        dying.kill().await.expect("killed");
        token_of_alice(&alice, &node).await;
        alice.let_token_expire();
        token_of_alice(&alice, &node).await;
        assert_eq!(files_with_a_token(alice.home()), [""; 0], "{step}");

        // The same while somebody signs in, who still is until then.
        line.hold(hold);
        let mut dying = alice.spawn(&["login", "--user", "alice", "--password-stdin"]);
        let mut stdin = dying.stdin.take().expect("a standard input");
        tokio::io::AsyncWriteExt::write_all(&mut stdin, format!("{PASSWORD}\n").as_bytes())
            .await
            .expect("read");
        drop(stdin);
        line.held().await;
        dying.kill().await.expect("killed");
        alice.let_token_expire();
        token_of_alice(&alice, &node).await;
    }
    // What the dead left behind goes with the session.
    assert!(desktop.secrets().await.len() > 1);
    alice.run(&["logout"]).await.done();
    assert_eq!(desktop.secrets().await.len(), 0);
    assert_eq!(alice.run(&["token"]).await.code, Some(1));
}
