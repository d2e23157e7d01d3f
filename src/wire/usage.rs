//! Usage records on the wire.

use std::sync::Arc;

use prost::Message as _;
use uuid::Uuid;

use crate::domain::price::{Factor, LongContext, Price, Rates};
use crate::domain::usage::{Attempt, Part, Tokens, UsageLog, UsageRecord};
use crate::wire::malformed::{Malformed, parse, parse_some};
use crate::wire::{moment, v1};

/// The longest text of a record: names, models and hints are far shorter, and a node cuts them long before.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// More steps of one answer, or factors of one price, than any node writes.
pub const LIST_MAX: usize = 32;

/// A row as the statistics service shows it.
#[must_use]
pub fn log_to_wire(log: &UsageLog) -> v1::UsageLog {
    v1::UsageLog { synced: log.synced, dismissed: log.dismissed, ..to_wire(&log.record) }
}

/// A record as a node pushes it.
#[must_use]
pub fn to_wire(record: &UsageRecord) -> v1::UsageLog {
    let tokens = record.tokens;
    v1::UsageLog {
        request_id: id_text(record.request_id.0),
        user_id: id_text(record.user_id.0),
        user: record.user.to_string(),
        group_id: record.group_id.map(|id| id_text(id.0)).unwrap_or_default(),
        group: record.group.as_deref().unwrap_or_default().to_owned(),
        model: record.model.to_string(),
        actual_model: record.actual_model.to_string(),
        provider: record.provider.as_str().to_owned(),
        target: record.target.to_string(),
        upstream_url: record.upstream_url.to_string(),
        input_tokens: tokens.input,
        output_tokens: tokens.output,
        total_tokens: tokens.total(),
        cache_read_tokens: tokens.cache_read,
        cache_write_tokens: tokens.cache_write,
        cache_write_1h_tokens: tokens.cache_write_1h,
        reasoning_tokens: tokens.reasoning,
        token_source: record.token_source.as_str().to_owned(),
        outcome: record.outcome.as_str().to_owned(),
        is_streaming: record.is_streaming,
        status_code: u32::from(record.status_code),
        duration_ms: record.duration_ms,
        ttfb_ms: record.ttfb_ms,
        cost_nanousd: record.cost_nanousd,
        price: Some(price_to_wire(&record.price)),
        session_id: record.session_id.clone(),
        agent_id: record.agent_id.clone(),
        client_request_id: record.client_request_id.clone(),
        converted_from: record.converted_from.clone(),
        source_node: record.source_node.to_string(),
        created_at: Some(moment::to_wire(record.created_at)),
        synced: false,
        dismissed: false,
        parts: record.parts.iter().map(part_to_wire).collect(),
        attempts: record.attempts.iter().map(attempt_to_wire).collect(),
    }
}

/// A record as bytes, for a file.
#[must_use]
pub fn encode(record: &UsageRecord) -> Vec<u8> {
    to_wire(record).encode_to_vec()
}

/// A record out of a file.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<UsageRecord, String> {
    let log = v1::UsageLog::decode(bytes).map_err(|error| error.to_string())?;
    from_wire(log).map_err(|error| error.to_string())
}

/// Like `to_string`, at a fifth of its cost.
fn id_text(id: Uuid) -> String {
    id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}

