//! `[telemetry]`: what is told about calls beyond the log and the plain metrics.

use http::Uri;

use super::sections::{SpanConfig, SpanProtocol, TelemetryConfig};
use super::table::Table;

pub(super) fn read(table: &Table<'_>) -> TelemetryConfig {
    let endpoint = table.text("otlp_endpoint");
    if let Err(reason) = check_endpoint(&endpoint) {
        table.wrong("otlp_endpoint", reason);
    }
    let protocol =
        table.choice("otlp_protocol", &[("grpc", SpanProtocol::Grpc), ("http", SpanProtocol::Http)]);
    let sample = table.ratio("sample", 1.0);
    TelemetryConfig {
        spans: (!endpoint.is_empty()).then_some(SpanConfig { endpoint, protocol, sample }),
        user_metrics: table.flag("user_metrics"),
        genai_metrics: table.flag("genai_metrics"),
    }
}

/// Headers with credentials do not belong into an address, which is shown.
fn check_endpoint(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let expected = "write such as http://127.0.0.1:4317";
    let uri: Uri = text.parse().map_err(|error| format!("`{text}` is no address ({error}): {expected}"))?;
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(format!("`{text}` is no http or https address: {expected}"));
    };
    if authority.as_str().contains('@') {
        return Err("credentials belong into the variable OTEL_EXPORTER_OTLP_HEADERS, not into the address"
            .to_owned());
    }
    if uri.query().is_some() {
        return Err(format!("`{text}` has more than a path: {expected}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_that_can_be_called_and_shown() {
        for right in ["", "http://127.0.0.1:4317", "https://collector.example", "http://c:4318/v1/traces"] {
            assert_eq!(check_endpoint(right), Ok(()), "{right}");
        }
        for (wrong, said) in [
            ("127.0.0.1:4317", "no http or https address"),
            ("grpc://c:4317", "no http or https address"),
            ("http://", "no address"),
            ("http://user:pass@c:4317", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("http://c:4317?key=1", "more than a path"),
        ] {
            let refused = check_endpoint(wrong).expect_err(wrong);
            assert!(refused.contains(said), "{wrong}: {refused}");
        }
    }
}
