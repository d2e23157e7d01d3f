//! What a request's body asks for: one pass over it, top-level keys only, nothing copied.

use std::borrow::Cow;

use super::multipart;
use crate::dialect::openai::usage_option::UsageOption;
use crate::dialect::request_names;
use crate::domain::provider::Provider;
use crate::domain::terms::{Term, Terms};
use crate::domain::tokens::{BYTES_PER_TOKEN, Estimate};
use crate::json::object::{boolean, members, number, string};

/// What the gateway reads of a body; everything else passes unread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyPeek<'a> {
    /// `model`; of several the last, as parsers do. Some paths name it: see [`PathModel`](crate::dialect::PathModel).
    pub model: Option<Cow<'a, str>>,
    pub kind: BodyKind<'a>,
    pub ambiguous: Ambiguous,
    /// `stream`; `None` if the request does not say, which Ollama takes for true and everyone else for false.
    pub stream: Option<bool>,
    /// The most output tokens the caller wants, under any of the names in `MAX_TOKENS`, at the top or in an object of
    /// options. Of several the largest.
    pub max_tokens: Option<u64>,
    /// `service_tier`, `speed`, `inference_geo`.
    pub terms: Terms,
    /// A model is named that could not be read.
    pub model_is_unreadable: bool,
    /// The answer will only say that the work has been taken on.
    pub is_background: bool,
    pub usage_option: UsageOption,
    size: Size,
}

impl<'a> BodyPeek<'a> {
    /// Reads `body`: JSON, or a multipart form, of which only the model is read. Of a body that is neither, or is
    /// broken, what could be read up to there.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Self {
        if body.starts_with(b"--") { read_form(body) } else { read_json(body) }
    }

    fn take_term(&mut self, term: Term, json: &[u8]) {
        if let Some(word) = string(json) {
            self.terms.set(term, &word);
        }
    }

    /// Whether the body may name a model that the gateway does not see.
    #[must_use]
    pub fn hides_model(&self) -> bool {
        self.model.is_none() && (self.model_is_unreadable || self.kind == BodyKind::Unknown)
    }

    /// The same body, of which nothing can be read after all.
    #[must_use]
    pub fn unread(self) -> Self {
        Self { size: self.size, ..Self::default() }
    }

    /// Used where the answer reports no usage.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        let output_later = self.max_tokens.unwrap_or(0).min(LATER_MAX);
        Estimate { input: self.input_tokens_estimate(), output_later, is_deferred: self.is_background }
    }

    /// Estimates the input tokens: one for every [`BYTES_PER_TOKEN`] bytes of the body, and for
    /// an embedded file (an image in base64) of a large body `TOKENS_PER_FILE` instead.
    #[must_use]
    pub fn input_tokens_estimate(&self) -> u64 {
        (self.size.text as u64).div_ceil(BYTES_PER_TOKEN) + self.size.files as u64 * TOKENS_PER_FILE
    }
}

/// Tokens of an embedded file: about what providers charge for a large image.
pub const TOKENS_PER_FILE: u64 = 1_600;
/// More output than any model gives to one call, so that a number in a request cannot inflate the usage log.
const LATER_MAX: u64 = 1_000_000;
/// Bodies up to here are taken for text; it is not worth looking for files in them.
const SMALL: usize = 256 * 1024;
/// A string of at least this length, without a blank or an escape at its beginning, is a file.
const FILE_MIN: usize = 4 * 1024;

/// Bytes of text, and how many embedded files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    text: usize,
    files: usize,
}

impl Size {
    fn of(body: &[u8]) -> Self {
        let mut size = Self { text: body.len(), files: 0 };
        if body.len() <= SMALL {
            return size;
        }
        let mut start = 0;
        for quote in memchr::memchr_iter(b'"', body) {
            let between = body.get(start..quote).unwrap_or_default();
            if between.len() >= FILE_MIN
                && let Some(beginning) = between.get(..FILE_MIN)
                && beginning.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\')
            {
                size.text -= between.len();
                size.files += 1;
            }
            start = quote + 1;
        }
        size
    }
}

