//! The steps of an answer that a provider bills one by one: Anthropic's `usage.iterations`, OpenAI's `svg_usage`.
//!
//! The counts beside the list are those of the answer's own sampling. `compaction` and `advisor_message` are not in
//! them (Anthropic, "Compaction", "Advisor tool"), and so are added. Of a `fallback_message`, and of a kind not known
//! here that has a model of its own, the counts tell whether it is in them: they are compared with the sums of the
//! steps. A fallback without output has failed and is not billed.

use crate::dialect::StepKind;
use crate::domain::tokens::Tokens;
use crate::metering::fields;

/// More steps than this are added to the last one.
const STEPS_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Included in the answer's own counts.
    Own,
    /// Billed in addition to them.
    Beside,
    /// Included or billed in addition: only comparing the counts tells which.
    Either,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// `None`: the model that answers.
    pub model: Option<String>,
    pub tokens: Tokens,
}

/// Accumulates the steps of an answer.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    seen: Vec<(Kind, Step)>,
    /// Of the current step.
    kind: Option<Kind>,
    model: Option<String>,
}

impl Steps {
    /// Begins a list of steps, which repeats an earlier one.
    pub fn begin_list(&mut self) {
        self.seen.clear();
    }

    /// Begins a step. `beside`: it is billed in addition to the answer's counts wherever it is reported.
    pub fn begin(&mut self, beside: bool) {
        self.kind = beside.then_some(Kind::Beside);
        self.model = None;
    }

    pub fn kind(&mut self, kind: &[u8]) {
        self.kind = Some(match fields::step(kind) {
            Some(StepKind::Within) => Kind::Own,
            Some(StepKind::Beside) => Kind::Beside,
            None => Kind::Either,
        });
    }

    pub fn model(&mut self, name: &[u8]) {
        self.model = Some(String::from_utf8_lossy(name).into_owned());
    }

    /// Ends the current step.
    pub fn end(&mut self, tokens: Tokens) {
        let model = self.model.take();
        let kind = match self.kind.take() {
            None => Kind::Own,
            // What has no model of its own is a part of the answer, whatever it is called.
            Some(Kind::Either) if model.is_none() => Kind::Own,
            Some(kind) => kind,
        };
        let is_full = self.seen.len() == STEPS_MAX;
        match self.seen.last_mut() {
            Some((last, step)) if is_full || (*last == Kind::Own && kind == Kind::Own) => {
                step.tokens = step.tokens.plus(tokens);
            }
            _ => self.seen.push((kind, Step { model, tokens })),
        }
    }

    fn of(&self, wanted: Kind) -> impl Iterator<Item = &Step> {
        self.seen.iter().filter(move |(kind, _)| *kind == wanted).map(|(_, step)| step)
    }

    /// What the steps of the answer's own sampling come to.
    #[must_use]
    pub fn sampled(&self) -> Tokens {
        self.of(Kind::Own).fold(Tokens::default(), |sum, step| sum.plus(step.tokens))
    }

    /// What is billed of an answer whose own counts are `own`: one step, or several.
    #[must_use]
    pub fn billed(&self, own: Tokens) -> Vec<Step> {
        let either: Vec<_> = self.of(Kind::Either).filter(|step| step.tokens.output > 0).collect();
        let served = either.iter().fold(Tokens::default(), |sum, step| sum.plus(step.tokens));
        let sampled = self.sampled();
        let alike = |tokens: Tokens| (tokens.input, tokens.output) == (own.input, own.output);
        let is_in = !alike(sampled) && own.input >= served.input && own.output >= served.output;
        let is_beside = alike(sampled);
        let rest = if is_in { own.minus(served) } else { own };
        let mut billed = Vec::with_capacity(1);
        if rest.total() > 0 || either.is_empty() || !is_in {
            billed.push(Step { model: None, tokens: rest });
        }
        if is_in || is_beside {
            billed.extend(either.into_iter().cloned());
        }
        billed.extend(self.of(Kind::Beside).filter(|step| step.tokens.total() > 0).cloned());
        billed
    }

    /// Whether there is anything but the answer's own counts.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.seen.iter().all(|(kind, _)| *kind == Kind::Own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(input: u64, output: u64) -> Tokens {
        Tokens { input, output, ..Tokens::default() }
    }

    #[test]
    fn each_step_is_billed_once_whether_the_answers_counts_hold_it_or_not() {
        type Steps4 = &'static [(&'static str, &'static str, u64, u64)];
        type Billed = &'static [(&'static str, u64, u64)];
        const CASES: &[(&str, (u64, u64), Steps4, Billed)] = &[
            ("nothing but the answer", (10, 5), &[("message", "a", 10, 5)], &[("", 10, 5)]),
            ("two turns", (30, 9), &[("message", "", 10, 5), ("message", "", 20, 4)], &[("", 30, 9)]),
            (
                "an advisor",
                (10, 5),
                &[("message", "", 4, 2), ("advisor_message", "b", 900, 70), ("message", "", 6, 3)],
                &[("", 10, 5), ("b", 900, 70)],
            ),
            (
                "a compaction",
                (10, 5),
                &[("compaction", "", 200, 7), ("message", "", 10, 5)],
                &[("", 10, 5), ("", 200, 7)],
            ),
            (
                "a fallback that is the answer",
                (12, 6),
                &[("message", "a", 10, 0), ("fallback_message", "b", 12, 6)],
                &[("b", 12, 6)],
            ),
            (
                "a fallback within the answer's counts",
                (22, 9),
                &[("message", "a", 10, 3), ("fallback_message", "b", 12, 6)],
                &[("", 10, 3), ("b", 12, 6)],
            ),
            (
                "a fallback beside them",
                (10, 3),
                &[("message", "a", 10, 3), ("fallback_message", "b", 12, 6)],
                &[("", 10, 3), ("b", 12, 6)],
            ),
            (
                "a fallback that failed",
                (10, 3),
                &[("message", "a", 10, 3), ("fallback_message", "b", 12, 0)],
                &[("", 10, 3)],
            ),
            (
                "a kind not known, with a model of its own",
                (10, 3),
                &[("message", "", 10, 3), ("new_message", "b", 12, 6)],
                &[("", 10, 3), ("b", 12, 6)],
            ),
            ("a kind not known, without", (10, 3), &[("new_thing", "", 10, 3)], &[("", 10, 3)]),
        ];
        for (what, own, list, expected) in CASES {
            let mut steps = Steps::default();
            steps.begin_list();
            for (kind, model, input, output) in *list {
                steps.begin(false);
                if !model.is_empty() {
                    steps.model(model.as_bytes());
                }
                steps.kind(kind.as_bytes());
                steps.end(tokens(*input, *output));
            }
            let billed = steps.billed(tokens(own.0, own.1));
            let billed: Vec<_> = billed
                .iter()
                .map(|step| (step.model.as_deref().unwrap_or(""), step.tokens.input, step.tokens.output))
                .collect();
            assert_eq!(billed, *expected, "{what}");
        }
    }

    #[test]
    fn a_list_without_end_loses_no_tokens() {
        let mut steps = Steps::default();
        for _ in 0..1_000 {
            steps.begin(false);
            steps.model(b"b");
            steps.kind(b"advisor_message");
            steps.end(tokens(2, 1));
        }
        let billed = steps.billed(tokens(1, 1));
        assert_eq!(billed.len(), STEPS_MAX + 1);
        assert_eq!(billed.iter().map(|step| step.tokens.input).sum::<u64>(), 2_001);
    }
}
