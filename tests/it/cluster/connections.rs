//! The leader's gRPC port when all its connections are taken.
#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::stream::{self, StreamExt};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::{ask, booked, follower, follower_setup, leader, ready};
use crate::harness::{Mock, until};

/// As many as the leader serves.
const CONNECTIONS: usize = 4_096;
/// So many are opened at the same time: less than what a socket lets wait.
const AT_ONCE: usize = 256;
/// What opens a connection of HTTP/2: the preface and an empty SETTINGS frame.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Connections from one of this machine's own addresses.
async fn open(leader: SocketAddr, from: Ipv4Addr, count: usize) -> Vec<TcpStream> {
    let one = async |()| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        let mut stream = socket.connect(leader).await.unwrap();
        stream.write_all(OPENING).await.unwrap();
        stream
    };
    stream::iter(std::iter::repeat_n((), count)).map(one).buffer_unordered(AT_ONCE).collect().await
}

/// What one address may have of so many free places: as many as leave it eight times as much as is free.
fn most_of(free: usize) -> usize {
    (free * 8).div_ceil(9)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_leaves_places_to_followers_and_at_a_full_port_they_are_told_and_come_again() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    if limit.current.is_some_and(|most| most < 2 * CONNECTIONS as u64) {
        println!("left out: this system does not let a process have {CONNECTIONS} connections");
        return;
    }
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let key = one.user_with_key("alice").await;

    let port = one.grpc.unwrap();
    let mut taken = open(port, Ipv4Addr::new(127, 0, 0, 2), CONNECTIONS).await;
    let two = follower(&mock, &one, "sp-2").await;
    // Beside the follower and the one that had too many.
    let mut free = CONNECTIONS - most_of(CONNECTIONS) - 1;
    for from in 3.. {
        let count = most_of(free);
        taken.extend(open(port, Ipv4Addr::new(127, 0, 0, from), count).await);
        free -= count;
        if free == 0 {
            break;
        }
    }
    let three = follower_setup(&mock, &one).section("node", "id = \"sp-3\"").start().await;
    until("the follower says why it cannot register", async || {
        let log = three.log();
        let said = log.lines().find(|line| line.contains("cannot push usage to the leader"))?;
        assert!(said.contains("this leader has as many connections as it may"), "{said}");
        Some(())
    })
    .await;
    let answer = three.http.get(three.url("/readyz")).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 1).await;

    drop(taken);
    ready(&three).await;
    assert_eq!(ask(&three, &key).await.status, 200);
    booked(&one, 2).await;
}
