//! What a request asks for: one pass over its body, top-level keys only, nothing copied.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::domain::terms::{Term, Terms};
use crate::json::object::{Start, boolean, members, number, string};
use crate::metering::form;
use crate::metering::meter::{BYTES_PER_TOKEN, Estimate};

/// What the gateway reads of a request; everything else passes unread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// `model`; of several the last, as parsers do. Some paths name it: see [`InPath`](crate::metering::InPath).
    pub model: Option<Cow<'a, str>>,
    /// What the body is.
    pub form: Form<'a>,
    /// What of it is clear.
    pub clear: Clear,
    /// `stream`; none if the request does not say, which Ollama takes for true and everyone else for false.
    pub stream: Option<bool>,
    /// The most output tokens the caller wants, under any of the names in `MAX_TOKENS`, at the top or in an object of
    /// options. Of several the largest.
    pub max_tokens: Option<u64>,
    /// On which terms the caller wants to be served: `service_tier`, `speed`, `inference_geo`.
    pub terms: Terms,
    /// A model is named that could not be read.
    pub names_unread: bool,
    /// The answer will only say that the work has been taken on.
    pub background: bool,
    /// The request asks for usage in its stream by itself (`stream_options.include_usage`).
    pub wants_usage: bool,
    /// Where usage could be asked for.
    splice: Option<Splice>,
    /// What the body consists of.
    weight: Weight,
}

impl Asked<'_> {
    fn take_term(&mut self, term: Term, json: &[u8]) {
        if let Some(word) = string(json) {
            self.terms.set(term, &word);
        }
    }

    /// Whether the body may name a model that the gateway does not see.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.model.is_none() && (self.names_unread || self.form == Form::Unknown)
    }

    /// The same body, of which nothing can be read after all.
    #[must_use]
    pub fn unread(self) -> Self {
        Self { weight: self.weight, ..Self::default() }
    }

    /// What the call is worth where its answer does not tell.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        let output_later = self.max_tokens.unwrap_or(0).min(LATER_MAX);
        Estimate { input: self.input_tokens_estimate(), output_later, is_deferred: self.background }
    }

    /// What the input is worth in tokens if nobody says: one for every [`BYTES_PER_TOKEN`] bytes of the body, and for
    /// an embedded file (an image in base64) of a large body [`TOKENS_PER_FILE`] instead.
    #[must_use]
    pub fn input_tokens_estimate(&self) -> u64 {
        (self.weight.text as u64).div_ceil(BYTES_PER_TOKEN) + self.weight.files as u64 * TOKENS_PER_FILE
    }
}

/// Tokens of an embedded file: about what providers charge for a large image.
pub const TOKENS_PER_FILE: u64 = 1_600;
/// More output than any model gives to one call: nobody's books are to be filled by a number in a request.
const LATER_MAX: u64 = 1_000_000;
/// Bodies up to here are taken for text; it is not worth looking for files in them.
const SMALL: usize = 256 * 1024;
/// A string of at least this length, without a blank or an escape at its beginning, is a file.
const FILE_MIN: usize = 4 * 1024;

/// Bytes of text, and how many embedded files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weight {
    text: usize,
    files: usize,
}

impl Weight {
    fn of(body: &[u8]) -> Self {
        let mut weight = Self { text: body.len(), files: 0 };
        if body.len() <= SMALL {
            return weight;
        }
        let mut start = 0;
        for quote in memchr::memchr_iter(b'"', body) {
            let between = body.get(start..quote).unwrap_or_default();
            if between.len() >= FILE_MIN
                && let Some(beginning) = between.get(..FILE_MIN)
                && beginning.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\')
            {
                weight.text -= between.len();
                weight.files += 1;
            }
            start = quote + 1;
        }
        weight
    }
}

/// A change to a body: these bytes are exchanged for that text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Splice {
    at: Range<usize>,
    text: &'static str,
}

/// What any provider would read as the gateway does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clear {
    /// The same model.
    pub model: bool,
    /// At most the same number of tokens.
    pub max_tokens: bool,
}

/// What a body is, as far as the gateway can read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form<'a> {
    /// One JSON object and nothing else.
    Json,
    /// A multipart form with parts divided by this text.
    Multipart(&'a [u8]),
    /// Something else, or broken.
    #[default]
    Unknown,
}

