//! A collector of traces: OTLP as its protocol files say, over gRPC and over HTTP.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Held;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};

use crate::harness::until;

/// A span with what was sent around it.
#[derive(Clone, Debug)]
pub struct Collected {
    pub span: Span,
    pub resource: HashMap<String, String>,
    pub scope: (String, String),
    pub schema: String,
}

impl Collected {
    pub fn name(&self) -> &str {
        &self.span.name
    }

    /// An attribute as text; empty if it is not there.
    pub fn get(&self, name: &str) -> String {
        texts(&self.span.attributes).remove(name).unwrap_or_default()
    }

    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn texts(attributes: &[KeyValue]) -> HashMap<String, String> {
    attributes.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Held::StringValue(text)) => text.clone(),
        Some(Held::IntValue(number)) => number.to_string(),
        Some(Held::BoolValue(flag)) => flag.to_string(),
        Some(Held::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<(Vec<Collected>, Vec<u8>)>>);

impl Kept {
    fn take(&self, request: ExportTraceServiceRequest) {
        let mut kept = self.0.lock().unwrap();
        kept.1.extend(request.encode_to_vec());
        for of_resource in request.resource_spans {
            let resource = texts(&of_resource.resource.unwrap_or_default().attributes);
            for of_scope in of_resource.scope_spans {
                let scope = of_scope.scope.unwrap_or_default();
                kept.0.extend(of_scope.spans.into_iter().map(|span| Collected {
                    span,
                    resource: resource.clone(),
                    scope: (scope.name.clone(), scope.version.clone()),
                    schema: of_scope.schema_url.clone(),
                }));
            }
        }
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A running collector.
pub struct Collector {
    pub address: SocketAddr,
    kept: Kept,
    headers: Arc<Mutex<Vec<HeaderMap>>>,
    serving: JoinHandle<()>,
}

impl Collector {
    pub async fn grpc() -> Self {
        Self::grpc_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn grpc_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, kept) = (listener.local_addr().unwrap(), Kept::default());
        let service = TraceServiceServer::new(kept.clone());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let serving = tokio::spawn(async move {
            let serving =
                tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
            serving.await.unwrap();
        });
        Self { address, kept, headers: Arc::default(), serving }
    }

    pub async fn http() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, kept) = (listener.local_addr().unwrap(), Kept::default());
        let headers = Arc::<Mutex<Vec<HeaderMap>>>::default();
        let (taker, seen) = (kept.clone(), Arc::clone(&headers));
        let take = async move |head: HeaderMap, body: Bytes| {
            seen.lock().unwrap().push(head);
            taker.take(ExportTraceServiceRequest::decode(body).unwrap());
            ExportTraceServiceResponse::default().encode_to_vec()
        };
        let routes = Router::new().route("/v1/traces", post(take));
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, kept, headers, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn spans(&self) -> Vec<Collected> {
        self.kept.0.lock().unwrap().0.clone()
    }

    /// Everything that was sent, as it was sent.
    pub fn bytes(&self) -> Vec<u8> {
        self.kept.0.lock().unwrap().1.clone()
    }

    pub fn headers(&self) -> Vec<HeaderMap> {
        self.headers.lock().unwrap().clone()
    }

    /// The span of a call.
    pub async fn span_of(&self, request_id: &str) -> Collected {
        until("the span of a call", async || {
            self.spans().into_iter().find(|span| span.get("sproxy.request_id") == request_id)
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
