//! What has been seen of an answer so far, and what that makes of its token counts.

use crate::domain::usage::{TokenSource, Tokens};
use crate::metering::meter::{BYTES_PER_TOKEN, End, Estimate, Reading};
use crate::metering::vocabulary::{Count, Place};

const COUNTS: usize = Count::StepCacheWrite as usize + 1;
/// More tokens than any call can use: a larger count is nonsense and left out.
const COUNT_MAX: u64 = 1_000_000_000_000;

/// How it can be told that an answer is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Its body has ended.
    BodyEnd,
    /// Its body has ended, and the model has said why it stopped.
    StopReason,
    /// Its final event has come.
    FinalEvent,
    /// Nothing more: it has.
    Nothing,
}

/// What has been seen.
#[derive(Debug)]
pub struct Tally {
    counts: [Option<u64>; COUNTS],
    /// Bytes of content that passed.
    content: u64,
    /// `content` when output was last reported, if it was.
    content_reported: Option<u64>,
    model: Option<String>,
    error: bool,
    due: Due,
    /// The model has said why it stopped: in a stream of choices at some time, elsewhere in the last event.
    stopped: bool,
    /// The event that is passing.
    event: Event,
    /// What compaction used, beside the counts of the answer itself.
    compaction: Compaction,
    /// What the call is worth, where the answer does not tell.
    estimate: Estimate,
    /// How often something new was told.
    told: u64,
}

/// What the compaction steps of an Anthropic answer used.
#[derive(Clone, Copy, Debug, Default)]
struct Compaction {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
}

/// What has been seen of the event that is passing.
#[derive(Clone, Copy, Debug, Default)]
struct Event {
    reports_output: bool,
    says_why_stopped: bool,
    /// It is the last one, once it has passed as a whole.
    is_last: Option<bool>,
    /// The sampling step that is being read is one of compaction.
    compacts: bool,
}

/// How far the body has come, beside what was in it.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// The final event, or the whole of a single document, has passed.
    pub all: bool,
    /// The body does not stop inside a document.
    pub whole: bool,
    /// What came could be read.
    pub readable: bool,
}

impl Tally {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(estimate: Estimate) -> Self {
        Self {
            counts: [None; COUNTS],
            content: 0,
            content_reported: None,
            model: None,
            error: false,
            due: Due::BodyEnd,
            stopped: false,
            event: Event::default(),
            compaction: Compaction::default(),
            estimate,
            told: 0,
        }
    }