/// What a provider could read otherwise than the gateway does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous {
    pub model: bool,
    /// More tokens.
    pub max_tokens: bool,
}

impl Default for Ambiguous {
    /// A body that was not read.
    fn default() -> Self {
        Self { model: true, max_tokens: true }
    }
}

/// What a body is, as far as the gateway can read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind<'a> {
    /// One JSON object and nothing else.
    Json,
    /// A multipart form with parts divided by this text.
    Multipart(&'a [u8]),
    /// Something else, or broken.
    #[default]
    Unknown,
}

fn read_json(body: &[u8]) -> BodyPeek<'_> {
    let mut peek = BodyPeek { size: Size::of(body), ..BodyPeek::default() };
    let mut models = ModelKeys::default();
    let mut max_tokens = MaxTokens::default();
    let mut stream_options = None;
    // Most readers skip a byte order mark, so what is behind it is read; but not for certain.
    let from = if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let Some(mut start) = members(body, from, |key, value| {
        let text = body.get(value.clone()).unwrap_or_default();
        match key {
            b"model" => {
                peek.model = string(text).or(peek.model.take());
                models.times += 1;
                peek.model_is_unreadable |= text != b"null";
            }
            b"stream" => peek.stream = boolean(text),
            b"background" => peek.is_background |= !matches!(text, b"false" | b"null"),
            b"stream_options" => stream_options = Some(value),
            b"service_tier" => peek.take_term(Term::ServiceTier, text),
            b"speed" => peek.take_term(Term::Speed, text),
            b"inference_geo" => peek.take_term(Term::InferenceGeo, text),
            _ if MAX_TOKENS.contains(&key) => max_tokens.take_in(text),
            _ if OPTIONS.contains(&key) => max_tokens.take_in_nested(text),
            _ => {
                // OpenRouter goes on to `models` when `model` fails.
                models.alike |= key == b"models" || looks_like(key, &[b"model"]);
                max_tokens.is_ambiguous |= looks_like(key, &MAX_TOKENS) || looks_like(key, &OPTIONS);
            }
        }
    }) else {
        return peek;
    };
    start.is_whole &= from == 0;
    peek.kind = if start.is_whole { BodyKind::Json } else { BodyKind::Unknown };
    let is_one_model = models == ModelKeys { times: 1, alike: false } && peek.model.is_some();
    peek.ambiguous = Ambiguous {
        model: !(start.is_whole && is_one_model),
        max_tokens: !start.is_whole || max_tokens.is_ambiguous,
    };
    peek.max_tokens = max_tokens.largest;
    peek.usage_option = match stream_options {
        Some(options) => UsageOption::within(body, options),
        None => UsageOption::absent(&start),
    };
    peek
}

fn read_form(body: &[u8]) -> BodyPeek<'_> {
    let form = multipart::read(body);
    BodyPeek {
        model: form.model,
        kind: BodyKind::Multipart(form.boundary),
        model_is_unreadable: !form.is_read,
        ambiguous: Ambiguous { model: !form.is_unambiguous, max_tokens: !form.is_unambiguous },
        size: Size { text: 0, files: 1 },
        ..BodyPeek::default()
    }
}

/// How often a model was named, and whether a key could be taken for another name of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ModelKeys {
    times: u32,
    alike: bool,
}

/// Writes the names of all dialects into one list.
macro_rules! of_all_dialects {
    ($names:ident) => {{
        const LEN: usize = {
            let (mut len, mut at) = (0, 0);
            while at < Provider::ALL.len() {
                len += request_names(Provider::ALL[at]).$names.len();
                at += 1;
            }
            len
        };
        let mut all: [&[u8]; LEN] = [&[]; LEN];
        let (mut len, mut at) = (0, 0);
        while at < Provider::ALL.len() {
            let names = request_names(Provider::ALL[at]).$names;
            let mut next = 0;
            while next < names.len() {
                all[len] = names[next].as_bytes();
                len += 1;
                next += 1;
            }
            at += 1;
        }
        all
    }};
}

