//! The counting rule: what the names that providers give to counts come to, whoever sends them.
//!
//! 1. Every name has a slot of its own, so that a relay which writes one provider's names beside another's loses
//!    nothing. A slot holds the last value that can be true: a zero does not replace what was reported before, where
//!    that only grows (output) or has been used up already (a prompt).
//! 2. Where a part of the input lies is told by the name of the input: `cache_read_input_tokens` and
//!    `cache_creation_input_tokens` lie beside `input_tokens` and inside `prompt_tokens` and whatever else counts the
//!    whole prompt. `cached_tokens` and its kin are always inside. A part that is larger than its whole lies beside it.
//! 3. Reasoning lies inside the output, but for Gemini's thoughts, which lie beside it.
//! 4. Where there is a total, it is the judge: of all these ways to read the names the one that adds up to it is right.
//!    What no name explains is output, and so is what remains of a total beside a prompt alone.
//! 5. A zero for a prompt that was sent, or against content that passed, is no report: it is as if the name were absent.
//!
//! Sources: the providers' references and the types of their SDKs (`openai`, `anthropic`, `google-genai`, `mistralai`);
//! Ollama `docs/api.md`; for relays what they send.

/// More tokens than any call can use: a larger count is nonsense and left out.
pub const COUNT_MAX: u64 = 1_000_000_000_000;

use crate::dialect::Count;
use crate::domain::tokens::Tokens;

use Count::{
    CacheCreationInputTokens, CacheCreationInside, CacheReadCamel, CacheReadInputTokens, CacheWriteCamel,
    CacheWriteTokens, CachedContentTokenCount, CachedTokens, CachedTokensBare, CandidatesTokenCount,
    Claude1h, Claude5m, CompletionTokens, Ephemeral1h, Ephemeral5m, EvalCount, InputTokens, InputTokensCamel,
    OutputTokens, OutputTokensCamel, PromptCacheHitTokens, PromptEvalCachedCount, PromptEvalCount,
    PromptTokenCount, PromptTokens, ReasoningTokens, ReasoningTokensBare, ThoughtsTokenCount, ToolInput,
    TotalCachedTokens, TotalInputTokens, TotalOutputTokens, TotalThoughtTokens, TotalTokenCount, TotalTokens,
};

/// Inputs that include all their parts.
const WHOLE_INPUTS: [Count; 4] = [PromptTokens, PromptTokenCount, PromptEvalCount, TotalInputTokens];
/// Inputs that Anthropic's cache reads and writes are counted in addition to.
const PLAIN_INPUTS: [Count; 2] = [InputTokens, InputTokensCamel];
const OUTPUTS: [Count; 6] =
    [OutputTokens, OutputTokensCamel, CompletionTokens, CandidatesTokenCount, EvalCount, TotalOutputTokens];
const TOTALS: [Count; 2] = [TotalTokens, TotalTokenCount];
const REASONING: [Count; 2] = [ReasoningTokens, ReasoningTokensBare];
const THOUGHTS: [Count; 2] = [ThoughtsTokenCount, TotalThoughtTokens];
/// Parts by Anthropic's names, which may be counted in addition to the input.
const READ_BESIDE: [Count; 2] = [CacheReadInputTokens, CacheReadCamel];
const WRITTEN_BESIDE: [Count; 2] = [CacheCreationInputTokens, CacheWriteCamel];
const WRITTEN_5M: [Count; 2] = [Ephemeral5m, Claude5m];
const WRITTEN_1H: [Count; 2] = [Ephemeral1h, Claude1h];
/// Parts that the input always includes.
const READ_INSIDE: [Count; 6] = [
    CachedTokens,
    CachedTokensBare,
    PromptCacheHitTokens,
    CachedContentTokenCount,
    PromptEvalCachedCount,
    TotalCachedTokens,
];
const WRITTEN_INSIDE: [Count; 2] = [CacheWriteTokens, CacheCreationInside];

/// What one step of an answer used.
const STEP: [Count; 7] = [
    Count::StepInput,
    Count::StepOutput,
    Count::StepCacheRead,
    Count::StepCacheWrite,
    Count::Step5m,
    Count::Step1h,
    Count::StepReasoning,
];

const COUNTS: usize = Count::StepReasoning as usize + 1;

/// Whether a count is of what the model produced.
#[must_use]
pub fn is_output(count: Count) -> bool {
    const OF_OUTPUT: u64 = set_of(&OUTPUTS) | set_of(&THOUGHTS);
    OF_OUTPUT & bit(count) != 0
}

/// Counts as bits: every number of every answer is looked up in such a set.
const fn set_of(counts: &[Count]) -> u64 {
    let (mut set, mut at) = (0, 0);
    while at < counts.len() {
        set |= bit(counts[at]);
        at += 1;
    }
    set
}