    /// Grows with everything that is told and makes a difference.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.told
    }

    /// `bytes` more of content have passed.
    pub fn content(&mut self, bytes: usize) {
        self.content = self.content.saturating_add(bytes as u64);
        self.told += 1;
    }

    /// A count was reported.
    pub fn count(&mut self, count: Count, value: u64) {
        self.told += 1;
        if value > COUNT_MAX {
            return;
        }
        if let Some(slot) = self.counts.get_mut(count as usize) {
            *slot = Some(value);
        }
        self.event.reports_output |= matches!(count, Count::Output | Count::Thoughts);
    }

    /// The model that answers said its name; the first one holds.
    pub fn model(&mut self, name: &[u8]) {
        if self.model.is_none() && !name.is_empty() {
            self.model = Some(String::from_utf8_lossy(name).into_owned());
            self.told += 1;
        }
    }

    /// An event is of this kind.
    pub fn kind(&mut self, kind: &[u8]) {
        match kind {
            b"message_stop"
            | b"response.completed"
            | b"response.incomplete"
            | b"interaction.complete"
            | b"interaction.completed"
            | b"transcript.text.done"
            | b"speech.audio.done"
            | b"image_generation.completed"
            | b"image_edit.completed" => self.event.is_last = Some(true),
            b"response.failed" => {
                self.error = true;
                self.event.is_last = Some(true);
            }
            b"error" => self.error = true,
            b"compaction" => self.event.compacts = true,
            b"message_start" | b"response.created" if self.due == Due::BodyEnd => self.due = Due::FinalEvent,
            _ => return,
        }
        self.told += 1;
    }

    /// How far the work is, where it may go on after the answer.
    pub fn status(&mut self, status: &[u8]) {
        if matches!(status, b"queued" | b"in_progress") && !self.estimate.is_deferred {
            self.estimate.is_deferred = true;
            self.told += 1;
        }
    }

    /// An array or object of interest begins.
    pub fn entered(&mut self, place: Place, array: bool) {
        match place {
            Place::Choice if self.due == Due::BodyEnd => self.due = Due::StopReason,
            Place::Iteration if array => self.compaction = Compaction::default(),
            Place::Iteration => {
                self.event.compacts = false;
                self.clear_step();
            }
            _ => return,
        }
        self.told += 1;
    }

    /// An object of interest ends.
    pub fn left(&mut self, place: Place) {
        match place {
            Place::Root => self.event_over(),
            Place::Iteration if self.event.compacts => self.add_step(),
            _ => return,
        }
        self.told += 1;
    }

    fn clear_step(&mut self) {
        for count in [Count::StepInput, Count::StepOutput, Count::StepCacheRead, Count::StepCacheWrite] {
            if let Some(slot) = self.counts.get_mut(count as usize) {
                *slot = None;
            }
        }
    }

    fn add_step(&mut self) {
        let plus = |sum: u64, count| (sum + self.get(count).unwrap_or(0)).min(COUNT_MAX);
        let sum = self.compaction;
        self.compaction = Compaction {
            input: plus(sum.input, Count::StepInput),
            output: plus(sum.output, Count::StepOutput),
            cache_read: plus(sum.cache_read, Count::StepCacheRead),
            cache_write: plus(sum.cache_write, Count::StepCacheWrite),
        };
    }

    /// The model has said why it stopped.
    pub fn stop_reason(&mut self) {
        self.told += 1;
        self.event.says_why_stopped = true;
    }

    /// Ollama's `done`.
    pub fn done(&mut self, done: bool) {
        self.told += 1;
        self.event.is_last = Some(done);
    }

    /// The answer reported a failure.
    pub fn error(&mut self) {
        self.told += 1;
        self.error = true;
    }

    /// What stands in place of a final event has come.
    pub fn finish(&mut self) {
        self.told += 1;
        self.due = Due::Nothing;
    }

    /// An event has passed as a whole.
    fn event_over(&mut self) {
        let event = std::mem::take(&mut self.event);
        if event.reports_output {
            self.content_reported = Some(self.content);
        }
        match event.is_last {
            Some(true) => self.due = Due::Nothing,
            Some(false) if self.due == Due::BodyEnd => self.due = Due::FinalEvent,
            _ => {}
        }
        self.stopped = event.says_why_stopped || (self.stopped && self.due == Due::StopReason);
    }

    /// Whether the final event has come.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.due == Due::Nothing
    }

    /// Whether more documents have to follow before the answer is whole.
    #[must_use]
    pub fn awaits_final_event(&self) -> bool {
        self.due == Due::FinalEvent
    }

    fn get(&self, count: Count) -> Option<u64> {
        self.counts.get(count as usize).copied().flatten()
    }

    /// What all this comes to.
    #[must_use]
    pub fn reading(&self, end: End, passed: Passed) -> Reading {
        let complete = passed.all || self.is_complete(end, passed.whole);
        let (tokens, source) = self.tokens(end, complete);
        let recognised = source != TokenSource::None || self.error;
        Reading {
            tokens,
            source,
            model: self.model.clone(),
            error_event: self.error,
            complete,
            readable: passed.readable && recognised,
        }
    }

    fn is_complete(&self, end: End, whole: bool) -> bool {
        match self.due {
            Due::Nothing => true,
            Due::FinalEvent => false,
            Due::StopReason => end == End::Body && whole && self.stopped,
            // A Gemini stream has no final event; its last chunk is the one that says why the model stopped.
            Due::BodyEnd => whole && (end == End::Body || self.stopped),
        }
    }

    /// Reported counts hold as they are. What was not reported is estimated: output from the content that
    /// passed, input from the request. Nothing is estimated for an answer that failed before any content. Work that
    /// goes on after its answer is worth the most that it may use.
    fn tokens(&self, end: End, complete: bool) -> (Tokens, TokenSource) {
        let reported_input = self.input();
        let output_holds = complete || self.content_reported == Some(self.content);
        let reported_output = self.output().filter(|_| output_holds);
        let nothing_known = reported_input.is_none() && self.output().is_none();
        let deferred = self.estimate.is_deferred && !self.error;
        let spent_nothing = self.content == 0 && !deferred && (self.error || end != End::ClientGone);
        if nothing_known && spent_nothing {
            return (Tokens::default(), TokenSource::None);
        }
        let embedding = complete && self.content == 0 && reported_input.is_some();
        let later = if deferred { self.estimate.output_later } else { 0 };
        let seen = self.output().max(self.get(Count::OutputSoFar)).max(Some(later)).unwrap_or(0);
        let output = match reported_output {
            Some(reported) => reported,
            None if embedding => 0,
            None => seen.max(self.content.div_ceil(BYTES_PER_TOKEN)),
        };
        let exact = reported_input.is_some() && (reported_output.is_some() || embedding);
        let tokens = self.classes(reported_input.unwrap_or(self.estimate.input), output);
        (tokens, if exact { TokenSource::Reported } else { TokenSource::Estimated })
    }

    /// Every input token, cached ones included.
    fn input(&self) -> Option<u64> {
        let beside = [self.get(Count::CacheRead), self.get(Count::ToolInput)].into_iter().flatten();
        let compaction = self.compaction;
        let beside =
            beside.chain([self.cache_written(), compaction.input, compaction.cache_read]).sum::<u64>();
        match self.get(Count::Input) {
            Some(input) => Some(input + beside),
            None => (beside > 0).then_some(beside),
        }
    }

    /// What Anthropic wrote to its cache.
    fn cache_written(&self) -> u64 {
        let parts = [Count::CacheWrite5m, Count::CacheWrite1h].into_iter().filter_map(|part| self.get(part));
        self.get(Count::CacheWrite).unwrap_or_else(|| parts.sum()) + self.compaction.cache_write
    }

    /// Every output token, reasoning included.
    fn output(&self) -> Option<u64> {
        let (output, thoughts) = (self.get(Count::Output), self.get(Count::Thoughts));
        if output.is_none() && thoughts.is_none() {
            return None;
        }
        let output = output.unwrap_or(0) + thoughts.unwrap_or(0);
        let input = self.get(Count::Input).unwrap_or(0);
        // xAI counts reasoning beside the completion; its total gives it away.
        let beside = self
            .get(Count::Reasoning)
            .filter(|reasoning| *reasoning > 0 && self.get(Count::Total) == Some(input + output + reasoning));
        Some(output + beside.unwrap_or(0) + self.compaction.output)
    }

    /// The classes within `input` and `output`; a part is never larger than its whole.
    fn classes(&self, input: u64, output: u64) -> Tokens {
        let get = |count| self.get(count).unwrap_or(0);
        let written = self.cache_written().max(get(Count::CachedNow)).min(input);
        let cache_write_1h = get(Count::CacheWrite1h).min(written);
        let read = get(Count::CacheRead).max(get(Count::Cached)) + self.compaction.cache_read;
        let cache_read = read.min(input - written);
        Tokens {
            input,
            output,
            cache_read,
            cache_write: written - cache_write_1h,
            cache_write_1h,
            reasoning: get(Count::Reasoning).max(get(Count::Thoughts)).min(output),
        }
    }
}
