//! What a record may look like. A node brings its own records within bounds; a leader refuses what is outside, which
//! no honest node sends.

use std::ops::Deref;
use std::sync::Arc;

use crate::domain::usage::{Attempt, Part, Tokens, UsageRecord};

/// Tokens of one class in one request. Nine million records of this size still add up in 64 bits.
const TOKENS_MAX: u64 = 1_000_000_000_000;
/// Cost of one request in nano-USD: a million dollars.
const COST_MAX: i64 = 1_000_000_000_000_000;
/// A model, a target, a URL, a caller's hint, bytes.
const TEXT_MAX: usize = 512;
/// Steps of one request.
const PARTS_MAX: usize = 64;
/// Attempts of one request. `upstream.max_attempts` is less.
const ATTEMPTS_MAX: usize = 16;
/// 2020-01-01 and 2200-01-01, microseconds.
const TIMES: std::ops::Range<i64> = 1_577_836_800_000_000..7_258_118_400_000_000;

/// A record of this node whose texts and numbers are within bounds.
#[derive(Clone, Debug)]
pub struct ClampedRecord(UsageRecord);

impl ClampedRecord {
    pub(super) fn into_inner(self) -> UsageRecord {
        self.0
    }
}

impl From<UsageRecord> for ClampedRecord {
    fn from(record: UsageRecord) -> Self {
        Self(clamp(record))
    }
}

impl Deref for ClampedRecord {
    type Target = UsageRecord;

    fn deref(&self) -> &UsageRecord {
        &self.0
    }
}

/// The record with everything within bounds: texts cut, NUL characters (which PostgreSQL cannot hold) replaced,
/// counts and cost capped.
fn clamp(mut record: UsageRecord) -> UsageRecord {
    for text in [
        &mut record.user,
        &mut record.model,
        &mut record.actual_model,
        &mut record.target,
        &mut record.upstream_url,
    ] {
        shorten_shared(text);
    }
    if let Some(group) = &mut record.group {
        shorten_shared(group);
    }
    for hint in [
        &mut record.session_id,
        &mut record.agent_id,
        &mut record.client_request_id,
        &mut record.converted_from,
    ] {
        if let Some(better) = hint.as_deref().and_then(shortened) {
            *hint = Some(better);
        }
    }
    let Tokens { input, output, cache_read, cache_write, cache_write_1h, reasoning } = &mut record.tokens;
    for count in [input, output, cache_read, cache_write, cache_write_1h, reasoning] {
        *count = (*count).min(TOKENS_MAX);
    }
    record.cost_nanousd = record.cost_nanousd.clamp(0, COST_MAX);
    for part in &mut record.parts {
        if let Some(better) = shortened(&part.model) {
            part.model = better;
        }
        for count in counts_of(part) {
            *count = (*count).min(TOKENS_MAX);
        }
        part.cost_nanousd = part.cost_nanousd.clamp(0, COST_MAX);
    }
    record.attempts.truncate(ATTEMPTS_MAX);
    for attempt in &mut record.attempts {
        for text in texts_of(attempt) {
            if let Some(better) = shortened(text) {
                *text = better;
            }
        }
        attempt.input_tokens = attempt.input_tokens.min(TOKENS_MAX);
        attempt.output_tokens = attempt.output_tokens.min(TOKENS_MAX);
        attempt.cost_nanousd = attempt.cost_nanousd.clamp(0, COST_MAX);
    }
    record
}

/// Whether a record that came from another node is within bounds.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(record: &UsageRecord) -> Result<(), String> {
    let texts = [&record.user, &record.model, &record.actual_model, &record.target, &record.upstream_url];
    let hints = [&record.session_id, &record.agent_id, &record.client_request_id, &record.converted_from];
    let hints = hints.into_iter().filter_map(|hint| hint.as_deref()).chain(record.group.as_deref());
    if let Some(text) =
        texts.into_iter().map(|text| &**text).chain(hints).find(|text| shortened(text).is_some())
    {
        return Err(format!("a text of {} bytes is too long or contains NUL", text.len()));
    }
    let Tokens { input, output, cache_read, cache_write, cache_write_1h, reasoning } = record.tokens;
    let counts = [input, output, cache_read, cache_write, cache_write_1h, reasoning];
    if let Some(count) = counts.into_iter().find(|count| *count > TOKENS_MAX) {
        return Err(format!("{count} tokens are more than {TOKENS_MAX}"));
    }
    if !(0..=COST_MAX).contains(&record.cost_nanousd) {
        return Err(format!("a cost of {} nano-USD is not between 0 and {COST_MAX}", record.cost_nanousd));
    }
    record.parts.iter().try_for_each(check_part)?;
    if record.parts.len() > PARTS_MAX {
        return Err(format!("{} parts are more than {PARTS_MAX}", record.parts.len()));
    }
    if record.attempts.len() > ATTEMPTS_MAX {
        return Err(format!("{} attempts are more than {ATTEMPTS_MAX}", record.attempts.len()));
    }
    record.attempts.iter().try_for_each(check_attempt)?;
    if !TIMES.contains(&record.created_at.as_micros()) {
        return Err(format!("{} is no plausible time: check that node's clock", record.created_at));
    }
    Ok(())
}

