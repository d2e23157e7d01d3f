//! What has been seen of an answer so far, and what that makes of its token counts.

use crate::dialect::{Count, Event, Field};
use crate::domain::terms::{Term, Terms};
use crate::domain::tokens::{BYTES_PER_TOKEN, Estimate, Tokens};
use crate::domain::usage::TokenSource;
use crate::metering::counts::{Counts, Evidence, Reported, is_output};
use crate::metering::fields;
use crate::metering::meter::{End, MeterResult, Stage};
use crate::metering::steps::Steps;

/// What shows that an answer is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completion {
    /// Its body has ended.
    BodyEnd,
    /// Its body has ended, and the model has said why it stopped.
    StopReason,
    /// Its final event has come.
    FinalEvent,
    /// Complete, whatever follows.
    Complete,
}

#[derive(Debug)]
pub struct UsageAccumulator {
    counts: Counts,
    /// `counts` before the current event, if that event reports any.
    before: Counts,
    /// Bytes of content so far.
    content: u64,
    /// `content` when output was last reported, if it was.
    content_reported: Option<u64>,
    model: Option<String>,
    error: bool,
    /// The model has done what was asked, with or without content: vectors, scores, a reason to stop.
    answered: bool,
    completion: Completion,
    /// The model has said why it stopped: in a stream of choices at some time, elsewhere in the last event.
    stopped: bool,
    /// The event that is being read.
    event: CurrentEvent,
    /// Steps that the provider bills separately.
    steps: Steps,
    terms: Terms,
    /// Used where the answer reports no counts.
    estimate: Estimate,
    /// Changes whenever the accumulated state does.
    revision: u64,
    /// How often something was said otherwise than before.
    replaced: u64,
}

/// Whether an event reports counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reports {
    #[default]
    Nothing,
    Something,
    Output,
}

/// What has been read of the current event.
#[derive(Clone, Copy, Debug, Default)]
struct CurrentEvent {
    reports: Reports,
    says_why_stopped: bool,
    /// Whether it is the last one; known when it has ended.
    is_last: Option<bool>,
}

/// How far the body has come, beside what was in it.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "four things that are true or not, and used in one field")]
pub struct BodyProgress {
    /// The final event, or the whole of a single document, has passed.
    pub all: bool,
    /// The body does not stop inside a document.
    pub whole: bool,
    /// All of it so far could be read.
    pub readable: bool,
    /// Not one event has come.
    pub nothing: bool,
}

impl UsageAccumulator {
    #[must_use]
    pub fn new(estimate: Estimate) -> Self {
        Self {
            counts: Counts::none(),
            before: Counts::none(),
            content: 0,
            content_reported: None,
            model: None,
            error: false,
            answered: false,
            completion: Completion::BodyEnd,
            stopped: false,
            event: CurrentEvent::default(),
            steps: Steps::default(),
            terms: Terms::default(),
            estimate,
            revision: 0,
            replaced: 0,
        }
    }

    /// Changes whenever the accumulated state does.
    #[inline]
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How often something was said otherwise than before, so that saying the old once more means something.
    #[inline]
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Counts content.
    #[inline]
    pub fn content(&mut self, bytes: usize) {
        self.content = self.content.saturating_add(bytes as u64);
        self.revision += 1;
    }

    pub fn count(&mut self, count: Count, value: u64) {
        self.revision += 1;
        if self.event.reports == Reports::Nothing {
            self.event.reports = Reports::Something;
            self.before = self.counts;
            self.counts.begin_report();
        }
        self.counts.set(count, value);
        if is_output(count) {
            self.event.reports = Reports::Output;
        }
    }

    /// The answer contains a vector or a score.
    pub fn vector(&mut self) {
        if !self.answered {
            self.answered = true;
            self.revision += 1;
        }
    }

    /// The model that answers said its name; the first one holds.
    pub fn model(&mut self, name: &[u8]) {
        if self.model.is_none() && !name.is_empty() {
            self.model = Some(String::from_utf8_lossy(name).into_owned());
            self.revision += 1;
        }
    }

    /// Takes the kind of the current event.
    pub fn kind(&mut self, kind: &[u8]) {
        match fields::event(kind) {
            Some(Event::Last) => self.event.is_last = Some(true),
            Some(Event::Failed) => {
                self.error = true;
                self.event.is_last = Some(true);
            }
            Some(Event::Error) => self.error = true,
            Some(Event::First) if self.completion == Completion::BodyEnd => {
                self.completion = Completion::FinalEvent;
            }
            Some(Event::First) | None => return,
        }
        self.revision += 1;
    }

    /// How far the answer has come.
    pub fn stage(&self) -> Stage {
        match () {
            () if self.content > 0 || self.answered => Stage::Content,
            () if self.error => Stage::Failed,
            () if self.completion == Completion::Complete => Stage::Content,
            () => Stage::Opening,
        }
    }

    /// Takes the status of work that may go on after the answer.
    pub fn status(&mut self, status: &[u8]) {
        if !self.estimate.is_deferred && fields::is_pending(status) {
            self.estimate.is_deferred = true;
            self.revision += 1;
        }
    }

    /// An array or object of interest begins.
    #[inline]
    pub fn entered(&mut self, field: Field, array: bool) {
        match field {
            Field::Choice if self.completion == Completion::BodyEnd => {
                self.completion = Completion::StopReason;
            }
            Field::Iteration if array => self.steps.begin_list(),
            Field::Iteration | Field::StepBeside => {
                self.steps.begin(field == Field::StepBeside);
                self.counts.clear_step();
            }
            _ => return,
        }
        self.revision += 1;
    }

