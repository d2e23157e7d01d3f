//! Backups of a node at work, and what it takes to go back to one.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::cluster::{Traffic, ask, compare_books, follower, leader, metric, ready, settled};
use crate::harness::{Mock, Node, SPROXY, Setup, until};

async fn sproxy(arguments: &[&str]) -> Output {
    let mut command = Command::new(SPROXY);
    command.args(arguments).env("SPROXY_DATA_DIR", "").kill_on_drop(true);
    command.output().await.unwrap()
}

/// What `restore` says and how it ends, on a node that is stopped.
async fn restore(node: &Node, file: &Path, more: &[&str]) -> (Option<i32>, String, Value) {
    let config = node.directory().join("sproxy.toml");
    let mut arguments = vec!["restore", file.to_str().unwrap(), "--config", config.to_str().unwrap()];
    arguments.extend(more);
    let Output { status, stdout, stderr } = sproxy(&arguments).await;
    let said = String::from_utf8(stderr).unwrap();
    (status.code(), said, serde_json::from_slice(&stdout).unwrap_or(Value::Null))
}

async fn back_up(node: &Node, file: &Path) {
    let (data, server) = (node.data_dir(), node.url(""));
    let arguments =
        ["backup", file.to_str().unwrap(), "--data-dir", data.to_str().unwrap(), "--server", &server];
    let done = sproxy(&arguments).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

async fn stop(node: &mut Node) {
    node.process.ask_to_leave().await;
    assert_eq!(node.process.ended().await, Some(0), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_to_a_copy_brings_back_people_and_loses_no_answer() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let two = follower(&mock, &one, "sp-2").await;
    let (key, bob) = (one.user_with_key("alice").await, one.user_with_key("bob").await);
    until("the follower knows", async || (ask(&two, &bob).await.status == 200).then_some(())).await;
    let mut traffic = Traffic::on(&[&one, &two], &key, 6);
    traffic.more(100).await;
    let file = one.directory().join("copy.db");
    back_up(&one, &file).await;
    traffic.more(100).await;
    // The mistake that is to be undone.
    one.call(reqwest::Method::DELETE, "/admin/v1/users/bob", None).await;
    until("bob is gone", async || (ask(&two, &bob).await.status == 401).then_some(())).await;
    traffic.more(100).await;
    let received = traffic.end().await;
    stop(&mut one).await;

    let (code, said, found) = restore(&one, &file, &["--dry-run", "--json"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((&found["copy"]["users"], &found["present"]["users"]), (&json!(3), &json!(2)), "{found}");
    let lacking = found["lacking"].as_u64().unwrap();
    assert!(lacking >= 50, "about half of 200: {found}");
    let (code, said, _) = restore(&one, &file, &[]).await;
    assert_eq!(code, Some(64), "nobody can be asked: {said}");
    let (code, said, done) = restore(&one, &file, &["--yes", "--json"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(done["carried_over"].as_u64(), Some(lacking), "{done}");
    let kept = PathBuf::from(done["kept"][0].as_str().unwrap());
    assert!(kept.is_file() && kept.to_string_lossy().contains("sproxy.db.replaced-"), "{kept:?}");

    one.restart().await;
    ready(&one).await;
    for node in [&one, &two] {
        until("bob is back", async || (ask(node, &bob).await.status == 200).then_some(())).await;
    }
    compare_books(&one, &received).await;
    settled(&one, &[&one, &two]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_goes_back_owes_what_it_had_not_pushed() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let mut two = follower(&mock, &one, "sp-2").await;
    let key = one.user_with_key("alice").await;
    until("the follower knows", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    let file = two.directory().join("copy.db");
    back_up(&two, &file).await;
    one.kill().await;
    let mut traffic = Traffic::on(&[&two], &key, 4);
    traffic.more(50).await;
    let received = traffic.end().await;
    stop(&mut two).await;
    let (code, said, done) = restore(&two, &file, &["--yes", "--json"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(done["carried_over"].as_u64() >= Some(50), "{done}");
    one.restart().await;
    two.restart().await;
    ready(&two).await;
    compare_books(&one, &received).await;
    settled(&one, &[&one, &two]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_damaged_or_not_this_nodes_changes_nothing() {
    let mock = Mock::start().await;
    let mut node = Setup::with_targets_at(&mock.url()).start().await;
    let key = node.user_with_key("alice").await;
    for _ in 0..20 {
        assert_eq!(ask(&node, &key).await.status, 200);
    }
    let file = node.directory().join("copy.db");
    back_up(&node, &file).await;
    let (code, said, _) = restore(&node, &file, &["--yes"]).await;
    assert!(code == Some(1) && said.contains("is in use"), "it runs: {said}");
    stop(&mut node).await;
    let before = std::fs::read(node.data_dir().join("sproxy.db")).unwrap();

    let damaged = node.directory().join("damaged.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0x5a);
    std::fs::write(&damaged, &bytes).unwrap();
    let (code, said, _) = restore(&node, &damaged, &["--yes"]).await;
    assert!(code == Some(1) && said.contains("damaged"), "{said}");
    std::fs::write(&damaged, b"not a database at all").unwrap();
    let (code, said, _) = restore(&node, &damaged, &["--yes"]).await;
    assert!(code == Some(1) && said.contains("database"), "{said}");
    let (code, said, _) = restore(&node, &node.directory().join("nowhere.db"), &["--yes"]).await;
    assert!(code == Some(1) && said.contains("there is no file"), "{said}");

    let mut other = Setup::with_targets_at(&mock.url()).start().await;
    stop(&mut other).await;
    let (code, said, _) = restore(&other, &file, &["--yes"]).await;
    assert!(code == Some(1) && said.contains("another ledger"), "{said}");
    assert_eq!(std::fs::read(node.data_dir().join("sproxy.db")).unwrap(), before, "nothing has changed");
    node.restart().await;
    assert_eq!(ask(&node, &key).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_be_read_any_more_is_replaced_and_kept() {
    let mock = Mock::start().await;
    let mut node = Setup::with_targets_at(&mock.url()).start().await;
    let key = node.user_with_key("alice").await;
    let first = ask(&node, &key).await;
    let file = node.directory().join("copy.db");
    back_up(&node, &file).await;
    stop(&mut node).await;
    let database = node.data_dir().join("sproxy.db");
    std::fs::write(&database, vec![0x5a; 100_000]).unwrap();
    for side in ["-wal", "-shm"] {
        let _not_there = std::fs::remove_file(node.data_dir().join(format!("sproxy.db{side}")));
    }
    let (code, said, done) = restore(&node, &file, &["--yes", "--json"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(done["present"]["unreadable"].is_string(), "{done}");
    let kept = done["kept"][0].as_str().unwrap();
    assert_eq!(std::fs::read(kept).unwrap(), vec![0x5a; 100_000]);
    node.restart().await;
    assert_eq!(ask(&node, &key).await.status, 200);
    assert!(node.usage().await.iter().any(|row| row["request_id"] == json!(first.id)));
}

/// Names of what is in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_by_the_clock_are_made_kept_and_pruned() {
    let (mock, elsewhere) = (Mock::start().await, tempfile::tempdir().unwrap());
    let directory = elsewhere.path().join("backups");
    std::fs::create_dir(&directory).unwrap();
    for name in [
        "sproxy-sp-1-20200101T000000Z.db",
        "sproxy-sp-1-20200102T000000Z.db",
        "sproxy-sp-10-20200101T000000Z.db",
        "sproxy-sp-1-20200103T000000Z.db.part",
        "notes.txt",
    ] {
        std::fs::write(directory.join(name), "x").unwrap();
    }
    let section = format!("every = \"1h\"\nkeep = 2\ndirectory = \"{}\"", directory.display());
    let mut node = Setup::with_targets_at(&mock.url()).section("backup", &section).start().await;
    let key = node.user_with_key("alice").await;
    until("the first is made at once: the newest is years old", async || {
        (metric(&node, "sproxy_backups_total").await == 1).then_some(())
    })
    .await;
    let made = names(&directory);
    let new: Vec<_> = made
        .iter()
        .filter(|name| {
            name.starts_with("sproxy-sp-1-20") && !name.contains("-2020") && name.ends_with("Z.db")
        })
        .collect();
    let [new] = &*new else { panic!("{made:?}") };
    for stays in ["notes.txt", "sproxy-sp-1-20200102T000000Z.db", "sproxy-sp-10-20200101T000000Z.db"] {
        assert!(made.iter().any(|name| name == stays), "{made:?}");
    }
    assert_eq!(made.len(), 4, "{made:?}");
    let new = directory.join(new);
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&new).unwrap().permissions()) & 0o777,
        0o600
    );

    // The next one is due in an hour, whoever runs.
    node.kill().await;
    node.restart().await;
    assert_eq!(ask(&node, &key).await.status, 200);
    assert_eq!(metric(&node, "sproxy_backups_total").await, 0);
    assert!(metric(&node, "sproxy_backup_last_seconds").await > 1_700_000_000);
    stop(&mut node).await;
    let (code, said, done) = restore(&node, &new, &["--yes", "--json"]).await;
    assert_eq!((code, &done["copy"]["node"]), (Some(0), &json!("sp-1")), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_cannot_be_made_is_told_and_settings_that_make_no_sense_are_refused() {
    let (mock, elsewhere) = (Mock::start().await, tempfile::tempdir().unwrap());
    let file = elsewhere.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let section = format!("every = \"1h\"\ndirectory = \"{}\"", file.display());
    let node = Setup::with_targets_at(&mock.url()).section("backup", &section).start().await;
    until("it is counted", async || (metric(&node, "sproxy_backup_failures_total").await == 1).then_some(()))
        .await;
    assert!(node.log().contains("no backup could be made"), "{}", node.log());
    let key = node.user_with_key("alice").await;
    assert_eq!(ask(&node, &key).await.status, 200);

    let config = elsewhere.path().join("sproxy.toml");
    for (text, said) in [
        ("[backup]\nevery = \"10s\"", "backup.every"),
        ("[backup]\nevery = \"1h\"\nkeep = 0", "backup.keep"),
        ("[backup]\nevery = \"1h\"\n[store]\nurl = \"postgres://sproxy@db/sproxy\"", "pg_dump"),
    ] {
        std::fs::write(&config, text).unwrap();
        let checked = sproxy(&["config", "check", "--config", config.to_str().unwrap()]).await;
        let told =
            String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.code() == Some(64) && told.contains(said), "{text}: {told}");
    }
}