/// Reads `body`: JSON, or a multipart form, of which only the model is read. Of a body that is neither, or is
/// broken, what could be read up to there.
#[must_use]
pub fn scan(body: &[u8]) -> Asked<'_> {
    if body.starts_with(b"--") {
        return scan_form(body);
    }
    let mut asked = Asked { weight: Weight::of(body), ..Asked::default() };
    let mut models = Seen::default();
    let mut most = Most::default();
    let mut stream_options = None;
    // Most readers skip a byte order mark, so what is behind it is read; but not for certain.
    let from = if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let Some(mut start) = members(body, from, |key, value| {
        let text = body.get(value.clone()).unwrap_or_default();
        match key {
            b"model" => {
                asked.model = string(text).or(asked.model.take());
                models.times += 1;
                asked.names_unread |= text != b"null";
            }
            b"stream" => asked.stream = boolean(text),
            b"background" => asked.background |= !matches!(text, b"false" | b"null"),
            b"stream_options" => stream_options = Some(value),
            b"service_tier" => asked.take_term(Term::ServiceTier, text),
            b"speed" => asked.take_term(Term::Speed, text),
            b"inference_geo" => asked.take_term(Term::InferenceGeo, text),
            _ if MAX_TOKENS.contains(&key) => most.take_in(text),
            _ if OPTIONS.contains(&key) => most.take_in_nested(text),
            _ => {
                // OpenRouter goes on to `models` when `model` fails.
                models.alike |= key == b"models" || looks_like(key, &[b"model"]);
                most.unclear |= looks_like(key, &MAX_TOKENS) || looks_like(key, &OPTIONS);
            }
        }
    }) else {
        return asked;
    };
    start.is_whole &= from == 0;
    asked.form = if start.is_whole { Form::Json } else { Form::Unknown };
    let one_model = models == Seen { times: 1, alike: false } && asked.model.is_some();
    asked.clear = Clear { model: start.is_whole && one_model, max_tokens: start.is_whole && !most.unclear };
    asked.max_tokens = most.tokens;
    asked.splice = match stream_options {
        Some(options) => in_options(body, options, &mut asked.wants_usage),
        None => Some(insertion(&start, option(&start))),
    };
    asked
}

fn scan_form(body: &[u8]) -> Asked<'_> {
    let form = form::read(body);
    Asked {
        model: form.model,
        form: Form::Multipart(form.boundary),
        names_unread: !form.is_read,
        clear: Clear { model: form.is_clear, max_tokens: form.is_clear },
        weight: Weight { text: 0, files: 1 },
        ..Asked::default()
    }
}

/// How often a model was named, and whether a key could be taken for another name of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    times: u32,
    alike: bool,
}

/// Keys that say how many tokens of output a caller wants, in the dialects and in what other servers made of them.
const MAX_TOKENS: [&[u8]; 14] = [
    b"max_tokens",
    b"max_completion_tokens",
    b"max_output_tokens",
    b"max_tokens_to_sample",
    b"max_response_output_tokens",
    b"max_new_tokens",
    b"max_gen_len",
    b"max_tokens_to_generate",
    b"maxTokens",
    b"maxOutputTokens",
    b"maxCompletionTokens",
    b"maxTokenCount",
    b"num_predict",
    b"n_predict",
];
/// Keys whose object may hold such a key: Gemini's, Ollama's, Vertex' and Hugging Face's, Bedrock's, `SGLang`'s.
const OPTIONS: [&[u8]; 8] = [
    b"generationConfig",
    b"generation_config",
    b"options",
    b"parameters",
    b"inferenceConfig",
    b"inference_config",
    b"textGenerationConfig",
    b"sampling_params",
];
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The largest number of tokens that was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Most {
    tokens: Option<u64>,
    unclear: bool,
}

impl Most {
    fn take_in(&mut self, json: &[u8]) {
        match number(json) {
            Some(tokens) => self.tokens = self.tokens.max(Some(tokens)),
            None => self.unclear |= json != b"null",
        }
    }

    /// The output limit inside Gemini's `generationConfig` or Ollama's `options`.
    fn take_in_nested(&mut self, json: &[u8]) {
        let start = members(json, 0, |key, value| {
            if MAX_TOKENS.contains(&key) {
                self.take_in(json.get(value).unwrap_or_default());
            } else {
                self.unclear |= looks_like(key, &MAX_TOKENS);
            }
        });
        self.unclear |= json != b"null" && !start.is_some_and(|start| start.is_whole);
    }
}

/// Whether some reader may take `key` for one of `names`, which it is not: Go's, and so Ollama, does not care for
/// case, and folds letters that are no ASCII.
fn looks_like(key: &[u8], names: &[&[u8]]) -> bool {
    !key.is_ascii() || names.iter().any(|name| key.eq_ignore_ascii_case(name))
}

/// `body` with usage asked for in its stream, or none where there is nothing to change: no stream, or asked for
/// already. One insertion (or one exchanged value) in an otherwise untouched copy.
#[must_use]
pub fn with_usage_requested(body: &[u8], asked: &Asked<'_>) -> Option<Bytes> {
    let splice = asked.splice.as_ref().filter(|_| asked.stream == Some(true) && !asked.wants_usage)?;
    let (before, behind) = (body.get(..splice.at.start)?, body.get(splice.at.end..)?);
    let mut changed = BytesMut::with_capacity(body.len() + splice.text.len());
    changed.extend_from_slice(before);
    changed.extend_from_slice(splice.text.as_bytes());
    changed.extend_from_slice(behind);
    Some(changed.freeze())
}

/// Whether calls of this path know `stream_options.include_usage`: Chat Completions and Completions do, the
/// Responses API reports usage by itself.
#[must_use]
pub fn knows_stream_options(path: &str) -> bool {
    path.trim_end_matches('/').ends_with("/completions")
}

