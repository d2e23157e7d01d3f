//! Usage records for tests.

use std::sync::Arc;

use sproxy::domain::clock::Timestamp;
use sproxy::domain::ids::{GroupId, NodeId, RequestId, UserId};
use sproxy::domain::price::{Price, Rates};
use sproxy::domain::provider::Provider;
use sproxy::domain::summary::Totals;
use sproxy::domain::usage::{Outcome, TokenSource, Tokens, UsageRecord};
use uuid::Uuid;

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

pub fn node(name: &str) -> NodeId {
    name.parse().expect("a node's name")
}

/// The user with this number, always the same.
pub fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(0x1000 + number))
}

/// The group with this number, always the same.
pub fn group(number: u128) -> GroupId {
    GroupId(Uuid::from_u128(0x2000 + number))
}

/// A successful call of user 1 without a group, 100 tokens in and 10 out, 1 µ$.
pub fn record(created_at: Timestamp) -> UsageRecord {
    UsageRecord {
        request_id: RequestId::new(),
        user_id: user(1),
        user: "alice".into(),
        group_id: None,
        group: None,
        model: "claude-sonnet-4-5".into(),
        actual_model: "claude-sonnet-4-5-20250929".into(),
        provider: Provider::Anthropic,
        target: "anthropic".into(),
        upstream_url: "https://api.anthropic.com".into(),
        tokens: Tokens {
            input: 100,
            output: 10,
            cache_read: 60,
            cache_write: 20,
            cache_write_1h: 5,
            reasoning: 3,
        },
        token_source: TokenSource::Reported,
        outcome: Outcome::Ok,
        is_streaming: true,
        status_code: 200,
        duration_ms: 1_234,
        ttfb_ms: Some(210),
        price: Arc::new(Price { base: Rates { input: 3_000_000, ..Rates::default() }, ..Price::default() }),
        parts: Vec::new(),
        attempts: Vec::new(),
        cost_nanousd: 1_000,
        session_id: Some("0191a1b2-session".to_owned()),
        agent_id: None,
        client_request_id: Some("req-1".to_owned()),
        converted_from: Some("openai-responses".to_owned()),
        source_node: node("sp-1"),
        created_at,
    }
}

/// What records add up to, added up here.
pub fn sum<'r>(records: impl IntoIterator<Item = &'r UsageRecord>) -> Totals {
    let mut totals = Totals::default();
    for record in records {
        totals.add(&Totals {
            total_input: record.tokens.input,
            total_output: record.tokens.output,
            total_tokens: record.tokens.total(),
            request_count: 1,
            error_count: u64::from(record.is_error()),
            cost_nanousd: record.cost_nanousd,
            cache_read_tokens: record.tokens.cache_read,
            default_priced_requests: u64::from(record.is_default_priced()),
        });
    }
    totals
}

/// Numbers that look random and are the same in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, most: u64) -> u64 {
        // xorshift64*, <https://www.jstatsoft.org/article/view/v008i14>
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % most
    }

    /// A record of one of some users, groups, models, nodes and outcomes, somewhere in `[from, from + span)`.
    pub fn record(&mut self, from: Timestamp, span_micros: u64) -> UsageRecord {
        let created_at = Timestamp::from_micros(from.as_micros() + self.below(span_micros).cast_signed());
        let number = u128::from(self.below(7));
        let grouped = self.below(3);
        let outcomes = Outcome::ALL;
        let mut record = record(created_at);
        record.user_id = user(number);
        record.user = format!("user-{number}").into();
        record.group_id = (grouped > 0).then(|| group(grouped.into()));
        record.group = (grouped > 0).then(|| format!("group-{grouped}").into());
        record.model = format!("model-{}", self.below(3)).into();
        record.source_node = node(&format!("sp-{}", 1 + self.below(3)));
        record.outcome = outcomes[usize::try_from(self.below(outcomes.len() as u64)).expect("small")];
        record.tokens = Tokens { input: self.below(100_000), output: self.below(5_000), ..Tokens::default() };
        record.cost_nanousd = self.below(900_000_000).cast_signed();
        record
    }
}
