//! The line of a call that is over, in the two forms of the log. `tracing` would take ten times as long for it as all the
//! counting of the call, so it is written by hand, in the same form as the others.

use std::io::Write;

use serde::Serialize;

use super::log::{CALLS, Format, write_line};
use crate::domain::plain_name::plain_name;
use crate::domain::usage::UsageRecord;

/// The fields of the line.
#[derive(Serialize)]
struct Fields<'r> {
    message: &'static str,
    request_id: String,
    user: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'r str>,
    provider: &'static str,
    model: &'r str,
    actual_model: &'r str,
    target: &'r str,
    outcome: &'static str,
    status: u16,
    stream: bool,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttfb_ms: Option<u64>,
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    reasoning_tokens: u64,
    token_source: &'static str,
    cost_nanousd: i64,
    attempts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    converted_from: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

#[derive(Serialize)]
struct Line<'r> {
    timestamp: String,
    level: &'static str,
    fields: Fields<'r>,
    target: &'static str,
}

/// Writes the line of a call, if the log has such lines.
pub fn log_call(record: &UsageRecord, trace_id: Option<u128>) {
    if !tracing::enabled!(target: CALLS, tracing::Level::INFO) {
        return;
    }
    let fields = fields(record, trace_id);
    let timestamp = record.created_at.to_string();
    write_line(|format, bytes| match format {
        Format::Json => {
            let before = bytes.len();
            let line = Line { timestamp, level: "INFO", fields, target: CALLS };
            // Into memory nothing fails but what cannot be written as JSON, and all of this can.
            if serde_json::to_writer(&mut *bytes, &line).is_err() {
                bytes.truncate(before);
            } else {
                bytes.push(b'\n');
            }
        }
        Format::Text => text(&timestamp, &fields, bytes),
    });
}

fn fields(record: &UsageRecord, trace_id: Option<u128>) -> Fields<'_> {
    let tokens = record.tokens;
    Fields {
        message: "call",
        request_id: record.request_id.to_string(),
        user: &record.user,
        group: record.group.as_deref(),
        provider: record.provider.as_str(),
        model: plain_name(&record.model),
        actual_model: plain_name(&record.actual_model),
        target: &record.target,
        outcome: record.outcome.as_str(),
        status: record.status_code,
        stream: record.is_streaming,
        duration_ms: record.duration_ms,
        ttfb_ms: record.ttfb_ms,
        input_tokens: tokens.input,
        output_tokens: tokens.output,
        cache_read_tokens: tokens.cache_read,
        cache_write_tokens: tokens.cache_write.saturating_add(tokens.cache_write_1h),
        reasoning_tokens: tokens.reasoning,
        token_source: record.token_source.as_str(),
        cost_nanousd: record.cost_nanousd,
        attempts: record.attempts.len(),
        converted_from: record.converted_from.as_deref(),
        session: record.session_id.as_deref().map(plain_name),
        trace_id: trace_id.map(|id| format!("{id:032x}")),
    }
}

/// Names with quotes around them, and what would break the line escaped.
fn text(timestamp: &str, fields: &Fields<'_>, bytes: &mut Vec<u8>) {
    // Into memory nothing fails.
    let mut put = |text: std::fmt::Arguments<'_>| {
        let _never_fails = bytes.write_fmt(text);
    };
    put(format_args!("{timestamp}  INFO {CALLS}: {} request_id={}", fields.message, fields.request_id));
    put(format_args!(" user={:?}", fields.user));
    if let Some(group) = fields.group {
        put(format_args!(" group={group:?}"));
    }
    put(format_args!(
        " provider={:?} model={:?} actual_model={:?} target={:?} outcome={:?} status={} stream={} duration_ms={}",
        fields.provider,
        fields.model,
        fields.actual_model,
        fields.target,
        fields.outcome,
        fields.status,
        fields.stream,
        fields.duration_ms,
    ));
    if let Some(ttfb) = fields.ttfb_ms {
        put(format_args!(" ttfb_ms={ttfb}"));
    }
    put(format_args!(
        " input_tokens={} output_tokens={} cache_read_tokens={} cache_write_tokens={} reasoning_tokens={} \
         token_source={:?} cost_nanousd={} attempts={}",
        fields.input_tokens,
        fields.output_tokens,
        fields.cache_read_tokens,
        fields.cache_write_tokens,
        fields.reasoning_tokens,
        fields.token_source,
        fields.cost_nanousd,
        fields.attempts,
    ));
    if let Some(api) = fields.converted_from {
        put(format_args!(" converted_from={api:?}"));
    }
    if let Some(session) = fields.session {
        put(format_args!(" session={session:?}"));
    }
    if let Some(trace_id) = &fields.trace_id {
        put(format_args!(" trace_id={trace_id:?}"));
    }
    put(format_args!("\n"));
}