/// Keys that say how many tokens of output a caller wants, in any dialect: a limit must hold whoever reads the body.
const MAX_TOKENS: [&[u8]; of_all_dialects!(max_tokens).len()] = of_all_dialects!(max_tokens);
/// Keys whose object may hold such a key.
const OPTIONS: [&[u8]; of_all_dialects!(options).len()] = of_all_dialects!(options);
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The largest number of tokens that was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct MaxTokens {
    largest: Option<u64>,
    is_ambiguous: bool,
}

impl MaxTokens {
    fn take_in(&mut self, json: &[u8]) {
        match number(json) {
            Some(tokens) => self.largest = self.largest.max(Some(tokens)),
            None => self.is_ambiguous |= json != b"null",
        }
    }

    /// The output limit inside Gemini's `generationConfig` or Ollama's `options`.
    fn take_in_nested(&mut self, json: &[u8]) {
        let start = members(json, 0, |key, value| {
            if MAX_TOKENS.contains(&key) {
                self.take_in(json.get(value).unwrap_or_default());
            } else {
                self.is_ambiguous |= looks_like(key, &MAX_TOKENS);
            }
        });
        self.is_ambiguous |= json != b"null" && !start.is_some_and(|start| start.is_whole);
    }
}

/// Whether some reader may take `key` for one of `names`, which it is not: Go's, and so Ollama, does not care for
/// case, and folds letters that are no ASCII.
fn looks_like(key: &[u8], names: &[&[u8]]) -> bool {
    !key.is_ascii() || names.iter().any(|name| key.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_level_keys_are_read_and_nested_ones_are_not() {
        let body = br#" {"messages":[{"model":"no","stream":true,"content":"\"model\":\"no\" \\"}],
            "model" : "claude-opus-4-5", "metadata":{"max_tokens":1},"max_tokens": 32000 ,"stream":true}"#;
        let peek = BodyPeek::read(body);
        assert_eq!(peek.model.as_deref(), Some("claude-opus-4-5"));
        assert_eq!(
            (peek.stream, peek.max_tokens, peek.usage_option.is_set()),
            (Some(true), Some(32_000), false)
        );
        assert_eq!(peek.input_tokens_estimate(), (body.len() as u64).div_ceil(4));
    }

    #[test]
    fn an_image_in_a_large_body_is_worth_an_image_and_not_its_bytes() {
        let text = "words and more words. ".repeat(20_000);
        let image = "iVBORw0KGgo".repeat(100_000);
        let body = format!(r#"{{"model":"m","text":"{text}","data":"{image}"}}"#);
        let estimate = BodyPeek::read(body.as_bytes()).input_tokens_estimate();
        let of_text = text.len() as u64 / 4;
        assert!((of_text..of_text + TOKENS_PER_FILE + 50).contains(&estimate), "{estimate}");
    }

    #[test]
    fn keys_and_values_with_escapes_mean_what_they_say_and_the_last_of_two_models_counts() {
        let peek = BodyPeek::read(br#"{"model":"cheap","mod\u0065l":"dear\/er"}"#);
        assert_eq!(peek.model.as_deref(), Some("dear/er"));
    }

    #[test]
    fn limits_are_found_where_each_dialect_puts_them() {
        for (body, expected) in [
            (r#"{"max_completion_tokens":7}"#, Some(7)),
            (r#"{"max_output_tokens":8}"#, Some(8)),
            (r#"{"generationConfig":{"temperature":1,"maxOutputTokens":9}}"#, Some(9)),
            (r#"{"options":{"num_predict":10}}"#, Some(10)),
            (r#"{"max_tokens_to_sample":11}"#, Some(11)),
            (r#"{"parameters":{"max_new_tokens":12,"maxOutputTokens":3}}"#, Some(12)),
            (r#"{"n_predict":13}"#, Some(13)),
            (r#"{"inferenceConfig":{"maxTokens":14}}"#, Some(14)),
            (r#"{"options":{"num_predict":-1}}"#, None),
            (r#"{"max_tokens":null}"#, None),
        ] {
            assert_eq!(BodyPeek::read(body.as_bytes()).max_tokens, expected, "{body}");
        }
    }

    #[test]
    fn what_another_reader_could_read_otherwise_is_ambiguous() {
        for (body, model, max_tokens) in [
            (r#" {"model":"m","max_tokens":1} "#, false, false),
            (r#"{"model":"m","options":{"num_predict":1},"max_tokens":null}"#, false, false),
            (r#"{"max_tokens":1}"#, true, false),
            (r#"{"model":"m","model":"m"}"#, true, false),
            (r#"{"model":"m","MODEL":"n"}"#, true, false),
            (r#"{"model":"m","models":["n"]}"#, true, false),
            (r#"{"model":7}"#, true, false),
            (r#"{"model":"m","max_tokens":1e9}"#, false, true),
            (r#"{"model":"m","max_tokens":"9"}"#, false, true),
            (r#"{"model":"m","max_to\u212aens":9}"#, true, true),
            (r#"{"model":"m","options":[{"num_predict":9}]}"#, false, true),
            (r#"{"model":"m"}{"model":"n"}"#, true, true),
            (r#"{"model":"m","a":1/*","b":"*/}"#, true, true),
            (r#"{"model":"m""#, true, true),
            (r#"[{"model":"m"}]"#, true, true),
        ] {
            assert_eq!(BodyPeek::read(body.as_bytes()).ambiguous, Ambiguous { model, max_tokens }, "{body}");
        }
        let largest = BodyPeek::read(
            br#"{"max_tokens":9,"max_completion_tokens":7,"options":{"num_predict":8,"num_predict":1}}"#,
        );
        assert_eq!(largest.max_tokens, Some(9));
    }

    #[test]
    fn usage_is_asked_for_by_one_insertion() {
        for (body, expected) in [
            (r#"{"stream":true}"#, Some(r#"{"stream_options":{"include_usage":true},"stream":true}"#)),
            (r#" { "stream":true}"#, Some(r#" {"stream_options":{"include_usage":true}, "stream":true}"#)),
            (
                r#"{"stream":true,"stream_options":{}}"#,
                Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
            ),
            (
                r#"{"stream_options":{"x":1},"stream":true}"#,
                Some(r#"{"stream_options":{"include_usage":true,"x":1},"stream":true}"#),
            ),
            (
                r#"{"stream_options":{"include_usage": false },"stream":true}"#,
                Some(r#"{"stream_options":{"include_usage": true },"stream":true}"#),
            ),
            (
                r#"{"stream_options":null,"stream":true}"#,
                Some(r#"{"stream_options":{"include_usage":true},"stream":true}"#),
            ),
            (r#"{"stream_options":{"include_usage":true},"stream":true}"#, None),
            (r#"{"stream":false}"#, None),
            (r"{}", None),
            (r"[1]", None),
        ] {
            let peek = BodyPeek::read(body.as_bytes());
            let changed =
                (peek.stream == Some(true)).then(|| peek.usage_option.set_in(body.as_bytes())).flatten();
            assert_eq!(changed.as_deref(), expected.map(str::as_bytes), "{body}");
        }
    }

    #[test]
    fn a_form_names_its_model_too() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x--\r\n";
        assert_eq!(BodyPeek::read(body).model.as_deref(), Some("whisper-1"));
        assert_eq!(BodyPeek::read(body).input_tokens_estimate(), TOKENS_PER_FILE, "a form carries a file");
    }

    #[test]
    fn broken_bodies_are_read_as_far_as_they_go() {
        for body in
            ["", "{", "{\"", "{\"model\"", "{\"model\":", "{\"model\":\"x", "nonsense", "{\"a\":}", "{1:2}"]
        {
            assert_eq!(BodyPeek::read(body.as_bytes()).model, None, "{body}");
        }
        assert_eq!(BodyPeek::read(br#"{"model":"m","messages":["#).model.as_deref(), Some("m"));
    }
}
