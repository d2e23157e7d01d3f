//! Pushes of all followers at once: the leader has so many in memory, and the next waits in line, unread, until one of
//! them is through or its own time is up.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use prost::Message;
use serde_json::json;
use sproxy::wire::v1;
use sproxy::wire::v1::cluster_client::ClusterClient;
use tokio::net::TcpStream;
use tonic::Code;

use super::grpc::{channel, log, registration};
use super::{ask, booked, follower, leader, peer};
use crate::harness::{Mock, Node, until};

/// As many as the leader has in memory.
const PUSHES: usize = 32;

/// A node that pushes piece by piece.
struct Pusher {
    leader: SendRequest<Bytes>,
    request: v1::PushUsageRequest,
}

/// A push of one usage log whose last byte has not been sent: it cannot be read yet.
struct Begun {
    answer: ResponseFuture,
    stream: SendStream<Bytes>,
    last: Bytes,
}

impl Pusher {
    async fn register(leader: &Node) -> Self {
        let instance = uuid::Uuid::now_v7();
        let mut cluster = ClusterClient::new(channel(leader).await);
        let known = cluster.register(registration("sp-9", instance)).await.unwrap().into_inner();
        let request = v1::PushUsageRequest {
            node_id: "sp-9".to_owned(),
            instance_id: instance.to_string(),
            ledger_id: known.ledger_id,
            ..v1::PushUsageRequest::default()
        };
        let socket = TcpStream::connect(leader.grpc.unwrap()).await.unwrap();
        let (leader, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        Self { leader, request }
    }

    /// Begins a push that has so long, as gRPC writes it.
    async fn begin(&mut self, time: &str) -> Begun {
        let request = v1::PushUsageRequest { records: vec![log("sp-9")], ..self.request.clone() };
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(u32::try_from(request.encoded_len()).unwrap());
        request.encode(&mut bytes).unwrap();
        let last = bytes.split_off(bytes.len() - 1).freeze();
        let head = http::Request::post("http://leader/sproxy.v1.Cluster/PushUsage")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", time)
            .body(())
            .unwrap();
        self.leader = self.leader.clone().ready().await.unwrap();
        let (answer, mut stream) = self.leader.send_request(head, false).unwrap();
        stream.send_data(bytes.freeze(), false).unwrap();
        Begun { answer, stream, last }
    }

    /// What becomes of a whole push that has a quarter of a second.
    async fn push(&mut self) -> Code {
        let push = self.begin("250m").await;
        push.end().await
    }
}

impl Begun {
    async fn end(mut self) -> Code {
        // Whoever is refused before it is read may have its answer already.
        let _refused = self.stream.send_data(self.last, true);
        let (head, mut body) = self.answer.await.unwrap().into_parts();
        // What is refused has its status in its head.
        let status = if let Some(status) = head.headers.get("grpc-status") {
            status.clone()
        } else {
            while let Some(piece) = body.data().await {
                body.flow_control().release_capacity(piece.unwrap().len()).unwrap();
            }
            body.trailers().await.unwrap().expect("trailers")["grpc-status"].clone()
        };
        Code::from_bytes(status.as_bytes())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_beyond_those_in_memory_waits_its_time_and_nothing_else_waits_with_it() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let two = follower(&mock, &one, "sp-2").await;
    let mut nine = Pusher::register(&one).await;
    let mut begun = Vec::new();
    for _ in 0..PUSHES {
        begun.push(nine.begin("30S").await);
    }
    until("every place is taken", async || (nine.push().await == Code::DeadlineExceeded).then_some(())).await;
    assert_eq!(begun.pop().unwrap().end().await, Code::Ok);
    assert_eq!(nine.push().await, Code::Ok, "there is one place again, and only one had been missing");
    begun.push(nine.begin("30S").await);
    until("it is taken", async || (nine.push().await == Code::DeadlineExceeded).then_some(())).await;
    let pushed = one.get("/admin/v1/stats").await["request_count"].as_u64().unwrap();

    assert_eq!(ask(&two, &key).await.status, 200);
    // Its heartbeats and the news for it take no place.
    until("the leader knows what it owes", async || {
        let two = peer(&one, "sp-2").await?;
        (two["unsynced"] == json!(1) && two["is_active"] == json!(true)).then_some(())
    })
    .await;
    one.post("/admin/v1/users", json!({ "name": "bob" })).await;
    let bob = one.key_of("bob").await;
    until("the follower knows bob", async || (ask(&two, &bob).await.status == 200).then_some(())).await;
    let owed = two.usage().await.len();
    assert_eq!(one.get("/admin/v1/stats").await["request_count"], json!(pushed));

    // A push that breaks off leaves its place, as one does that ends.
    let broken_off = begun.split_off(PUSHES / 2);
    let ended = begun.len();
    for mut push in broken_off {
        push.stream.send_reset(Reason::CANCEL);
    }
    for push in begun {
        assert_eq!(push.end().await, Code::Ok);
    }
    booked(&one, usize::try_from(pushed).unwrap() + ended + owed).await;
    until("nothing is owed", async || (peer(&one, "sp-2").await?["unsynced"] == json!(0)).then_some(()))
        .await;
}
