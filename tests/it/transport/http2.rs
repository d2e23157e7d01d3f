//! HTTP/2 to a provider: streams run out, streams are refused, connections go away, windows are narrow.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::Client;
use serde_json::json;
use tokio::sync::{Barrier, Semaphore};

use super::{COMPLETION, chat};
use crate::harness::frames::{CANCEL, FrameServer, INITIAL_WINDOW, MAX_STREAMS, NO_ERROR, REFUSED_STREAM};
use crate::harness::{Answer, Node, Setup, until};

const PATH: &str = "/v1/chat/completions";

async fn node(targets: &str) -> (Node, String) {
    let node = Setup::with_targets(targets).start().await;
    let key = node.user_with_key("alice").await;
    (node, key)
}

async fn metric(node: &Node, line: &str) -> Option<u64> {
    let text = node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap();
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

/// As many calls at once as `count` are all answered only once all of them have arrived, on connections that carry
/// `max` streams each: whoever queues any of them waits for ever.
async fn all_arrive_at_once(is_tls: bool, max: u32, count: usize) -> usize {
    let all_there = Arc::new(Barrier::new(count));
    let server = FrameServer::start(is_tls, move |mut connection| {
        let all_there = Arc::clone(&all_there);
        async move {
            connection.settings(&[(MAX_STREAMS, max)]).await?;
            let mut open = Vec::new();
            loop {
                // A connection that is full waits for the others; one that is not is told by the calls' number.
                let stream = connection.request().await?;
                let there = Arc::clone(&all_there);
                open.push(tokio::spawn(async move {
                    there.wait().await;
                    stream
                }));
                assert!(open.len() <= usize::try_from(max).unwrap(), "more streams than allowed");
                if open.len() == usize::try_from(max).unwrap() || count == 1 {
                    for waiting in open.drain(..) {
                        let stream = waiting.await.ok()?;
                        connection.answer_json(stream, COMPLETION).await?;
                    }
                }
            }
        }
    })
    .await;
    let (node, key) = node(&server.target("many", "")).await;
    let chat = chat();
    let answers = join_all((0..count).map(|_| node.ask(&key, PATH, &[], &chat))).await;
    for answer in &answers {
        assert_eq!((answer.status, answer.text().as_str()), (200, COMPLETION));
    }
    assert_eq!(metric(&node, "sproxy_target_waiting{target=\"many\",provider=\"openai\"}").await, Some(0));
    server.accepted()
}

#[tokio::test]
async fn calls_beyond_a_connections_streams_go_over_another_at_once() {
    for is_tls in [false, true] {
        assert_eq!(all_arrive_at_once(is_tls, 2, 6).await, 3, "TLS: {is_tls}");
    }
}

#[tokio::test]
async fn two_hundred_and_sixty_calls_at_once_all_reach_a_provider_that_allows_few_streams_each() {
    let connections = all_arrive_at_once(true, 20, 260).await;
    assert!((13..=16).contains(&connections), "{connections} connections where 13 carry everything");
}

#[tokio::test]
async fn a_call_that_finds_no_stream_in_time_is_refused_in_its_dialect_or_goes_elsewhere() {
    let go_on = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&go_on);
    let full = FrameServer::start(false, move |mut connection| {
        let held = Arc::clone(&held);
        async move {
            connection.settings(&[(MAX_STREAMS, 1)]).await?;
            let stream = connection.request().await?;
            held.acquire().await.ok()?.forget();
            connection.answer_json(stream, COMPLETION).await?;
            connection.until_closed().await
        }
    })
    .await;
    let limits = "http2_connections = 1\nqueue_timeout = \"300ms\"";
    let (node, key) = node(&full.target("full", limits)).await;
    let chat = chat();
    let first = node.ask(&key, PATH, &[], &chat);
    let second = async {
        until("the first call is on its way", async || (full.accepted() > 0).then_some(())).await;
        let waited = until("a refusal", async || {
            let answer = node.ask(&key, PATH, &[], &chat).await;
            (answer.status != 200).then_some(answer)
        })
        .await;
        go_on.add_permits(100);
        waited
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.status, first.complete), (200, true));
    assert_eq!(second.status, 503, "{}", second.text());
    assert_eq!(second.header("retry-after"), "1");
    let message = second.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("no HTTP/2 stream was free within 300ms"), "{message}");
    assert_eq!(node.usage_of(&second).await["outcome"], json!("refused"));
}

