//! Opening databases: fresh ones, ours, other people's, damaged ones, several at once; and copies of them.

use std::os::unix::fs::PermissionsExt;

use sproxy::store::{Error, Location, MetaKey, MetaRepo, Store, UsageRepo};

use crate::harness::databases::{TestDatabase, on_both, sqlite_at};
use crate::harness::postgres::Postgres;
use crate::harness::records::{Dice, at, sum};

on_both! {
    async fn what_is_written_is_there_after_opening_again(db: TestDatabase) {
        let mut dice = Dice(5);
        let records: Vec<_> = (0..50).map(|_| dice.record(at("2026-11-22"), 1_000_000)).collect();
        UsageRepo::on(&db.store).insert_batch(&records, true).await.expect("inserted");
        db.store.close().await;
        let again = db.second_store().await;
        let totals = UsageRepo::on(&again).global_sum_tokens(at("2026-11-22"), at("2026-11-23")).await;
        assert_eq!(totals.expect("sums"), sum(&records));
    }
}

on_both! {
    async fn what_is_committed_can_be_taken_to_the_disk_between_other_writes(db: TestDatabase) {
        MetaRepo::on(&db.store).ledger_id().await.expect("an id");
        if let Some(file) = db.file() {
            let log = file.with_extension("db-wal");
            for _ in 0..2 {
                let before = std::fs::metadata(&log).expect("there").len();
                db.store.make_durable().await.expect("done");
                assert!(std::fs::metadata(&log).expect("there").len() > before, "nothing written, nothing synced");
            }
        }
        let tx = db.store.begin().await.expect("a transaction");
        let (durable, committed) = tokio::join!(db.store.make_durable(), async {
            MetaRepo::on(&tx).set(MetaKey::NodeId, "sp-2").await.expect("set");
            tx.commit().await
        });
        assert_eq!((durable.is_ok(), committed.is_ok()), (true, true));
        let kept = MetaRepo::on(&db.second_store().await).get(MetaKey::NodeId).await.expect("read");
        assert_eq!(kept.as_deref(), Some("sp-2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_processes_that_open_a_fresh_database_at_once_all_succeed() {
    let dir = tempfile::tempdir().expect("a directory");
    open_ten_times(&sqlite_at(dir.path().join("sproxy.db"))).await;
    if let Some(server) = tokio::task::spawn_blocking(Postgres::shared).await.expect("a server") {
        open_ten_times(&Location::Postgres { url: server.new_database() }).await;
    }
}

async fn open_ten_times(location: &Location) {
    let opening = (0..10).map(|_| {
        let location = location.clone();
        tokio::spawn(async move { Store::open(&location).await })
    });
    for opened in futures_util::future::join_all(opening).await {
        opened.expect("no panic").expect("opened");
    }
}

#[tokio::test]
async fn a_sqlite_file_of_another_program_is_left_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("photos.db");
    let made =
        std::process::Command::new("sqlite3").arg(&path).arg("CREATE TABLE photos (name TEXT)").status();
    let Ok(true) = made.map(|status| status.success()) else {
        eprintln!("left out: no sqlite3 on this machine");
        return;
    };
    let before = std::fs::read(&path).expect("the file");
    let error = Store::open(&sqlite_at(path.clone())).await.expect_err("not ours");
    assert!(matches!(error, Error::Foreign(_)), "{error:?}");
    assert!(error.to_string().contains("photos.db is a SQLite database of another program"), "{error}");
    assert_eq!(std::fs::read(&path).expect("the file"), before);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_reported_as_damaged() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sproxy.db");
    std::fs::write(&path, "this is a text file, and long enough to have a header\n".repeat(100))
        .expect("written");
    let error = Store::open(&sqlite_at(path)).await.expect_err("no database");
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");
    assert!(error.to_string().contains("sproxy.db"), "{error}");
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named() {
    let error = Store::open(&sqlite_at("/nowhere/at/all/sproxy.db".into())).await.expect_err("no directory");
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("/nowhere/at/all/sproxy.db"), "{error}");
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable_and_its_password_stays_secret() {
    for (url, can_come) in [
        ("postgres://u:hunter2@127.0.0.1:1/db", true),
        ("postgres://u:hunter2@[nonsense/db", false),
        ("mysql://u:hunter2@127.0.0.1:1/db", true),
    ] {
        let location = Location::Postgres { url: url.to_owned() };
        let error = Store::open(&location).await.expect_err("nobody there");
        // What is no address never becomes one.
        assert_eq!(matches!(error, Error::Unavailable(_)), can_come, "{error:?}");
        assert_eq!(matches!(error, Error::Refused(_)), !can_come, "{error:?}");
        assert!(!format!("{error} {error:?} {location:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_postgresql_database_of_another_program_is_refused() {
    let Some(server) = tokio::task::spawn_blocking(Postgres::shared).await.expect("a server") else {
        return;
    };
    let url = server.new_database();
    let name = url.rsplit('/').next().expect("a name");
    server.execute(name, "CREATE TABLE users (id int)");
    let error = Store::open(&Location::Postgres { url: url.clone() }).await.expect_err("not ours");
    assert!(matches!(error, Error::Foreign(_)), "{error:?}");
}

#[tokio::test]
async fn a_postgresql_database_that_cannot_hold_every_text_is_refused() {
    let Some(server) = tokio::task::spawn_blocking(Postgres::shared).await.expect("a server") else {
        return;
    };
    server.execute(
        "postgres",
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    let error = Store::open(&Location::Postgres { url: server.url("latin") }).await.expect_err("not UTF-8");
    assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
    assert!(error.to_string().contains("UTF8"), "{error}");
}

on_both! {
    async fn a_database_of_a_newer_version_is_refused(db: TestDatabase) {
        db.pretend_newer().await;
        let error = db.try_second_store().await.expect_err("newer");
        assert!(matches!(error, Error::Foreign(_)), "{error:?}");
        assert!(error.to_string().contains("newer sproxy"), "{error}");
    }
}

#[tokio::test]
async fn a_backup_is_a_database_of_the_same_content_made_while_writing_goes_on() {
    let db = TestDatabase::sqlite().await;
    let dir = tempfile::tempdir().expect("a directory");
    let copy = dir.path().join("copy.db");
    let mut dice = Dice(11);
    let records: Vec<_> = (0..4_000).map(|_| dice.record(at("2026-11-22"), 1_000_000)).collect();
    let (before, during) = records.split_at(2_000);
    let usage = UsageRepo::on(&db.store);
    usage.insert_batch(before, true).await.expect("inserted");
    let writing = async {
        for batch in during.chunks(20) {
            usage.insert_batch(batch, true).await.expect("inserted");
        }
    };
    let (copied, ()) = tokio::join!(db.store.backup(&copy), writing);
    copied.expect("copied");
    let mode = std::fs::metadata(&copy).expect("the copy").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = db.store.backup(&copy).await.expect_err("it exists");
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");

    let restored = Store::open(&sqlite_at(copy)).await.expect("a database");
    let (from, to) = (at("2026-11-22"), at("2026-11-23"));
    let totals = UsageRepo::on(&restored).global_sum_tokens(from, to).await.expect("sums");
    let prefix = records
        .get(..usize::try_from(totals.request_count).expect("small"))
        .expect("no more than there were");
    assert!(prefix.len() >= before.len());
    assert_eq!(totals, sum(prefix), "one moment, logs and sums alike");
    let edges =
        UsageRepo::on(&restored).global_sum_tokens(from.plus(std::time::Duration::from_micros(1)), to).await;
    let logs = prefix.iter().filter(|record| record.created_at > from);
    assert_eq!(edges.expect("sums"), sum(logs));
}

#[tokio::test]
async fn a_backup_of_postgresql_is_left_to_pg_dump() {
    if let Some(db) = TestDatabase::postgres().await {
        let error = db.store.backup("/tmp/never-written".as_ref()).await.expect_err("not here");
        assert!(error.to_string().contains("pg_dump"), "{error}");
    }
}

#[tokio::test]
async fn the_database_file_is_readable_by_its_owner_alone() {
    let db = TestDatabase::sqlite().await;
    let file = db.file().expect("a file");
    for name in [file.clone(), file.with_extension("db-wal")] {
        let mode = std::fs::metadata(&name).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", name.display());
    }
}
