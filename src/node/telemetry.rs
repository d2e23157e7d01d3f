//! Who is told of calls and pushes, by `[telemetry]`.

use super::error::Error;
use super::supervisor::{Stage, Supervisor};
use crate::config::{SpanConfig, SpanProtocol, TelemetryConfig};
use crate::domain::ids::NodeId;
use crate::proxy::Reports;
use crate::telemetry::genai;
use crate::telemetry::spans::{Collecting, Spans};

/// Where spans are given, if the configuration names a collector.
pub(super) fn open_spans(
    config: &TelemetryConfig,
    id: &NodeId,
    supervisor: &mut Supervisor,
) -> Result<Option<Spans>, Error> {
    let Some(SpanConfig { endpoint, protocol, sample }) = &config.spans else { return Ok(None) };
    let at = match protocol {
        SpanProtocol::Grpc => Collecting::Grpc(endpoint),
        SpanProtocol::Http => Collecting::Http(endpoint),
    };
    let (spans, writer) = Spans::open(at, *sample, id).map_err(|error| Error::Unusable(error.to_string()))?;
    // The last calls have theirs, too.
    supervisor.spawn(Stage::Ledger, "spans", |stop| writer.run(stop));
    Ok(Some(spans))
}

/// Who is told of calls.
pub(super) fn reports(config: &TelemetryConfig, spans: Option<Spans>) -> Reports {
    Reports { spans, genai: config.genai_metrics.then(genai::Metrics::default) }
}