/// A pushed record, as it came: its cost is the sender's, so that the leader's totals equal the nodes' to the last
/// unit.
///
/// # Errors
/// [`Malformed`] with the first field that is not valid.
pub fn from_wire(log: v1::UsageLog) -> Result<UsageRecord, Malformed> {
    check_lengths(&log)?;
    Ok(UsageRecord {
        request_id: parse("request_id", &log.request_id)?,
        user_id: parse("user_id", &log.user_id)?,
        user: log.user.into(),
        group_id: parse_some("group_id", &log.group_id)?,
        group: (!log.group.is_empty()).then(|| log.group.into()),
        model: log.model.into(),
        actual_model: log.actual_model.into(),
        provider: parse("provider", &log.provider)?,
        target: log.target.into(),
        upstream_url: log.upstream_url.into(),
        tokens: tokens(&[
            ("input_tokens", log.input_tokens),
            ("output_tokens", log.output_tokens),
            ("cache_read_tokens", log.cache_read_tokens),
            ("cache_write_tokens", log.cache_write_tokens),
            ("cache_write_1h_tokens", log.cache_write_1h_tokens),
            ("reasoning_tokens", log.reasoning_tokens),
        ])?,
        token_source: parse("token_source", &log.token_source)?,
        outcome: parse("outcome", &log.outcome)?,
        is_streaming: log.is_streaming,
        status_code: u16::try_from(log.status_code)
            .map_err(|_| Malformed::invalid("status_code", "is no HTTP status"))?,
        duration_ms: log.duration_ms,
        ttfb_ms: log.ttfb_ms,
        price: Arc::new(price_from_wire(log.price.ok_or_else(|| Malformed::missing("price"))?)),
        parts: log.parts.into_iter().map(part_from_wire).collect::<Result<_, _>>()?,
        attempts: log.attempts.into_iter().map(attempt_from_wire).collect::<Result<_, _>>()?,
        cost_nanousd: log.cost_nanousd,
        session_id: log.session_id,
        agent_id: log.agent_id,
        client_request_id: log.client_request_id,
        converted_from: log.converted_from,
        source_node: parse("source_node", &log.source_node)?,
        created_at: moment::required("created_at", log.created_at)?,
    })
}

fn check_lengths(log: &v1::UsageLog) -> Result<(), Malformed> {
    let texts = [
        ("user", log.user.len()),
        ("group", log.group.len()),
        ("model", log.model.len()),
        ("actual_model", log.actual_model.len()),
        ("target", log.target.len()),
        ("upstream_url", log.upstream_url.len()),
        ("session_id", log.session_id.as_ref().map_or(0, String::len)),
        ("agent_id", log.agent_id.as_ref().map_or(0, String::len)),
        ("client_request_id", log.client_request_id.as_ref().map_or(0, String::len)),
        ("converted_from", log.converted_from.as_ref().map_or(0, String::len)),
    ];
    let prices = log.price.iter().chain(log.parts.iter().filter_map(|part| part.price.as_ref()));
    let is_small = |price: &v1::Price| {
        let factors = price.factors.iter().map(|factor| factor.name.len()).chain([price.glob.len()]);
        price.factors.len() <= LIST_MAX && factors.max().is_none_or(|longest| longest <= TEXT_BYTES_MAX)
    };
    let names = log.parts.iter().map(|part| part.model.len()).max().unwrap_or(0);
    if log.parts.len() > LIST_MAX || names > TEXT_BYTES_MAX {
        return Err(Malformed::invalid("parts", "are more, or longer, than any node writes"));
    }
    let texts_of = |attempt: &v1::Attempt| {
        [&attempt.target, &attempt.key, &attempt.model, &attempt.reason].map(String::len).into_iter().max()
    };
    let longest = log.attempts.iter().filter_map(texts_of).max().unwrap_or(0);
    if log.attempts.len() > LIST_MAX || longest > TEXT_BYTES_MAX {
        return Err(Malformed::invalid("attempts", "are more, or longer, than any node writes"));
    }
    if !prices.into_iter().all(is_small) {
        return Err(Malformed::invalid("price", "is longer than any node writes"));
    }
    match texts.into_iter().find(|(_, bytes)| *bytes > TEXT_BYTES_MAX) {
        Some((field, _)) => Err(Malformed::invalid(field, format!("is longer than {TEXT_BYTES_MAX} bytes"))),
        None => Ok(()),
    }
}

