//! A backup over HTTP, and what is left of it when its caller does not wait.

use std::path::Path;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Mock, Setup, until};

/// A database that takes a moment to copy.
const SIZE: i64 = 192 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_whose_caller_hangs_up_leaves_no_file_and_the_next_one_works() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let data = node.data_dir();
    let database = rusqlite::Connection::open(data.join("sproxy.db")).expect("the database");
    database.busy_timeout(std::time::Duration::from_secs(30)).expect("a setting");
    database
        .execute_batch(&format!(
            "CREATE TABLE ballast (bytes BLOB); INSERT INTO ballast VALUES (zeroblob({SIZE}));"
        ))
        .expect("ballast");
    drop(database);
    let token = std::fs::read_to_string(data.join("admin.token")).expect("a token");
    let mut socket = TcpStream::connect(node.address).await.expect("a connection");
    let request = format!(
        "GET /admin/v1/backup HTTP/1.1\r\nhost: node\r\nauthorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    socket.write_all(request.as_bytes()).await.expect("a request");
    until("the copy is begun", async || copies(&data).first().cloned()).await;
    drop(socket);
    until("the copy is gone", async || copies(&data).is_empty().then_some(())).await;
    // Until the copy is made there may be none; then the next caller gets one whole.
    let copied = until("another backup", async || {
        let url = node.url("/admin/v1/backup");
        let answer = reqwest::Client::new().get(url).bearer_auth(token.trim()).send().await.ok()?;
        if answer.status() == 200 { answer.bytes().await.ok() } else { None }
    })
    .await;
    assert!(copied.len() > usize::try_from(SIZE).unwrap(), "{} bytes", copied.len());
    until("this copy is gone too", async || copies(&data).is_empty().then_some(())).await;
}

fn copies(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("backup-")).collect()
}