    #[inline]
    pub fn left(&mut self, field: Field) {
        match field {
            Field::Root => self.event_over(),
            Field::Iteration | Field::StepBeside => self.steps.end(self.counts.step()),
            _ => return,
        }
        self.revision += 1;
    }

    /// Takes the kind of the current step.
    pub fn step_kind(&mut self, kind: &[u8]) {
        self.revision += 1;
        self.steps.kind(kind);
    }

    /// Takes the model of the current step.
    pub fn step_model(&mut self, name: &[u8]) {
        self.revision += 1;
        self.steps.model(name);
    }

    /// The answer says on which terms it is served.
    pub fn term(&mut self, term: Term, word: &[u8]) {
        if let Ok(word) = std::str::from_utf8(word)
            && self.terms.set(term, word)
        {
            self.revision += 1;
            self.replaced += 1;
        }
    }

    /// The model has said why it stopped.
    pub fn stop_reason(&mut self) {
        self.revision += 1;
        self.answered = true;
        self.event.says_why_stopped = true;
    }

    pub fn done(&mut self, done: bool) {
        self.revision += 1;
        self.event.is_last = Some(done);
    }

    pub fn error(&mut self) {
        self.revision += 1;
        self.error = true;
    }

    /// A field that only a final event has was read.
    pub fn finish(&mut self) {
        self.revision += 1;
        self.completion = Completion::Complete;
    }

    /// Ends the current event.
    fn event_over(&mut self) {
        let event = std::mem::take(&mut self.event);
        if event.reports != Reports::Nothing {
            self.counts.end_report(&self.before);
        }
        if event.reports == Reports::Output {
            self.content_reported = Some(self.content);
        }
        match event.is_last {
            Some(true) => self.completion = Completion::Complete,
            Some(false) if self.completion == Completion::BodyEnd => self.completion = Completion::FinalEvent,
            _ => {}
        }
        self.stopped = event.says_why_stopped || (self.stopped && self.completion == Completion::StopReason);
    }

    /// Whether the final event has come.
    #[inline]
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.completion == Completion::Complete
    }

    /// Whether more documents have to follow before the answer is whole.
    #[inline]
    #[must_use]
    pub fn awaits_final_event(&self) -> bool {
        self.completion == Completion::FinalEvent
    }

    /// The result for an answer that has ended.
    #[must_use]
    pub fn result(&self, end: End, body: BodyProgress) -> MeterResult {
        let complete = !body.nothing && (body.all || self.is_complete(end, body.whole));
        let (own, mut source) = self.tokens(end, complete);
        let mut model = self.model.clone();
        let (tokens, steps) = if self.steps.is_plain() {
            (own, Vec::new())
        } else {
            let mut steps = self.steps.billed(own);
            if let [only] = &mut *steps {
                // A fallback that served the whole answer is the model that answered.
                model = only.model.take().or(model);
            }
            let tokens = steps.iter().fold(Tokens::default(), |sum, step| sum.plus(step.tokens));
            (tokens, if steps.len() > 1 { steps } else { Vec::new() })
        };
        if source == TokenSource::None && tokens.total() > 0 {
            source = TokenSource::Reported;
        }
        let recognised = source != TokenSource::None || self.error;
        MeterResult {
            tokens,
            steps,
            source,
            model,
            terms: self.terms.clone(),
            error_event: self.error,
            complete,
            readable: body.readable && recognised,
        }
    }

    fn is_complete(&self, end: End, whole: bool) -> bool {
        match self.completion {
            Completion::Complete => true,
            Completion::FinalEvent => false,
            Completion::StopReason => end == End::Body && whole && self.stopped,
            // A Gemini stream has no final event; its last chunk is the one that says why the model stopped.
            Completion::BodyEnd => whole && (end == End::Body || self.stopped),
        }
    }

    /// Reported counts hold as they are. What was not reported is estimated: output from the content that
    /// passed, input from the request. Nothing is estimated for an answer that failed before any content. Work that
    /// goes on after its answer is worth the most that it may use.
    fn tokens(&self, end: End, complete: bool) -> (Tokens, TokenSource) {
        let evidence = Evidence { prompt: self.estimate.input > 0, content: self.content > 0 };
        let reported = self.counts.reported(evidence);
        // Counts that cannot be read do not make those of the steps untrue.
        let sampled = self.steps.sampled();
        if reported.says_nothing() && sampled.total() > 0 {
            return (sampled, TokenSource::Reported);
        }
        let deferred = self.estimate.is_deferred && !self.error;
        if reported.says_nothing() && self.content == 0 && !deferred {
            let spent = end == End::ClientGone || self.answered || self.counts.is_any();
            if self.error || !spent {
                return (Tokens::default(), TokenSource::None);
            }
        }
        let output_holds = complete || self.content_reported == Some(self.content);
        let reported_output = reported.output.filter(|_| output_holds);
        let needs_no_output = complete && self.content == 0 && reported.says_input();
        let output = match reported_output {
            Some(output) => output,
            None if needs_no_output => 0,
            None => self.output_so_far(&reported, deferred),
        };
        let of_total = |total: u64| total.saturating_sub(output);
        let input = reported.input.or(reported.total.map(of_total)).unwrap_or(self.estimate.input);
        let exact = reported.says_input() && (reported_output.is_some() || needs_no_output);
        let tokens = reported.classes(input, output);
        (tokens, if exact { TokenSource::Reported } else { TokenSource::Estimated })
    }

    /// An estimate of the output where none that holds was reported.
    fn output_so_far(&self, reported: &Reported, deferred: bool) -> u64 {
        let later = if deferred { self.estimate.output_later } else { 0 };
        let seen = reported.output.max(self.counts.get(Count::OutputSoFar)).unwrap_or(0);
        seen.max(later).max(self.content.div_ceil(BYTES_PER_TOKEN))
    }
}