/// Token counts in the order of [`Tokens`]; databases keep them as signed 64-bit integers.
fn tokens(classes: &[(&'static str, u64); 6]) -> Result<Tokens, Malformed> {
    if let Some((field, _)) = classes.iter().find(|(_, count)| i64::try_from(*count).is_err()) {
        return Err(Malformed::invalid(field, "is larger than any count"));
    }
    let [input, output, cache_read, cache_write, cache_write_1h, reasoning] = classes.map(|(_, count)| count);
    Ok(Tokens { input, output, cache_read, cache_write, cache_write_1h, reasoning })
}

fn part_to_wire(part: &Part) -> v1::Part {
    v1::Part {
        model: part.model.clone(),
        input_tokens: part.input_tokens,
        output_tokens: part.output_tokens,
        cache_read_tokens: part.cache_read_tokens,
        cache_write_tokens: part.cache_write_tokens,
        cache_write_1h_tokens: part.cache_write_1h_tokens,
        reasoning_tokens: part.reasoning_tokens,
        cost_nanousd: part.cost_nanousd,
        price: Some(price_to_wire(&part.price)),
    }
}

fn part_from_wire(part: v1::Part) -> Result<Part, Malformed> {
    let Tokens { input, output, cache_read, cache_write, cache_write_1h, reasoning } = tokens(&[
        ("parts", part.input_tokens),
        ("parts", part.output_tokens),
        ("parts", part.cache_read_tokens),
        ("parts", part.cache_write_tokens),
        ("parts", part.cache_write_1h_tokens),
        ("parts", part.reasoning_tokens),
    ])?;
    Ok(Part {
        model: part.model,
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: cache_read,
        cache_write_tokens: cache_write,
        cache_write_1h_tokens: cache_write_1h,
        reasoning_tokens: reasoning,
        cost_nanousd: part.cost_nanousd,
        price: price_from_wire(part.price.ok_or_else(|| Malformed::missing("parts.price"))?),
    })
}

fn attempt_to_wire(attempt: &Attempt) -> v1::Attempt {
    v1::Attempt {
        target: attempt.target.clone(),
        key: attempt.key.clone(),
        model: attempt.model.clone(),
        reason: attempt.reason.clone(),
        status_code: attempt.status_code.map(u32::from),
        duration_ms: attempt.duration_ms,
        input_tokens: attempt.input_tokens,
        output_tokens: attempt.output_tokens,
        cost_nanousd: attempt.cost_nanousd,
    }
}

fn attempt_from_wire(attempt: v1::Attempt) -> Result<Attempt, Malformed> {
    let is_count = |count| i64::try_from(count).is_ok();
    if !is_count(attempt.input_tokens) || !is_count(attempt.output_tokens) {
        return Err(Malformed::invalid("attempts", "is larger than any count"));
    }
    let status = attempt.status_code.map(u16::try_from).transpose();
    Ok(Attempt {
        target: attempt.target,
        key: attempt.key,
        model: attempt.model,
        reason: attempt.reason,
        status_code: status.map_err(|_| Malformed::invalid("attempts.status_code", "is no HTTP status"))?,
        duration_ms: attempt.duration_ms,
        input_tokens: attempt.input_tokens,
        output_tokens: attempt.output_tokens,
        cost_nanousd: attempt.cost_nanousd,
    })
}

fn price_to_wire(price: &Price) -> v1::Price {
    v1::Price {
        base: Some(rates_to_wire(&price.base)),
        long_context: price.long_context.map(|tier| rates_to_wire(&tier.rates)),
        long_context_above: price.long_context.map_or(0, |tier| tier.above_input_tokens),
        glob: price.glob.clone(),
        factors: price
            .factors
            .iter()
            .map(|factor| v1::Factor { name: factor.name.clone(), millionths: factor.millionths })
            .collect(),
    }
}

fn price_from_wire(price: v1::Price) -> Price {
    Price {
        base: rates_from_wire(price.base.unwrap_or_default()),
        long_context: price.long_context.map(|rates| LongContext {
            above_input_tokens: price.long_context_above,
            rates: rates_from_wire(rates),
        }),
        glob: price.glob,
        factors: price
            .factors
            .into_iter()
            .map(|factor| Factor { name: factor.name, millionths: factor.millionths })
            .collect(),
    }
}

fn rates_to_wire(rates: &Rates) -> v1::Rates {
    v1::Rates {
        input: rates.input,
        output: rates.output,
        cache_read: rates.cache_read,
        cache_write: rates.cache_write,
        cache_write_1h: rates.cache_write_1h,
    }
}

fn rates_from_wire(rates: v1::Rates) -> Rates {
    Rates {
        input: rates.input,
        output: rates.output,
        cache_read: rates.cache_read,
        cache_write: rates.cache_write,
        cache_write_1h: rates.cache_write_1h,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{GroupId, RequestId, UserId};
    use crate::domain::provider::Provider;
    use crate::domain::usage::{Outcome, TokenSource};

    /// Every field has a value of its own, so that no two can be mixed up unseen.
    fn record() -> UsageRecord {
        let rates = |n| Rates {
            input: n,
            output: n + 1,
            cache_read: n + 2,
            cache_write: n + 3,
            cache_write_1h: n + 4,
        };
        UsageRecord {
            request_id: RequestId::new(),
            user_id: UserId::new(),
            user: "alice".into(),
            group_id: Some(GroupId::new()),
            group: Some("research".into()),
            model: "asked".into(),
            actual_model: "answered".into(),
            provider: Provider::Gemini,
            target: "target".into(),
            upstream_url: "https://upstream".into(),
            tokens: Tokens {
                input: 11,
                output: 12,
                cache_read: 1,
                cache_write: 2,
                cache_write_1h: 3,
                reasoning: 4,
            },
            token_source: TokenSource::Estimated,
            outcome: Outcome::ClientGone,
            is_streaming: true,
            status_code: 299,
            duration_ms: 21,
            ttfb_ms: Some(22),
            price: Arc::new(Price {
                base: rates(100),
                long_context: Some(LongContext { above_input_tokens: 200_000, rates: rates(200) }),
                glob: "claude-*".to_owned(),
                factors: vec![Factor { name: "flex".to_owned(), millionths: 500_000 }],
            }),
            parts: vec![
                Part::new("answered", Tokens { input: 7, output: 8, ..Tokens::default() }, &Price::default()),
                Part {
                    model: "advisor".to_owned(),
                    input_tokens: 51,
                    output_tokens: 52,
                    cache_read_tokens: 53,
                    cache_write_tokens: 54,
                    cache_write_1h_tokens: 55,
                    reasoning_tokens: 56,
                    cost_nanousd: 57,
                    price: Price { glob: "default".to_owned(), ..Price::default() },
                },
            ],
            attempts: vec![Attempt {
                target: "first".to_owned(),
                key: "a".to_owned(),
                model: "sent".to_owned(),
                reason: "overloaded".to_owned(),
                status_code: Some(529),
                duration_ms: 61,
                input_tokens: 62,
                output_tokens: 63,
                cost_nanousd: 64,
            }],
            cost_nanousd: 31,
            session_id: Some("session".to_owned()),
            agent_id: Some("agent".to_owned()),
            client_request_id: Some("client".to_owned()),
            converted_from: Some("anthropic-messages".to_owned()),
            source_node: "sp-7".parse().expect("a node id"),
            created_at: "2026-11-22T10:00:00.123456Z".parse().expect("a time"),
        }
    }

    #[test]
    fn a_record_arrives_as_it_was_sent() {
        let full = record();
        assert_eq!(from_wire(to_wire(&full)).expect("readable"), full);
        let bare = UsageRecord {
            group_id: None,
            group: None,
            ttfb_ms: None,
            session_id: None,
            agent_id: None,
            client_request_id: None,
            converted_from: None,
            price: Arc::default(),
            parts: Vec::new(),
            ..full
        };
        assert_eq!(from_wire(to_wire(&bare)).expect("readable"), bare);
    }

    #[test]
    fn a_record_that_no_ledger_can_hold_is_refused_with_the_field_that_is_wrong() {
        let sent = to_wire(&record());
        let broken = [
            ("request_id", v1::UsageLog { request_id: "x".to_owned(), ..sent.clone() }),
            ("provider", v1::UsageLog { provider: "acme".to_owned(), ..sent.clone() }),
            ("output_tokens", v1::UsageLog { output_tokens: u64::MAX, ..sent.clone() }),
            ("price", v1::UsageLog { price: None, ..sent.clone() }),
            ("created_at", v1::UsageLog { created_at: None, ..sent.clone() }),
            ("model", v1::UsageLog { model: "m".repeat(TEXT_BYTES_MAX + 1), ..sent.clone() }),
            ("status_code", v1::UsageLog { status_code: 70_000, ..sent }),
        ];
        for (field, log) in broken {
            assert_eq!(from_wire(log).expect_err(field).field, field);
        }
    }
}