fn check_part(part: &Part) -> Result<(), String> {
    if shortened(&part.model).is_some() {
        return Err(format!("a part's model of {} bytes is too long or contains NUL", part.model.len()));
    }
    let mut part = part.clone();
    if let Some(count) = counts_of(&mut part).into_iter().find(|count| **count > TOKENS_MAX) {
        return Err(format!("a part with {count} tokens: more than {TOKENS_MAX}"));
    }
    if !(0..=COST_MAX).contains(&part.cost_nanousd) {
        return Err(format!(
            "a part's cost of {} nano-USD is not between 0 and {COST_MAX}",
            part.cost_nanousd
        ));
    }
    Ok(())
}

fn check_attempt(attempt: &Attempt) -> Result<(), String> {
    if let Some(text) = texts_of(&mut attempt.clone()).into_iter().find(|text| shortened(text).is_some()) {
        return Err(format!("an attempt's text of {} bytes is too long or contains NUL", text.len()));
    }
    let tokens = attempt.input_tokens.max(attempt.output_tokens);
    if tokens > TOKENS_MAX {
        return Err(format!("an attempt with {tokens} tokens: more than {TOKENS_MAX}"));
    }
    if !(0..=COST_MAX).contains(&attempt.cost_nanousd) {
        return Err(format!(
            "an attempt's cost of {} nano-USD is not between 0 and {COST_MAX}",
            attempt.cost_nanousd
        ));
    }
    Ok(())
}

fn texts_of(attempt: &mut Attempt) -> [&mut String; 4] {
    [&mut attempt.target, &mut attempt.key, &mut attempt.model, &mut attempt.reason]
}

fn counts_of(part: &mut Part) -> [&mut u64; 6] {
    [
        &mut part.input_tokens,
        &mut part.output_tokens,
        &mut part.cache_read_tokens,
        &mut part.cache_write_tokens,
        &mut part.cache_write_1h_tokens,
        &mut part.reasoning_tokens,
    ]
}

fn shorten_shared(text: &mut Arc<str>) {
    if let Some(better) = shortened(text) {
        *text = better.into();
    }
}

/// The shortened text; `None` if it is within bounds as it is.
fn shortened(text: &str) -> Option<String> {
    if text.len() <= TEXT_MAX && memchr::memchr(0, text.as_bytes()).is_none() {
        return None;
    }
    let end = text.floor_char_boundary(TEXT_MAX);
    let kept = text.get(..end).unwrap_or_default();
    Some(kept.chars().map(|c| if c == '\0' { '?' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_no_provider_bills_is_refused_and_ones_own_is_capped() {
        use crate::domain::price::Price;
        let part = |tokens: u64| {
            let tokens = Tokens { input: tokens, output: 1, ..Tokens::default() };
            Part { cost_nanousd: 1, ..Part::new("claude-opus-4-1", tokens, &Price::default()) }
        };
        check_part(&part(TOKENS_MAX)).expect("as much as there may be");
        let cases = [
            (part(TOKENS_MAX + 1), "a part with 1000000000001 tokens"),
            (Part { reasoning_tokens: u64::MAX, ..part(1) }, "a part with 18446744073709551615 tokens"),
            (Part { cost_nanousd: -1, ..part(1) }, "a part's cost of -1"),
            (Part { cost_nanousd: COST_MAX + 1, ..part(1) }, "a part's cost of"),
            (Part { model: "x".repeat(TEXT_MAX + 1), ..part(1) }, "a part's model of 513 bytes"),
        ];
        for (part, why) in cases {
            let refused = check_part(&part).expect_err(why);
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters_and_holds_no_nul() {
        assert_eq!(shortened("claude-sonnet-4"), None);
        assert_eq!(shortened("a\0b").as_deref(), Some("a?b"));
        let long = shortened(&"é".repeat(TEXT_MAX)).expect("too long");
        assert_eq!(long.len(), TEXT_MAX);
        assert_eq!(shortened(&format!("x{}", "é".repeat(TEXT_MAX))).expect("too long").len(), TEXT_MAX - 1);
    }
}