const fn bit(count: Count) -> u64 {
    const { assert!(COUNTS <= u64::BITS as usize, "a set of counts is one word") };
    1 << count as u64
}

/// What was reported, by name.
#[derive(Clone, Copy, Debug)]
pub struct Counts([Option<u64>; COUNTS]);

/// The counts after the rule was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// Every input token; `None` if not reported.
    pub input: Option<u64>,
    /// Every output token; `None` if not reported.
    pub output: Option<u64>,
    /// Both together, where that alone was reported.
    pub total: Option<u64>,
    read: u64,
    written: u64,
    written_1h: u64,
    reasoning: u64,
}

/// Evidence that a reported zero cannot be true.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    pub prompt: bool,
    /// The model produced something.
    pub content: bool,
}

impl Counts {
    #[must_use]
    pub fn none() -> Self {
        Self([None; COUNTS])
    }

    pub fn set(&mut self, count: Count, value: u64) {
        const OF_TOTALS: u64 = set_of(&TOTALS);
        let grows = is_output(count) || OF_TOTALS & bit(count) != 0;
        if let Some(slot) = self.0.get_mut(count as usize)
            && !(grows && value == 0 && slot.is_some())
        {
            *slot = Some(value);
        }
    }

    pub fn clear(&mut self, counts: &[Count]) {
        for count in counts {
            if let Some(slot) = self.0.get_mut(*count as usize) {
                *slot = None;
            }
        }
    }

    /// A new report begins: the total of the last one is not its judge.
    pub fn begin_report(&mut self) {
        self.clear(&TOTALS);
    }

    /// A report has ended. One that says that no prompt was sent takes nothing back from `before`.
    pub fn end_report(&mut self, before: &Self) {
        if self.input_claimed() == Some(0) && before.input_claimed().is_some_and(|input| input > 0) {
            let names = WHOLE_INPUTS.iter().chain(&PLAIN_INPUTS).chain(&READ_BESIDE).chain(&WRITTEN_BESIDE);
            for count in names {
                if let (Some(slot), Some(old)) =
                    (self.0.get_mut(*count as usize), before.0.get(*count as usize))
                {
                    *slot = *old;
                }
            }
        }
    }

    /// What was reported under this name.
    #[must_use]
    pub fn get(&self, count: Count) -> Option<u64> {
        self.0.get(count as usize).copied().flatten()
    }

    /// Whether a provider has said anything of what the call used.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.most(&WHOLE_INPUTS).or(self.most(&PLAIN_INPUTS)).or(self.most(&OUTPUTS)).is_some()
    }

    /// The largest that was reported under any of these names, which all mean the same.
    fn most(&self, names: &[Count]) -> Option<u64> {
        names.iter().filter_map(|name| self.get(*name)).max()
    }

    fn input_claimed(&self) -> Option<u64> {
        let named = self.most(&WHOLE_INPUTS).max(self.most(&PLAIN_INPUTS))?;
        Some(named.saturating_add(self.beside()))
    }

    fn written_by_lifetime(&self) -> u64 {
        self.most(&WRITTEN_5M).unwrap_or(0) + self.most(&WRITTEN_1H).unwrap_or(0)
    }

    fn written_beside(&self) -> u64 {
        self.most(&WRITTEN_BESIDE).unwrap_or(0)
    }

    fn beside(&self) -> u64 {
        self.most(&READ_BESIDE).unwrap_or(0) + self.written_beside()
    }

    /// Applies the rule.
    #[must_use]
    pub fn reported(&self, evidence: Evidence) -> Reported {
        let inputs = self.input_readings();
        let outputs = self.output_readings();
        let total = self.most(&TOTALS).filter(|total| *total > 0);
        let mut input = inputs[0].filter(|input| *input > 0 || !evidence.prompt);
        let mut output = outputs[0].filter(|output| *output > 0 || !evidence.content);
        let mut unnamed = 0;
        let adds_up = |total: u64| {
            let mut pairs =
                inputs.iter().flatten().flat_map(|i| outputs.iter().flatten().map(move |o| (*i, *o)));
            pairs.find(|(input, output)| input + output == total && *input > 0)
        };
        match (total, input, output) {
            (Some(total), Some(_), Some(_)) if let Some((i, o)) = adds_up(total) => {
                (input, output) = (Some(i), Some(o));
            }
            (Some(total), Some(i), Some(o)) if total > i + o => {
                unnamed = total - i - o;
                output = Some(total - i);
            }
            (Some(total), Some(i), None) if total > i => output = Some(total - i),
            (Some(total), None, Some(o)) if total > o => input = Some(total - o),
            _ => {}
        }
        let alone = input.is_none() && output.is_none();
        Reported {
            input,
            output,
            total: total.filter(|_| alone),
            read: self.most(&READ_BESIDE).max(self.most(&READ_INSIDE)).unwrap_or(0),
            written: self
                .written_beside()
                .max(self.most(&WRITTEN_INSIDE).unwrap_or(0))
                .max(self.written_by_lifetime()),
            written_1h: self.most(&WRITTEN_1H).unwrap_or(0),
            reasoning: self
                .most(&REASONING)
                .unwrap_or(0)
                .max(self.most(&THOUGHTS).unwrap_or(0))
                .saturating_add(unnamed),
        }
    }

    /// The ways to read the input, the one that its name stands for first.
    fn input_readings(&self) -> [Option<u64>; 4] {
        let tools = self.get(ToolInput).unwrap_or(0);
        let beside = self.beside();
        let whole = self.most(&WHOLE_INPUTS).filter(|whole| *whole > 0);
        let plain = self.most(&PLAIN_INPUTS);
        let with = |input: Option<u64>, more| input.map(|input| input + more + tools);
        match (whole, plain) {
            (Some(input), _) if beside > input => [with(whole, beside), None, with(plain, beside), None],
            (Some(_), _) => [with(whole, 0), with(whole, beside), with(plain, beside), with(plain, 0)],
            (None, Some(_)) => [with(plain, beside), with(plain, 0), None, None],
            (None, None) if beside + tools > 0 => [Some(beside + tools), None, None, None],
            (None, None) => [self.most(&WHOLE_INPUTS), None, None, None],
        }
    }

    /// The same of the output.
    fn output_readings(&self) -> [Option<u64>; 2] {
        let thoughts = self.most(&THOUGHTS);
        let output = self.most(&OUTPUTS);
        if output.is_none() && thoughts.is_none() {
            return [None; 2];
        }
        let output = output.unwrap_or(0) + thoughts.unwrap_or(0);
        [Some(output), self.most(&REASONING).map(|reasoning| output + reasoning)]
    }

    /// What one step of an answer used, by Anthropic's names.
    #[must_use]
    pub fn step(&self) -> Tokens {
        let get = |count| self.get(count).unwrap_or(0);
        let written_1h = get(Count::Step1h);
        let written = get(Count::StepCacheWrite).max(get(Count::Step5m) + written_1h);
        let output = get(Count::StepOutput);
        Tokens {
            input: get(Count::StepInput) + get(Count::StepCacheRead) + written,
            output,
            cache_read: get(Count::StepCacheRead),
            cache_write: written - written_1h.min(written),
            cache_write_1h: written_1h.min(written),
            reasoning: get(Count::StepReasoning).min(output),
        }
    }

    /// Clears what belongs to one step.
    pub fn clear_step(&mut self) {
        self.clear(&STEP);
    }
}

