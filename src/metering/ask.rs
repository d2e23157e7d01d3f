//! What a request asks for: one pass over its body, top-level keys only, nothing copied.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::metering::meter::BYTES_PER_TOKEN;
use crate::metering::skip::{Skip, Text};

/// What the gateway reads of a request; everything else passes unread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// `model`; of several the last, as parsers do. Gemini names it in the path: see [`model_in_path`].
    pub model: Option<Cow<'a, str>>,
    /// `stream`; none if the request does not say, which Ollama takes for true and everyone else for false.
    pub stream: Option<bool>,
    /// The most output tokens the caller wants: `max_tokens`, `max_completion_tokens`, `max_output_tokens`,
    /// Gemini's `generationConfig.maxOutputTokens`, Ollama's `options.num_predict`.
    pub max_tokens: Option<u64>,
    /// The request asks for usage in its stream by itself (`stream_options.include_usage`).
    pub wants_usage: bool,
    /// Where usage could be asked for.
    splice: Option<Splice>,
    /// What the body consists of.
    weight: Weight,
}

impl Asked<'_> {
    /// What the input is worth in tokens if nobody says: one for every [`BYTES_PER_TOKEN`] bytes of the body, and for
    /// an embedded file (an image in base64) of a large body [`TOKENS_PER_FILE`] instead.
    #[must_use]
    pub fn input_tokens_estimate(&self) -> u64 {
        (self.weight.text as u64).div_ceil(BYTES_PER_TOKEN) + self.weight.files as u64 * TOKENS_PER_FILE
    }
}

/// Tokens of an embedded file: about what providers charge for a large image.
pub const TOKENS_PER_FILE: u64 = 1_600;
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

/// Reads `body`: JSON, or a multipart form, of which only the model is read. Of a body that is neither, or is
/// broken, what could be read up to there.
#[must_use]
pub fn scan(body: &[u8]) -> Asked<'_> {
    let mut asked = Asked { weight: Weight::of(body), ..Asked::default() };
    if body.starts_with(b"--") {
        asked.model = model_in_form(body);
        asked.weight = Weight { text: 0, files: 1 };
        return asked;
    }
    let mut stream_options = None;
    let Some(start) = members(body, 0, |key, value| {
        let text = body.get(value.clone()).unwrap_or_default();
        match key {
            b"model" => asked.model = string(text).or(asked.model.take()),
            b"stream" => asked.stream = boolean(text),
            b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens" => {
                asked.max_tokens = number(text).or(asked.max_tokens);
            }
            b"generationConfig" | b"generation_config" | b"options" => {
                asked.max_tokens = nested_max(text).or(asked.max_tokens);
            }
            b"stream_options" => stream_options = Some(value),
            _ => {}
        }
    }) else {
        return asked;
    };
    asked.splice = match stream_options {
        Some(options) => in_options(body, options, &mut asked.wants_usage),
        None => Some(start.insertion(start.option())),
    };
    asked
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

/// The model in a Gemini path: `/v1beta/models/gemini-3-pro:generateContent` → `gemini-3-pro`.
#[must_use]
pub fn model_in_path(path: &str) -> Option<&str> {
    let (_, behind) = path.split_once("/models/")?;
    let model = behind.split(['/', ':', '?']).next().unwrap_or_default();
    (!model.is_empty()).then_some(model)
}

/// The beginning of an object.
struct Start {
    behind_bracket: usize,
    is_empty: bool,
}

impl Start {
    fn option(&self) -> &'static str {
        if self.is_empty {
            r#""stream_options":{"include_usage":true}"#
        } else {
            r#""stream_options":{"include_usage":true},"#
        }
    }

    fn include(&self) -> &'static str {
        if self.is_empty { r#""include_usage":true"# } else { r#""include_usage":true,"# }
    }

    fn insertion(&self, text: &'static str) -> Splice {
        Splice { at: self.behind_bracket..self.behind_bracket, text }
    }
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
        (Some(start), None) => Some(start.insertion(start.include())),
        (None, None) => Some(Splice { at: options, text: r#"{"include_usage":true}"# }),
    }
}