fn option(start: &Start) -> &'static str {
    if start.is_empty {
        r#""stream_options":{"include_usage":true}"#
    } else {
        r#""stream_options":{"include_usage":true},"#
    }
}

fn include(start: &Start) -> &'static str {
    if start.is_empty { r#""include_usage":true"# } else { r#""include_usage":true,"# }
}

fn insertion(start: &Start, text: &'static str) -> Splice {
    Splice { at: start.behind_bracket..start.behind_bracket, text }
}

/// Where the `stream_options` of a request could ask for usage, and whether they do.
fn in_options(body: &[u8], options: Range<usize>, wants_usage: &mut bool) -> Option<Splice> {
    let mut said = None;
    let start = members(body.get(..options.end)?, options.start, |key, value| {
        if key == b"include_usage" {
            said = Some(value);
        }
    });
    match (start, said) {
        (_, Some(said)) => {
            *wants_usage = body.get(said.clone()).and_then(boolean) == Some(true);
            Some(Splice { at: said, text: "true" })
        }
        (Some(start), None) => Some(insertion(&start, include(&start))),
        (None, None) => Some(Splice { at: options, text: r#"{"include_usage":true}"# }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_level_keys_are_read_and_nested_ones_are_not() {
        let body = br#" {"messages":[{"model":"no","stream":true,"content":"\"model\":\"no\" \\"}],
            "model" : "claude-opus-4-5", "metadata":{"max_tokens":1},"max_tokens": 32000 ,"stream":true}"#;
        let asked = scan(body);
        assert_eq!(asked.model.as_deref(), Some("claude-opus-4-5"));
        assert_eq!((asked.stream, asked.max_tokens, asked.wants_usage), (Some(true), Some(32_000), false));
        assert_eq!(asked.input_tokens_estimate(), (body.len() as u64).div_ceil(4));
    }

    #[test]
    fn an_image_in_a_large_body_is_worth_an_image_and_not_its_bytes() {
        let text = "words and more words. ".repeat(20_000);
        let image = "iVBORw0KGgo".repeat(100_000);
        let body = format!(r#"{{"model":"m","text":"{text}","data":"{image}"}}"#);
        let estimate = scan(body.as_bytes()).input_tokens_estimate();
        let of_text = text.len() as u64 / 4;
        assert!((of_text..of_text + TOKENS_PER_FILE + 50).contains(&estimate), "{estimate}");
    }

    #[test]
    fn keys_and_values_with_escapes_mean_what_they_say_and_the_last_of_two_models_counts() {
        let asked = scan(br#"{"model":"cheap","mod\u0065l":"dear\/er"}"#);
        assert_eq!(asked.model.as_deref(), Some("dear/er"));
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
            assert_eq!(scan(body.as_bytes()).max_tokens, expected, "{body}");
        }
    }

    #[test]
    fn what_another_reader_could_read_otherwise_is_not_clear() {
        for (body, model, max_tokens) in [
            (r#" {"model":"m","max_tokens":1} "#, true, true),
            (r#"{"model":"m","options":{"num_predict":1},"max_tokens":null}"#, true, true),
            (r#"{"max_tokens":1}"#, false, true),
            (r#"{"model":"m","model":"m"}"#, false, true),
            (r#"{"model":"m","MODEL":"n"}"#, false, true),
            (r#"{"model":"m","models":["n"]}"#, false, true),
            (r#"{"model":7}"#, false, true),
            (r#"{"model":"m","max_tokens":1e9}"#, true, false),
            (r#"{"model":"m","max_tokens":"9"}"#, true, false),
            (r#"{"model":"m","max_to\u212aens":9}"#, false, false),
            (r#"{"model":"m","options":[{"num_predict":9}]}"#, true, false),
            (r#"{"model":"m"}{"model":"n"}"#, false, false),
            (r#"{"model":"m","a":1/*","b":"*/}"#, false, false),
            (r#"{"model":"m""#, false, false),
            (r#"[{"model":"m"}]"#, false, false),
        ] {
            assert_eq!(scan(body.as_bytes()).clear, Clear { model, max_tokens }, "{body}");
        }
        let largest = scan(
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
            let asked = scan(body.as_bytes());
            let changed = with_usage_requested(body.as_bytes(), &asked);
            assert_eq!(changed.as_deref(), expected.map(str::as_bytes), "{body}");
        }
    }

    #[test]
    fn a_form_names_its_model_too() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x--\r\n";
        assert_eq!(scan(body).model.as_deref(), Some("whisper-1"));
        assert_eq!(scan(body).input_tokens_estimate(), TOKENS_PER_FILE, "a form carries a file");
    }

    #[test]
    fn broken_bodies_are_read_as_far_as_they_go() {
        for body in
            ["", "{", "{\"", "{\"model\"", "{\"model\":", "{\"model\":\"x", "nonsense", "{\"a\":}", "{1:2}"]
        {
            assert_eq!(scan(body.as_bytes()).model, None, "{body}");
        }
        assert_eq!(scan(br#"{"model":"m","messages":["#).model.as_deref(), Some("m"));
    }
}