impl Reported {
    /// Neither an input nor an output nor both together.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        self.input.is_none() && self.output.is_none() && self.total.is_none()
    }

    /// The input is known, if nothing but it was used.
    #[must_use]
    pub fn says_input(&self) -> bool {
        self.input.is_some() || self.total.is_some()
    }

    /// The classes within `input` and `output`, reported or not; a part is never larger than its whole.
    #[must_use]
    pub fn classes(&self, input: u64, output: u64) -> Tokens {
        let written = self.written.min(input);
        let cache_write_1h = self.written_1h.min(written);
        Tokens {
            input,
            output,
            cache_read: self.read.min(input - written),
            cache_write: written - cache_write_1h,
            cache_write_1h,
            reasoning: self.reasoning.min(output),
        }
    }
}

/// The number that a count's text says: an integer nearly always, but `1.2e3` means what it says. A fraction is cut
/// off; what is negative, or more than any call can use, is no count.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "within 0 and COUNT_MAX, which a float holds exactly"
)]
pub fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    if let Ok(value) = text.parse::<u64>() {
        return (value <= COUNT_MAX).then_some(value);
    }
    let value: f64 = text.parse().ok()?;
    (0.0..=COUNT_MAX as f64).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Field, answer_names};
    use crate::domain::provider::Provider;

    #[test]
    fn the_rule_knows_every_count_that_a_dialect_names() {
        let groups: [&[Count]; 13] = [
            &WHOLE_INPUTS,
            &PLAIN_INPUTS,
            &OUTPUTS,
            &TOTALS,
            &REASONING,
            &THOUGHTS,
            &READ_BESIDE,
            &WRITTEN_BESIDE,
            &WRITTEN_5M,
            &WRITTEN_1H,
            &READ_INSIDE,
            &WRITTEN_INSIDE,
            &STEP,
        ];
        let names = Provider::ALL.into_iter().flat_map(|provider| answer_names(provider).fields);
        for (name, field) in names.flat_map(|(_, names)| *names) {
            let Field::Number(count) = field else { continue };
            let is_alone = matches!(count, ToolInput | Count::OutputSoFar);
            let is_known = groups.iter().any(|group| group.contains(count)) || is_alone;
            assert!(is_known && (*count as usize) < COUNTS, "{name}: {count:?} counts for nothing");
        }
    }
}
