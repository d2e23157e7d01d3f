//! What has been seen of an answer so far, and what that makes of its token counts.

use crate::domain::terms::{Term, Terms};
use crate::domain::usage::{TokenSource, Tokens};
use crate::metering::counts::{Count, Counts, Evidence, Reported};
use crate::metering::meter::{BYTES_PER_TOKEN, End, Estimate, Reading};
use crate::metering::steps::Steps;
use crate::metering::vocabulary::Place;

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
    counts: Counts,
    /// The same before the event that is passing, if it reports any.
    before: Counts,
    /// Bytes of content that passed.
    content: u64,
    /// `content` when output was last reported, if it was.
    content_reported: Option<u64>,
    model: Option<String>,
    error: bool,
    /// The model has done what was asked, with or without content: vectors, scores, a reason to stop.
    answered: bool,
    due: Due,
    /// The model has said why it stopped: in a stream of choices at some time, elsewhere in the last event.
    stopped: bool,
    /// The event that is passing.
    event: Event,
    /// What the provider bills one by one.
    steps: Steps,
    terms: Terms,
    /// What the call is worth, where the answer does not tell.
    estimate: Estimate,
    /// How often something new was told.
    told: u64,
}

/// Whether an event reports counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reports {
    #[default]
    Nothing,
    Something,
    /// The output, too.
    Output,
}

/// What has been seen of the event that is passing.
#[derive(Clone, Copy, Debug, Default)]
struct Event {
    reports: Reports,
    says_why_stopped: bool,
    /// It is the last one, once it has passed as a whole.
    is_last: Option<bool>,
}

/// How far the body has come, beside what was in it.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "four things that are true or not, and used in one place")]
pub struct Passed {
    /// The final event, or the whole of a single document, has passed.
    pub all: bool,
    /// The body does not stop inside a document.
    pub whole: bool,
    /// What came could be read.
    pub readable: bool,
    /// Not so much as an event has come.
    pub nothing: bool,
}

impl Tally {
    /// Nothing seen yet.
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
            due: Due::BodyEnd,
            stopped: false,
            event: Event::default(),
            steps: Steps::default(),
            terms: Terms::default(),
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
        if self.event.reports == Reports::Nothing {
            self.event.reports = Reports::Something;
            self.before = self.counts;
            self.counts.begin_report();
        }
        self.counts.set(count, value);
        if count.is_output() {
            self.event.reports = Reports::Output;
        }
    }

    /// A vector or a score stands in the answer.
    pub fn vector(&mut self) {
        if !self.answered {
            self.answered = true;
            self.told += 1;
        }
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
            Place::Iteration if array => self.steps.begin_list(),
            Place::Iteration | Place::StepBeside => {
                self.steps.begin(place == Place::StepBeside);
                self.counts.clear_step();
            }
            _ => return,
        }
        self.told += 1;
    }

    /// An object of interest ends.
    pub fn left(&mut self, place: Place) {
        match place {
            Place::Root => self.event_over(),
            Place::Iteration | Place::StepBeside => self.steps.end(self.counts.step()),
            _ => return,
        }
        self.told += 1;
    }

    /// The step that is being read is of this kind.
    pub fn step_kind(&mut self, kind: &[u8]) {
        self.told += 1;
        self.steps.kind(kind);
    }

    /// The step that is being read is this model's.
    pub fn step_model(&mut self, name: &[u8]) {
        self.told += 1;
        self.steps.model(name);
    }

    /// The answer says on which terms it is served.
    pub fn term(&mut self, term: Term, word: &[u8]) {
        if let Ok(word) = std::str::from_utf8(word)
            && self.terms.set(term, word)
        {
            self.told += 1;
        }
    }

    /// The model has said why it stopped.
    pub fn stop_reason(&mut self) {
        self.told += 1;
        self.answered = true;
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
        if event.reports != Reports::Nothing {
            self.counts.end_report(&self.before);
        }
        if event.reports == Reports::Output {
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

    /// What all this comes to.
    #[must_use]
    pub fn reading(&self, end: End, passed: Passed) -> Reading {
        let complete = !passed.nothing && (passed.all || self.is_complete(end, passed.whole));
        let (own, source) = self.tokens(end, complete);
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
        let recognised = source != TokenSource::None || self.error;
        Reading {
            tokens,
            steps,
            source,
            model,
            terms: self.terms.clone(),
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
        let evidence = Evidence { prompt: self.estimate.input > 0, content: self.content > 0 };
        let reported = self.counts.reported(evidence);
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
