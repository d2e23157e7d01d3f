//! A database goes over to the other engine, and back: every table there is, whatever is in it.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value;
use sea_orm::{ConnectionTrait as _, Database, Statement};
use sproxy::store::{CopyStart, DatabaseCopy, MetaKey, MetaRepo, Store, table_names};

use crate::harness::databases::TestDatabase;

/// Tables of which rows are no data of a leader: each database has its own.
const NOT_COPIED: [&str; 3] = ["meta", "migration_lock", "seaql_migrations"];

/// The tables of a database, as the engine itself lists them.
async fn listed(db: &TestDatabase, sql: &str) -> BTreeSet<String> {
    let database = Database::connect(db.url()).await.unwrap();
    let statement = Statement::from_string(database.get_database_backend(), sql);
    let rows = database.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index::<String>(0).unwrap()).collect()
}

fn copied(all: BTreeSet<String>) -> Vec<String> {
    all.into_iter().filter(|name| !NOT_COPIED.contains(&name.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_table_of_either_schema_is_left_out() {
    let Some(server) = TestDatabase::postgres().await else { return };
    let file = TestDatabase::sqlite().await;
    let of_server =
        listed(&server, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").await;
    let of_file =
        listed(&file, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
            .await;
    assert_eq!(copied(of_server.clone()), copied(of_file.clone()));
    assert!(of_file.len() > 10, "{of_file:?}");
    assert_eq!(table_names(&server.store).await.unwrap(), copied(of_server));
    assert_eq!(table_names(&file.store).await.unwrap(), copied(of_file));
}

/// Rows that have something in every column, and rows that have nothing where nothing may be.
fn fill(file: &Path, tables: &[String]) {
    let database = Connection::open(file).unwrap();
    for table in tables {
        let columns: Vec<(String, String, bool)> = database
            .prepare(&format!(
                "SELECT name, lower(type), \"notnull\" OR pk > 0 FROM pragma_table_info('{table}')"
            ))
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for number in 0..3_i64 {
            let value = |(at, (name, kind, required)): (usize, &(String, String, bool))| {
                let filler = u8::try_from(at).unwrap() * 3 + u8::try_from(number).unwrap();
                match kind.as_str() {
                    _ if !required && number == 2 => Value::Null,
                    "blob(16)" => Value::Blob(vec![filler; 16]),
                    "blob(32)" => Value::Blob(vec![filler; 32]),
                    "blob" => Value::Blob(vec![filler; 5]),
                    // A follower's log, of which a leader has none.
                    "boolean" => Value::Integer(i64::from(name == "synced" || number == 1)),
                    "bigint" | "integer" => {
                        Value::Integer((number - 1) * (1_764_000_000_000_000 + i64::try_from(at).unwrap()))
                    }
                    "text" | "varchar" => Value::Text(format!("é'\"\\\n{table} {at} {number}")),
                    other => panic!("{table}.{name} is of the type {other}: give it a value here"),
                }
            };
            let values: Vec<Value> = columns.iter().enumerate().map(value).collect();
            let marks = vec!["?"; values.len()].join(", ");
            let insert = format!("INSERT INTO \"{table}\" VALUES ({marks})");
            database.execute(&insert, rusqlite::params_from_iter(values)).unwrap();
        }
    }
}

/// Every row of every table.
fn contents(file: &Path, tables: &[String]) -> Vec<(String, Vec<Vec<Value>>)> {
    let database = Connection::open(file).unwrap();
    let rows = |table: &String| {
        let mut all = database.prepare(&format!("SELECT * FROM \"{table}\" ORDER BY 1, 2")).unwrap();
        let width = all.column_count();
        let rows = all.query_map([], |row| (0..width).map(|at| row.get(at)).collect()).unwrap();
        (table.clone(), rows.collect::<Result<_, _>>().unwrap())
    };
    tables.iter().map(rows).collect()
}

async fn copy(from: &Store, to: &Store) {
    let CopyStart::Begun(copy) = DatabaseCopy::begin(from, to, "here").await.unwrap() else {
        panic!("it was not moved before");
    };
    copy.run(|_| ()).await.unwrap();
    let sums = copy.check().await.unwrap();
    assert!(sums.iter().all(|table| table.rows == 3), "{sums:?}");
    copy.leave_source("there").await.unwrap();
    copy.finish(None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_is_the_same_after_it_went_over_and_came_back() {
    let Some(server) = TestDatabase::postgres().await else { return };
    let (first, second) = (TestDatabase::sqlite().await, TestDatabase::sqlite().await);
    let tables = table_names(&first.store).await.unwrap();
    let ledger = MetaRepo::on(&first.store).ledger_id().await.unwrap();
    MetaRepo::on(&first.store).set(MetaKey::NodeId, "sp-7").await.unwrap();
    fill(&first.file().unwrap(), &tables);
    // Nobody leads on SQLite beside its one node.
    let alone = |file: &Path| Connection::open(file).unwrap().execute("UPDATE peers SET leads_at = NULL", []);
    alone(&first.file().unwrap()).unwrap();
    copy(&first.store, &server.store).await;
    assert_eq!(MetaRepo::on(&server.store).ledger_id().await.unwrap(), ledger);
    assert_eq!(MetaRepo::on(&server.store).get(MetaKey::NodeId).await.unwrap(), None, "a node's own");
    first.store.refuse_in_copy().await.expect_err("it was moved");
    server.store.refuse_in_copy().await.unwrap();
    copy(&server.store, &second.store).await;
    assert_eq!(MetaRepo::on(&second.store).ledger_id().await.unwrap(), ledger);
    assert_eq!(contents(&second.file().unwrap(), &tables), contents(&first.file().unwrap(), &tables));
}

/// Whatever it is that changes a number on the way: it is found, and the copy is not used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_differs_is_found() {
    let Some(server) = TestDatabase::postgres().await else { return };
    let first = TestDatabase::sqlite().await;
    let tables = table_names(&first.store).await.unwrap();
    MetaRepo::on(&first.store).ledger_id().await.unwrap();
    fill(&first.file().unwrap(), &tables);
    let changes = [
        (
            "UPDATE usage_totals SET cost_nanousd = cost_nanousd + 1 WHERE node LIKE '% 1'",
            "usage_totals differs in cost_nanousd",
        ),
        ("DELETE FROM usage_batches WHERE node LIKE '% 0'", "usage_batches has 2 rows of 3"),
        ("UPDATE users SET active = NOT active WHERE name LIKE '% 0'", "users differs in active true"),
    ];
    for (change, found) in changes {
        let CopyStart::Begun(copy) = DatabaseCopy::begin(&first.store, &server.store, "here").await.unwrap()
        else {
            panic!("it was not moved before");
        };
        assert!(!copy.is_resumed());
        copy.run(|_| ()).await.unwrap();
        let database = Database::connect(server.url()).await.unwrap();
        database.execute_unprepared(change).await.unwrap();
        let said = copy.check().await.expect_err("it differs").to_string();
        assert!(said.contains(found), "{said}");
        server.store.refuse_in_copy().await.expect_err("it is not complete");
        first.store.refuse_in_copy().await.unwrap();
    }
}