/// Calls `each` with every member of the object at `from`: its key, and where its value stands. Values are
/// skipped, not read; reading stops where `bytes` is no JSON. None if there is no object.
fn members(bytes: &[u8], from: usize, mut each: impl FnMut(&[u8], Range<usize>)) -> Option<Start> {
    let mut at = behind_space(bytes, from);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    at += 1;
    let mut start = Start { behind_bracket: at, is_empty: true };
    loop {
        at = behind_space(bytes, at);
        if bytes.get(at) != Some(&b'"') {
            return Some(start);
        }
        start.is_empty = false;
        let key = value_end(bytes, at).map(|end| at..end);
        let colon = key.as_ref().map(|key| behind_space(bytes, key.end));
        let (Some(key), Some(colon)) = (key, colon.filter(|colon| bytes.get(*colon) == Some(&b':'))) else {
            return Some(start);
        };
        let value = behind_space(bytes, colon + 1);
        let Some(end) = value_end(bytes, value) else { return Some(start) };
        match string(bytes.get(key).unwrap_or_default()) {
            Some(key) => each(key.as_bytes(), value..end),
            None => return Some(start),
        }
        at = behind_space(bytes, end);
        if bytes.get(at) == Some(&b',') {
            at += 1;
        }
    }
}

fn behind_space(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(rest.len())
}

/// Where the value that starts at `from` ends.
fn value_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from + 1..)?;
    match bytes.get(from)? {
        b'"' => {
            let mut text = Text::inside();
            let taken = text.feed(rest);
            text.is_over().then_some(from + 1 + taken)
        }
        b'{' | b'[' => {
            let mut skip = Skip::inside();
            let taken = skip.feed(rest);
            skip.is_over().then_some(from + 1 + taken)
        }
        b'}' | b']' | b',' | b':' => None,
        _ => {
            let more =
                rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace());
            more.map(|more| from + 1 + more)
        }
    }
}

/// The text of a JSON string; borrowed unless it has escapes.
fn string(json: &[u8]) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inside.contains(&b'\\') {
        return serde_json::from_slice::<String>(json).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inside).ok().map(Cow::Borrowed)
}

fn boolean(json: &[u8]) -> Option<bool> {
    match json {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn number(json: &[u8]) -> Option<u64> {
    std::str::from_utf8(json).ok()?.parse().ok()
}

/// The output limit inside Gemini's `generationConfig` or Ollama's `options`.
fn nested_max(json: &[u8]) -> Option<u64> {
    let mut most = None;
    members(json, 0, |key, value| {
        if matches!(key, b"maxOutputTokens" | b"max_output_tokens" | b"num_predict") {
            most = json.get(value).and_then(number);
        }
    });
    most
}

/// The model field of a multipart form (audio, images).
fn model_in_form(body: &[u8]) -> Option<Cow<'_, str>> {
    const FIELD: &[u8] = b"name=\"model\"";
    let field = memmem::find(body, FIELD)? + FIELD.len();
    let rest = body.get(field..)?;
    let value = rest.get(memmem::find(rest, b"\r\n\r\n")? + 4..)?;
    let value = value.get(..memmem::find(value, b"\r\n")?)?;
    std::str::from_utf8(value).ok().filter(|model| !model.is_empty()).map(Cow::Borrowed)
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
            (r#"{"options":{"num_predict":-1}}"#, None),
            (r#"{"max_tokens":null}"#, None),
        ] {
            assert_eq!(scan(body.as_bytes()).max_tokens, expected, "{body}");
        }
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
        assert_eq!(model_in_path("/v1beta/models/gemini-3-pro:generateContent"), Some("gemini-3-pro"));
        assert_eq!(model_in_path("/v1beta/models"), None);
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
