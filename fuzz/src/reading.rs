//! Reading an answer with the meter, and what holds of every result.

use sproxy::metering::{AnswerHead, End, MeterResult, Progress, Stage, open};

const ENDS: [End; 3] = [End::Body, End::UpstreamCut, End::ClientGone];
/// The longest name that is kept of an answer, where each byte is no UTF-8.
const NAME_MAX: usize = 200 * 3;

/// All that a meter tells of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// For each way in which it can end.
    pub results: [MeterResult; 3],
    pub stage: Stage,
    pub is_final: bool,
}

impl Seen {
    /// The result of an answer that came to its proper end.
    #[must_use]
    pub fn whole(&self) -> &MeterResult {
        &self.results[0]
    }
}

/// Reads an answer that comes in these pieces.
pub fn read<'a>(head: &AnswerHead<'_>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut meter = open(head);
    let mut stage = meter.stage();
    let mut settled = None;
    for piece in pieces {
        let progress = meter.feed(piece);
        let next = meter.stage();
        assert!(stage != Stage::Content || next == Stage::Content, "content that has come stays");
        assert!(stage == Stage::Opening || next != Stage::Opening, "what has begun has begun");
        stage = next;
        if progress == Progress::Final {
            settled.get_or_insert_with(|| meter.result(End::Body));
        }
        assert!(settled.is_none() || progress == Progress::Final, "there is one final event");
    }
    let results = ENDS.map(|end| meter.result(end));
    let is_final = settled.is_some();
    if let Some(settled) = settled {
        assert_eq!(settled, results[0], "nothing behind the final event changes the result");
        assert!(
            results.iter().all(|result| result.complete),
            "who leaves behind the final event has had it all"
        );
    }
    for result in &results {
        holds(result);
    }
    Seen { results, stage, is_final }
}

/// Reads an answer in one piece, in these, and byte by byte, which has to come to the same.
pub fn read_alike(head: &AnswerHead<'_>, pieces: &[&[u8]]) -> Seen {
    let body = pieces.concat();
    let whole = read(head, [&*body]);
    assert_eq!(read(head, pieces.iter().copied()), whole, "in pieces");
    assert_eq!(read(head, body.chunks(1)), whole, "byte by byte");
    whole
}

/// What holds of the result of any answer.
fn holds(result: &MeterResult) {
    use sproxy::domain::tokens::Tokens;
    use sproxy::domain::usage::TokenSource;

    let parts_fit = |tokens: &Tokens| {
        tokens.cache_read + tokens.cache_write + tokens.cache_write_1h <= tokens.input
            && tokens.reasoning <= tokens.output
    };
    assert!(parts_fit(&result.tokens), "parts are no larger than their whole: {result:?}");
    assert!(result.steps.iter().all(|step| parts_fit(&step.tokens)), "of steps, too: {result:?}");
    if !result.steps.is_empty() {
        assert!(result.steps.len() > 1, "one step is no division: {result:?}");
        let sum = result.steps.iter().fold(Tokens::default(), |sum, step| sum.plus(step.tokens));
        assert_eq!(sum, result.tokens, "the steps are all of it");
    }
    if result.source == TokenSource::None {
        assert_eq!(result.tokens, Tokens::default(), "nothing comes from nowhere");
    }
    let names = result.steps.iter().map(|step| &step.model).chain([&result.model]);
    assert!(names.flatten().all(|name| name.len() <= NAME_MAX), "what is kept has a limit: {result:?}");
    assert!(result.tokens.total() < 1 << 60, "no call uses so much: {result:?}");
}
