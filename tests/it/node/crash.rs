//! The promise that matters most: whatever is killed and whenever, an answer that a client has received completely is in
//! the books, once, with what it cost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::harness::{Answer, Mock, SPROXY, Setup, until};

/// Request id → (input, output) of the answers that clients have received to the last byte.
type Received = Arc<Mutex<HashMap<String, (u64, u64)>>>;

/// Calls until it is told to stop; failures are a killed node's, and simply tried again.
async fn client(url: String, key: String, number: u64, received: Received, stop: Arc<AtomicBool>) {
    let http = reqwest::Client::new();
    let mut turn = number * 1_000_000;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let (input, output) = (10 + turn % 997, 1 + turn % 89);
        let stream = turn.is_multiple_of(2);
        let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "stream": stream, "messages": [{ "role": "user", "content": "Hi" }] });
        let request = http
            .post(format!("{url}/v1/messages"))
            .header("x-api-key", &key)
            .header("mock-input", input)
            .header("mock-output", output)
            .header("mock-events", 3);
        let Ok(response) = request.json(&body).send().await else { continue };
        let answer = Answer::read(response).await;
        // A stream is complete for its reader with its final event, whether or not the connection ends well.
        let whole = if stream { answer.text().contains("message_stop") } else { answer.complete };
        if answer.status == 200 && whole {
            received.lock().await.insert(answer.id, (input, output));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_again_and_again_under_load_has_booked_every_answer_that_was_received() {
    let mock = Mock::start().await;
    let mut node =
        Setup::with_targets_at(&mock.url()).section("log", "level = \"warn,sproxy=info\"").start().await;
    let key = node.user_with_key("alice").await;
    let (received, stop): (Received, _) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..16)
        .map(|n| tokio::spawn(client(node.url(""), key.clone(), n, Arc::clone(&received), Arc::clone(&stop))))
        .collect();
    for round in 1..=8 {
        let before = received.lock().await.len();
        until("more answers", async || (received.lock().await.len() > before + 60 * round).then_some(()))
            .await;
        node.kill().await;
        node.restart().await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let received = received.lock().await;
    let rows = node.usage().await;
    let mut booked: HashMap<&str, Vec<(u64, u64)>> = HashMap::new();
    for row in &rows {
        let tokens = (row["input_tokens"].as_u64().unwrap(), row["output_tokens"].as_u64().unwrap());
        booked.entry(row["request_id"].as_str().unwrap()).or_default().push(tokens);
    }
    for (id, tokens) in received.iter() {
        assert_eq!(booked.get(id.as_str()), Some(&vec![*tokens]), "{id}, of {} received", received.len());
    }
    let stats = node.get("/admin/v1/stats").await;
    let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(stats["request_count"], json!(rows.len()));
    assert_eq!(stats["total_tokens"], json!(sum("total_tokens")));
    assert_eq!(stats["cost_nanousd"], json!(sum("cost_nanousd")));
}

#[tokio::test]
async fn a_node_that_is_asked_to_leave_finishes_its_streams_and_books_them() {
    let mock = Mock::start().await;
    let mut node = Setup::with_targets_at(&mock.url()).start().await;
    let key = node.user_with_key("alice").await;
    let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "stream": true, "messages": [{ "role": "user", "content": "Hi" }] });
    let request = node.http.post(node.url("/v1/messages")).header("x-api-key", &key);
    let request = request.header("mock-events", 20).header("mock-delay-ms", 50).header("mock-output", 20);
    let mut response = request.json(&body).send().await.unwrap();
    response.chunk().await.unwrap();
    node.process.ask_to_leave().await;
    let answer = Answer::read(response).await;
    assert!(answer.complete && answer.text().contains("message_stop"), "{}", answer.text());
    assert_eq!(node.process.ended().await, Some(0));
    node.restart().await;
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["outcome"], &row["output_tokens"]), (&json!("ok"), &json!(20)));
}

