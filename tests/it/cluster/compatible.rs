//! Nodes of different versions in one cluster. `tests/fixtures/wire` keeps the descriptors of messages as they once were:
//! what is in them stays on the wire as it was, and nodes that say and understand no more than that work with nodes of
//! today, whichever leads.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::Bytes;
use futures_util::{Stream, StreamExt};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value as Field};
use prost_types::{DescriptorProto, FileDescriptorSet};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Service;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse, uri::PathAndQuery};
use tonic::server::{NamedService, StreamingService};
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

use super::{Traffic, ask, compare_books, follower, follower_of, leader, ready, settled};
use crate::harness::{Mock, Node, until};

/// The messages before several leaders, terms and registrations were told on the wire.
const OLD: &[u8] = include_bytes!("../../fixtures/wire/2026-11-23.binpb");

#[test]
fn what_was_on_the_wire_once_stays_as_it_was() {
    let (old, new) = (
        FileDescriptorSet::decode(OLD).unwrap(),
        FileDescriptorSet::decode(sproxy::wire::DESCRIPTORS).unwrap(),
    );
    let is_ours = |package: &str| package.starts_with("sproxy.");
    let messages = |set: &FileDescriptorSet| -> BTreeMap<String, DescriptorProto> {
        let files = set.file.iter().filter(|file| is_ours(file.package()));
        files.flat_map(|file| &file.message_type).map(|of| (of.name().to_owned(), of.clone())).collect()
    };
    let (before, after) = (messages(&old), messages(&new));
    assert!(before.len() >= 15, "{before:?}");
    for (name, message) in &before {
        let now = after.get(name).unwrap_or_else(|| panic!("{name} is gone"));
        for field in &message.field {
            let kept = now.field.iter().find(|other| other.number() == field.number());
            let kept = kept.unwrap_or_else(|| panic!("{name}.{} is gone", field.name()));
            assert_eq!(
                (kept.name(), kept.r#type, kept.label, kept.type_name()),
                (field.name(), field.r#type, field.label, field.type_name()),
                "{name}.{}",
                field.name()
            );
        }
    }
    let services = |set: &FileDescriptorSet| -> BTreeMap<String, (String, String, bool, bool)> {
        let of_files = set.file.iter().filter(|file| is_ours(file.package())).flat_map(|file| &file.service);
        let methods = of_files.flat_map(|service| {
            service.method.iter().map(|method| {
                let name = format!("{}/{}", service.name(), method.name());
                let (input, output) = (method.input_type().to_owned(), method.output_type().to_owned());
                (name, (input, output, method.client_streaming(), method.server_streaming()))
            })
        });
        methods.collect()
    };
    let now = services(&new);
    for (name, method) in services(&old) {
        assert_eq!(now.get(&name), Some(&method), "{name}");
    }
}

/// Everything that both sides say passes as a node of that time would have said and understood it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_today_and_one_that_knows_only_what_once_was_keep_one_set_of_books() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let old = OldWire::to(one.grpc.unwrap()).await;
    let setup = follower_of(&mock, &format!("http://{}", old.address)).section("node", "id = \"sp-2\"");
    let mut two = setup.start().await;
    ready(&two).await;
    let key = one.user_with_key("alice").await;
    until("the follower knows the key", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    let mut traffic = Traffic::on(&[&two], &key, 4);
    traffic.more(60).await;
    one.kill().await;
    traffic.more(60).await;
    one.restart().await;
    traffic.more(60).await;
    two.kill().await;
    two.restart().await;
    ready(&two).await;
    traffic.more(60).await;
    let received = traffic.end().await;
    compare_books(&one, &received).await;
    settled(&one, &[&two]).await;
    super::disable(&one, "alice").await;
    until("the follower hears of it", async || (ask(&two, &key).await.status == 403).then_some(())).await;
    // What was refused meanwhile is in the books, too.
    until("the follower is active and owes nothing", async || {
        let peer = super::peer(&one, "sp-2").await?;
        (peer["is_active"] == json!(true) && peer["unsynced"] == json!(0)).then_some(())
    })
    .await;
    assert!(old.dropped() > 100, "there was something that it does not know: {}", old.dropped());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_knows_only_admins_and_users_takes_the_others_for_users_and_one_of_today_knows_them() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let old = OldWire::to(one.grpc.unwrap()).await;
    let setup = follower_of(&mock, &format!("http://{}", old.address)).section("node", "id = \"sp-2\"");
    let (two, three) = (setup.start().await, follower(&mock, &one, "sp-3").await);
    ready(&two).await;
    one.post("/admin/v1/groups", json!({ "name": "devs" })).await;
    for user in [
        json!({ "name": "dora", "group": "devs" }),
        json!({ "name": "mia", "role": "manager", "manages": ["devs"] }),
        json!({ "name": "ada", "role": "auditor" }),
    ] {
        one.post("/admin/v1/users", user).await;
    }
    let (manager, auditor) = (one.key_of("mia").await, one.key_of("ada").await);
    let get = async |node: &Node, key: &str, path: &str| {
        let answer = node.http.get(node.url(path)).bearer_auth(key).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<serde_json::Value>().await.unwrap())
    };
    for node in [&two, &three] {
        until("the follower knows the keys", async || {
            (ask(node, &manager).await.status == 200 && ask(node, &auditor).await.status == 200).then_some(())
        })
        .await;
    }
    let (status, seen) = get(&three, &manager, "/admin/v1/users").await;
    assert_eq!(
        (status, seen["items"].as_array().unwrap().len(), &seen["items"][0]["name"]),
        (200, 1, &json!("dora"))
    );
    assert_eq!(get(&three, &auditor, "/admin/v1/peers").await.0, 200);
    for (key, path) in [(&manager, "/admin/v1/users"), (&auditor, "/admin/v1/peers")] {
        let (status, problem) = get(&two, key, path).await;
        assert_eq!(status, 403);
        assert!(problem["detail"].as_str().unwrap().ends_with("yours is user"), "{problem}");
    }
    // What the leader is asked for, it decides.
    assert_eq!(get(&two, &manager, "/admin/v1/stats").await.0, 200);
    let demoted =
        one.call(reqwest::Method::PATCH, "/admin/v1/users/mia", Some(json!({ "role": "user" }))).await;
    assert!(demoted.status().is_success());
    until("the follower hears of it", async || {
        (get(&three, &manager, "/admin/v1/users").await.0 == 403).then_some(())
    })
    .await;
}

/// A link between a follower and its leader that carries only what the old messages have.
struct OldWire {
    address: SocketAddr,
    dropped: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl OldWire {
    async fn to(leader: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dropped = Arc::<AtomicU64>::default();
        let channel = Channel::from_shared(format!("http://{leader}")).unwrap().connect_lazy();
        let relay =
            Relay { pool: DescriptorPool::decode(OLD).unwrap(), channel, dropped: Arc::clone(&dropped) };
        let serving = tokio::spawn(async move {
            let server = Server::builder().add_service(relay);
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { address, dropped, serving }
    }

    /// How many fields it has dropped.
    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for OldWire {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Relay {
    pool: DescriptorPool,
    channel: Channel,
    dropped: Arc<AtomicU64>,
}

impl NamedService for Relay {
    const NAME: &'static str = "sproxy.v1.Cluster";
}

impl Service<HttpRequest<Body>> for Relay {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let (relay, path) = (self.clone(), request.uri().path().to_owned());
        Box::pin(async move {
            let mut server = tonic::server::Grpc::new(Raw)
                .accept_compressed(CompressionEncoding::Zstd)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(64 << 20);
            Ok(server.streaming(Call { relay, path }, request).await)
        })
    }
}

/// One call, of whatever kind: a single message is a stream of one.
struct Call {
    relay: Relay,
    path: String,
}

impl StreamingService<Bytes> for Call {
    type Response = Bytes;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (relay, path) = (self.relay.clone(), self.path.clone());
        Box::pin(async move {
            let (service, method) = path.trim_start_matches('/').split_once('/').unwrap();
            let service = relay.pool.get_service_by_name(service).unwrap();
            let Some(method) = service.methods().find(|known| known.name() == method) else {
                return Err(Status::unimplemented(format!("{path} is not known here")));
            };
            let (metadata, _, asked) = request.into_parts();
            let asking = relay.clone();
            let input = method.input();
            let asked = asked.filter_map(move |message| {
                let passed = message.ok().map(|message| asking.pass(&input, message));
                std::future::ready(passed)
            });
            let mut asked = Request::new(asked);
            if let Some(secret) = metadata.get("authorization") {
                asked.metadata_mut().insert("authorization", secret.clone());
            }
            let mut client = tonic::client::Grpc::new(relay.channel.clone())
                .accept_compressed(CompressionEncoding::Zstd)
                .max_decoding_message_size(64 << 20);
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let path: PathAndQuery = path.parse().unwrap();
            let said = client.streaming(asked, path, Raw).await?.into_inner();
            let output = method.output();
            let said = said.map(move |message| message.map(|message| relay.pass(&output, message)));
            Ok(Response::new(Box::pin(said) as Self::ResponseStream))
        })
    }
}

impl Relay {
    /// A message without what the old ones do not have.
    fn pass(&self, kind: &MessageDescriptor, message: Bytes) -> Bytes {
        let mut read = DynamicMessage::decode(kind.clone(), message).unwrap();
        self.strip(&mut read);
        read.encode_to_vec().into()
    }

    fn strip(&self, message: &mut DynamicMessage) {
        let dropped = message.take_unknown_fields().count();
        self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        for (_, field) in message.fields_mut() {
            self.strip_field(field);
        }
    }

    fn strip_field(&self, field: &mut Field) {
        match field {
            Field::Message(message) => self.strip(message),
            Field::List(items) => items.iter_mut().for_each(|item| self.strip_field(item)),
            Field::Map(items) => items.values_mut().for_each(|item| self.strip_field(item)),
            _ => {}
        }
    }
}

/// Messages as bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(to, item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = bytes::Buf::remaining(from);
        Ok(Some(bytes::Buf::copy_to_bytes(from, length)))
    }
}