#[tokio::test]
async fn a_refused_stream_is_sent_once_more_over_a_fresh_connection() {
    for is_tls in [false, true] {
        let server = FrameServer::start(is_tls, |mut connection| async move {
            connection.settings(&[]).await?;
            let stream = connection.request().await?;
            if connection.number == 0 {
                connection.reset(stream, REFUSED_STREAM).await?;
            } else {
                connection.answer_json(stream, COMPLETION).await?;
            }
            connection.until_closed().await
        })
        .await;
        let (node, key) = node(&server.target("refusing", "")).await;
        let answer = node.ask(&key, PATH, &[], &chat()).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, COMPLETION), "TLS: {is_tls}");
        assert_eq!(server.accepted(), 2);
        assert_eq!(node.usage_of(&answer).await["outcome"], json!("ok"));
    }
}

#[tokio::test]
async fn a_stream_that_is_refused_twice_goes_to_another_target() {
    let refusing = FrameServer::start(false, |mut connection| async move {
        connection.settings(&[]).await?;
        loop {
            let stream = connection.request().await?;
            connection.reset(stream, REFUSED_STREAM).await?;
        }
    })
    .await;
    let well = FrameServer::start(false, |mut connection| async move {
        connection.settings(&[]).await?;
        loop {
            let stream = connection.request().await?;
            connection.answer_json(stream, COMPLETION).await?;
        }
    })
    .await;
    let targets = refusing.target("refusing", "weight = 1000000") + &well.target("well", "weight = 1");
    let (node, key) = node(&targets).await;
    let answer = node.ask(&key, PATH, &[], &chat()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(node.usage_of(&answer).await["target"], json!("well"));
}

#[tokio::test]
async fn a_connection_that_goes_away_ends_its_streams_and_costs_no_other_call_anything() {
    for is_tls in [false, true] {
        let server = FrameServer::start(is_tls, |mut connection| async move {
            connection.settings(&[]).await?;
            if connection.number > 0 {
                loop {
                    let stream = connection.request().await?;
                    connection.answer_json(stream, COMPLETION).await?;
                }
            }
            let first = connection.request().await?;
            connection.head(first, 200, &[("content-type", "application/json")]).await?;
            // The second is above the last that is processed; the first goes on.
            let second = connection.request().await?;
            assert!(second > first);
            connection.go_away(first, NO_ERROR).await?;
            connection.data(first, COMPLETION.as_bytes(), true).await?;
            connection.until_closed().await
        })
        .await;
        let (node, key) = node(&server.target("rotating", "")).await;
        let chat = chat();
        let (one, other) = tokio::join!(node.ask(&key, PATH, &[], &chat), node.ask(&key, PATH, &[], &chat));
        for answer in [&one, &other] {
            assert_eq!((answer.status, answer.text().as_str()), (200, COMPLETION), "TLS: {is_tls}");
        }
        let after = node.ask(&key, PATH, &[], &chat).await;
        assert_eq!((after.status, server.accepted()), (200, 2), "TLS: {is_tls}");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_was_idle_costs_no_call_anything() {
    for is_tls in [false, true] {
        let server = FrameServer::start(is_tls, |mut connection| async move {
            connection.settings(&[]).await?;
            let stream = connection.request().await?;
            connection.answer_json(stream, COMPLETION).await
        })
        .await;
        let (node, key) = node(&server.target("closing", "")).await;
        for round in 1..=3 {
            let answer = node.ask(&key, PATH, &[], &chat()).await;
            assert_eq!(answer.status, 200, "TLS: {is_tls}: {}", answer.text());
            assert_eq!(server.accepted(), round);
            let gone = "sproxy_target_http2_connections{target=\"closing\",provider=\"openai\"}";
            until("the node has seen the end", async || metric(&node, gone).await.filter(|open| *open == 0))
                .await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_the_provider_cancels_is_cut_and_booked_so() {
    let server = FrameServer::start(false, |mut connection| async move {
        connection.settings(&[]).await?;
        let stream = connection.request().await?;
        connection.head(stream, 200, &[("content-type", "application/json")]).await?;
        connection.data(stream, &COMPLETION.as_bytes()[..40], false).await?;
        connection.reset(stream, CANCEL).await?;
        connection.until_closed().await
    })
    .await;
    let (node, key) = node(&server.target("cancelling", "")).await;
    let answer = node.ask(&key, PATH, &[], &chat()).await;
    assert_eq!((answer.status, answer.complete), (200, false));
    assert_eq!(node.usage_of(&answer).await["outcome"], json!("upstream_cut"));
}

#[tokio::test]
async fn a_large_request_goes_through_narrow_windows_and_an_early_answer_comes_back() {
    for answers_early in [false, true] {
        let server = FrameServer::start(true, move |mut connection| async move {
            connection.settings(&[(INITIAL_WINDOW, 1000)]).await?;
            let mut received = BTreeMap::<u32, usize>::new();
            loop {
                let frame = connection.next().await?;
                let so_far = received.entry(frame.stream).or_default();
                if frame.kind == crate::harness::frames::DATA {
                    *so_far += frame.payload.len();
                }
                if answers_early && *so_far > 0 {
                    connection.head(frame.stream, 413, &[("content-type", "application/json")]).await?;
                    connection.data(frame.stream, br#"{"error":"too large for us"}"#, true).await?;
                    connection.reset(frame.stream, NO_ERROR).await?;
                    connection.until_closed().await?;
                }
                if frame.ends_request() {
                    let text = COMPLETION.replace("Hi", &format!("{so_far} bytes"));
                    connection.answer_json(frame.stream, &text).await?;
                } else if !frame.payload.is_empty() {
                    let more = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
                    connection.write(crate::harness::frames::WINDOW_UPDATE, 0, frame.stream, &more).await?;
                }
            }
        })
        .await;
        let (node, key) = node(&server.target("narrow", "")).await;
        let body =
            json!({ "model": "gpt-5", "messages": [{ "role": "user", "content": "x".repeat(100_000) }] });
        let answer: Answer = node.ask(&key, PATH, &[], &body).await;
        if answers_early {
            assert_eq!((answer.status, answer.text().as_str()), (413, r#"{"error":"too large for us"}"#));
        } else {
            let len = body.to_string().len();
            assert_eq!(answer.status, 200);
            assert!(answer.text().contains(&format!("{len} bytes")), "{}", answer.text());
        }
    }
}

/// A window counts what frames carry, and what waits in small ones takes much more: that must hold up who does not read,
/// and nobody else.
#[tokio::test]
async fn callers_who_read_nothing_take_no_connection_from_the_others_however_small_its_frames_are() {
    const IDLE_CALLERS: usize = 30;
    const EVENT: &[u8] = b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    let server = FrameServer::start(false, |mut connection| async move {
        connection.settings(&[]).await?;
        for _ in 0..IDLE_CALLERS {
            let stream = connection.request().await?;
            connection.head(stream, 200, &[("content-type", "text/event-stream")]).await?;
            connection.data_again_and_again(stream, EVENT, 500 * 1024 / EVENT.len()).await?;
        }
        loop {
            let stream = connection.request().await?;
            connection.answer_json(stream, COMPLETION).await?;
        }
    })
    .await;
    let (node, key) = node(&server.target("chatty", "")).await;
    let streamed = json!({ "model": "gpt-5", "messages": [], "stream": true });
    let callers = join_all((0..IDLE_CALLERS).map(|_| async {
        let client =
            Client::builder().http2_prior_knowledge().http2_initial_stream_window_size(1024).build().unwrap();
        let call = client.post(node.url(PATH)).bearer_auth(&key).json(&streamed);
        call.send().await.unwrap()
    }))
    .await;
    assert!(callers.iter().all(|head| head.status() == 200));
    // It comes after all that was sent to them.
    let answer = node.ask(&key, PATH, &[], &chat()).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, COMPLETION));
    assert_eq!(server.accepted(), 1);
    drop(callers);
}