/// What has begun has spent money, whether the node could finish it or not.
async fn leaves_with_calls_under_way_and_books_them(on_hangup: &str, signals: usize, shutdown_timeout: &str) {
    let mock = Mock::start().await;
    let target = format!(
        "[[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"{}\"\napi_key = \"k\"\non_hangup = \"{on_hangup}\"\n",
        mock.url()
    );
    let setup = Setup::with_targets(&target);
    let mut node = setup.section("http", &format!("shutdown_timeout = \"{shutdown_timeout}\"")).start().await;
    let key = node.user_with_key("alice").await;
    let ask = |stream: bool| {
        let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "stream": stream, "messages": [{ "role": "user", "content": "Hi" }] });
        let request = node.http.post(node.url("/v1/messages")).header("x-api-key", &key).json(&body);
        // A year of silence before the answer, or after the first event of the stream.
        request.header("mock-input", 7).header("mock-events", 9).header("mock-delay-ms", 31_536_000_000_u64)
    };
    let silent = tokio::spawn(ask(false).send());
    let mut stream = ask(true).send().await.unwrap();
    stream.chunk().await.unwrap();
    until("both calls are under way", async || {
        let metrics = reqwest::get(node.url("/metrics")).await.unwrap().text().await.unwrap();
        metrics
            .lines()
            .any(|line| line.starts_with("sproxy_target_in_flight") && line.ends_with(" 2"))
            .then_some(())
    })
    .await;
    for signal in 1..=signals {
        node.process.ask_to_leave().await;
        until("the signal is heard", async || {
            (node.log().matches("asked to leave").count() >= signal).then_some(())
        })
        .await;
    }
    assert_eq!(node.process.ended().await, Some(0));
    assert!(silent.await.unwrap().is_err(), "nothing can have answered it");
    node.restart().await;
    let rows = node.usage().await;
    let booked = |is_streaming| rows.iter().find(|row| row["is_streaming"] == json!(is_streaming)).unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in [booked(true), booked(false)] {
        assert_eq!(row["outcome"], json!("client_gone"));
        assert!(row["input_tokens"].as_u64() > Some(0), "{row}");
    }
    assert_eq!(booked(true)["input_tokens"], json!(7), "the stream has said so");
}

#[tokio::test]
async fn a_node_that_leaves_books_the_streams_that_it_could_not_finish() {
    leaves_with_calls_under_way_and_books_them("cancel", 1, "200ms").await;
}

#[tokio::test]
async fn a_node_that_leaves_books_what_it_would_have_read_to_the_end_without_a_caller() {
    leaves_with_calls_under_way_and_books_them("drain", 1, "200ms").await;
}

#[tokio::test]
async fn a_node_that_is_asked_twice_ends_its_streams_at_once_and_books_them() {
    leaves_with_calls_under_way_and_books_them("cancel", 2, "1h").await;
}

/// The kernel sends SIGHUP when a terminal goes; sent by anybody else it means to reload (`reload.rs`).
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_closed_terminal_is_a_reason_to_leave_in_good_order() {
    use std::process::Stdio;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use tokio::io::{AsyncBufReadExt, BufReader};

    let mock = Mock::start().await;
    let mut node = Setup::with_targets_at(&mock.url()).start().await;
    node.kill().await;
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let side = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    // The one that runs it has no terminal of its own, and takes this one.
    let mut command = Command::new("setsid");
    command.args(["--ctty", SPROXY, "serve"]).current_dir(node.directory());
    command.stdin(side).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    // What it was run with holds the terminal open.
    drop(command);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut log = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        log.push_str(&line);
        if line.contains("ready") && line.contains("grpc") {
            break;
        }
    }
    drop(terminal);
    while let Some(line) = lines.next_line().await.unwrap() {
        log.push_str(&line);
    }
    assert_eq!(child.wait().await.unwrap().code(), Some(0), "{log}");
    assert!(log.contains("asked to leave"), "{log}");
}

#[tokio::test]
async fn a_second_process_on_the_same_data_directory_is_told_who_has_it() {
    let mock = Mock::start().await;
    let mut node = Setup::with_targets_at(&mock.url()).start().await;
    let data_dir = node.data_dir().display().to_string();
    let elsewhere = [("SPROXY_HTTP__LISTEN", "127.0.0.1:0"), ("SPROXY_CLUSTER__LISTEN", "127.0.0.1:0")];
    let mut second = Command::new(SPROXY);
    second.args(["serve", "--data-dir", &data_dir]).envs(elsewhere).current_dir(node.directory());
    let refused = second.output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{data_dir} is in use by process {}", node.process.id())), "{said}");
    node.kill().await;
    node.restart().await;
}
