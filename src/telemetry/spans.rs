//! Spans for OpenTelemetry: one for each call that is in the books, with its failed attempts as children, and one for each
//! push to a leader. They are made of what was measured, after it is over, so a request does not carry them along.
//!
//! Nobody waits for a collector. What is to be exported waits in a queue of bounded length; what finds no room, and what a
//! collector does not take after a few tries, is dropped and counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::transport::ClientTlsConfig;

use super::scrape::counter;
use super::span_data::{self, CallSpan, CallSpanId, PushSpan};
use crate::domain::ids::NodeId;

/// Calls and pushes that may wait to be exported.
const WAITING_MAX: usize = 4_096;
/// Spans in one export, about.
const BATCH: usize = 512;
/// An export that is not full waits so long for more.
const GATHER_MAX: Duration = Duration::from_secs(1);
/// A collector may take so long.
const EXPORT_MAX: Duration = Duration::from_secs(10);
/// A batch that a collector does not take is dropped after so many tries.
const TRIES: u32 = 4;
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// What the end of the process waits for the last export.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// A collector, and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collecting<'c> {
    /// gRPC at `http://collector:4317`, for example.
    Grpc(&'c str),
    /// Protobuf over HTTP at `http://collector:4318`, for example, with or without the path `/v1/traces`.
    Http(&'c str),
}

/// Where spans are given. Cheap to clone.
#[derive(Clone)]
pub struct Spans {
    sender: mpsc::Sender<Item>,
    counts: Arc<Counts>,
    /// Of 2^62.
    threshold: u64,
}

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
}

enum Item {
    Call(Box<CallSpan>),
    Push(PushSpan),
}

/// Exports what is given to [`Spans`]. Has to be run.
pub struct SpanWriter {
    exporter: SpanExporter,
    receiver: mpsc::Receiver<Item>,
    counts: Arc<Counts>,
}

/// The exporter cannot be made from what the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(#[from] ExporterBuildError),
    #[error("telemetry.otlp_endpoint: {0}")]
    Client(#[from] reqwest::Error),
}

impl Spans {
    /// `sample` is the share of calls that have spans where their callers have not decided: 0 to 1.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn open(at: Collecting<'_>, sample: f64, node: &NodeId) -> Result<(Self, SpanWriter), Error> {
        let mut exporter = exporter(at)?;
        let resource = Resource::builder()
            .with_service_name("sproxy")
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(opentelemetry::KeyValue::new("service.instance.id", node.as_str().to_owned()))
            .build();
        exporter.set_resource(&resource);
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let counts = Arc::<Counts>::default();
        let spans = Self { sender, counts: Arc::clone(&counts), threshold: threshold(sample) };
        Ok((spans, SpanWriter { exporter, receiver, counts }))
    }

    /// Whether a call has a span: its caller decides, else its number.
    #[must_use]
    pub fn samples(&self, call: &CallSpanId) -> bool {
        match call.parent {
            Some(parent) => parent.is_sampled,
            None => call.span_id() & (SHARES - 1) < self.threshold,
        }
    }

    pub fn call(&self, span: Box<CallSpan>) {
        self.send(Item::Call(span));
    }

    pub fn push(&self, span: PushSpan) {
        self.send(Item::Push(span));
    }

    fn send(&self, item: Item) {
        if self.sender.try_send(item).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Numbers of calls end with 62 random bits.
const SHARES: u64 = 1 << 62;

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of 2^62"
)]
fn threshold(sample: f64) -> u64 {
    (sample.clamp(0.0, 1.0) * SHARES as f64) as u64
}

fn exporter(at: Collecting<'_>) -> Result<SpanExporter, Error> {
    let builder = SpanExporter::builder();
    Ok(match at {
        Collecting::Grpc(endpoint) => {
            let mut builder = builder.with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_MAX);
            if endpoint.starts_with("https://") {
                builder = builder.with_tls_config(ClientTlsConfig::new().with_webpki_roots());
            }
            builder.build()?
        }
        Collecting::Http(endpoint) => {
            let endpoint = endpoint.trim_end_matches('/');
            let path = if endpoint.ends_with("/v1/traces") { "" } else { "/v1/traces" };
            let client = reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .timeout(EXPORT_MAX)
                .build()?;
            let builder = builder.with_http().with_http_client(client).with_protocol(Protocol::HttpBinary);
            builder.with_endpoint(format!("{endpoint}{path}")).with_timeout(EXPORT_MAX).build()?
        }
    })
}

impl SpanWriter {
    /// Exports until the node leaves, then what is left, for a moment.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        while let Some(Some(first)) = stop.run_until_cancelled(self.receiver.recv()).await {
            add(&mut batch, first);
            let gathered = Instant::now() + GATHER_MAX;
            while batch.len() < BATCH {
                match timeout_at(gathered, self.receiver.recv()).await {
                    Ok(Some(item)) => add(&mut batch, item),
                    Ok(None) | Err(_) => break,
                }
                if stop.is_cancelled() {
                    break;
                }
            }
            if stop.run_until_cancelled(self.export(std::mem::take(&mut batch))).await.is_none() {
                return;
            }
        }
        while let Ok(item) = self.receiver.try_recv() {
            add(&mut batch, item);
        }
        if !batch.is_empty() {
            let count = batch.len() as u64;
            match timeout(LAST_EXPORT, self.exporter.export(batch)).await {
                Ok(Ok(())) => self.counts.exported.fetch_add(count, Ordering::Relaxed),
                _ => self.counts.dropped.fetch_add(count, Ordering::Relaxed),
            };
        }
    }

    async fn export(&self, batch: Vec<SpanData>) {
        let (count, mut wait) = (batch.len() as u64, FIRST_RETRY);
        for attempt in 1..=TRIES {
            let said = timeout(EXPORT_MAX, self.exporter.export(batch.clone())).await;
            let reason = match said {
                Ok(Ok(())) => {
                    self.counts.exported.fetch_add(count, Ordering::Relaxed);
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {EXPORT_MAX:?}"),
            };
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            if attempt == TRIES {
                tracing::warn!(%reason, spans = count, "the collector does not take spans: they are dropped");
                break;
            }
            sleep(wait).await;
            wait *= 2;
        }
        self.counts.dropped.fetch_add(count, Ordering::Relaxed);
    }
}

fn add(batch: &mut Vec<SpanData>, item: Item) {
    match item {
        Item::Call(span) => span_data::of_call(*span, batch),
        Item::Push(span) => batch.push(span_data::of_push(span)),
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spans")
    }
}

impl Collector for Spans {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let Counts { exported, dropped, failures } = &*self.counts;
        for (name, help, count) in [
            ("sproxy_spans_exported", "Spans that a collector has taken.", exported),
            (
                "sproxy_spans_dropped",
                "Spans, and calls and pushes with theirs, that were dropped: the collector is away or slow.",
                dropped,
            ),
            ("sproxy_span_export_failures", "Exports of spans that failed.", failures),
        ] {
            counter(&mut to, name, help, count.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}
