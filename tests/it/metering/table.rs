//! The counting rule against every usage object that is known: as JSON, as a stream, split at every byte, compressed.

use std::io::Write;

use sproxy::dialect::Billing;
use sproxy::domain::tokens::Estimate;
use sproxy::domain::usage::TokenSource;
use sproxy::metering::{AnswerHead, MeterResult, open};

use super::{REQUEST_ESTIMATE, read, tokens};

/// In whose shape an answer comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// Chat Completions; the usage in an event of its own.
    Chat,
    /// Responses.
    Responses,
    /// Messages; the usage in `message_delta`.
    Messages,
    /// `generateContent`.
    Gemini,
    /// `/api/chat`: counts stand beside the message.
    Ollama,
    /// An answer without content; only as JSON.
    Bare,
}

use Shape::{Bare, Chat, Gemini, Messages, Ollama, Responses};

/// 40 bytes, so 10 tokens by estimate.
const CONTENT: &str = "0123456789012345678901234567890123456789";
const OUT: u64 = 10;
const IN: u64 = REQUEST_ESTIMATE;

const EXACT: TokenSource = TokenSource::Reported;
const ABOUT: TokenSource = TokenSource::Estimated;

/// What it is; its shape; its usage object; input, output, read from cache, written for 5 minutes, for 1 hour,
/// reasoning; how good that is.
type Row = (&'static str, Shape, &'static str, [u64; 6], TokenSource);

const ROWS: &[Row] = &[
    // names that say the same in different words
    (
        "a relay that writes Anthropic's names beside OpenAI's, as zeros",
        Chat,
        r#"{"prompt_tokens":1200,"completion_tokens":300,"total_tokens":1500,"prompt_tokens_details":{"cached_tokens":0},"input_tokens":0,"output_tokens":0,"input_tokens_details":null}"#,
        [1_200, 300, 0, 0, 0, 0],
        EXACT,
    ),
    (
        "the same the other way round",
        Messages,
        r#"{"input_tokens":1200,"output_tokens":300,"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#,
        [1_200, 300, 0, 0, 0, 0],
        EXACT,
    ),
    (
        "both names, both right",
        Responses,
        r#"{"input_tokens":1200,"output_tokens":300,"prompt_tokens":1200,"completion_tokens":300,"total_tokens":1500}"#,
        [1_200, 300, 0, 0, 0, 0],
        EXACT,
    ),
    // cached and written parts, inside or beside
    (
        "Anthropic: parts beside",
        Messages,
        r#"{"input_tokens":95,"cache_creation_input_tokens":500,"cache_read_input_tokens":9000,"cache_creation":{"ephemeral_5m_input_tokens":300,"ephemeral_1h_input_tokens":200},"output_tokens":100}"#,
        [9_595, 100, 9_000, 300, 200, 0],
        EXACT,
    ),
    (
        "Anthropic: everything from the cache",
        Messages,
        r#"{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":9000,"output_tokens":100}"#,
        [9_000, 100, 9_000, 0, 0, 0],
        EXACT,
    ),
    (
        "Anthropic's parts inside prompt_tokens (LiteLLM, OpenRouter)",
        Chat,
        r#"{"prompt_tokens":10000,"completion_tokens":100,"total_tokens":10100,"prompt_tokens_details":{"cached_tokens":9000},"cache_read_input_tokens":9000,"cache_creation_input_tokens":500}"#,
        [10_000, 100, 9_000, 500, 0, 0],
        EXACT,
    ),
    (
        "the same without a total",
        Chat,
        r#"{"prompt_tokens":10000,"completion_tokens":100,"cache_read_input_tokens":9000,"cache_creation_input_tokens":500}"#,
        [10_000, 100, 9_000, 500, 0, 0],
        EXACT,
    ),
    (
        "parts beside prompt_tokens, as the total says",
        Chat,
        r#"{"prompt_tokens":10000,"completion_tokens":100,"total_tokens":19600,"cache_read_input_tokens":9000,"cache_creation_input_tokens":500}"#,
        [19_500, 100, 9_000, 500, 0, 0],
        EXACT,
    ),
    (
        "parts beside prompt_tokens, as they are larger",
        Chat,
        r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"cache_read_input_tokens":9000}"#,
        [9_100, 50, 9_000, 0, 0, 0],
        EXACT,
    ),
    (
        "parts inside input_tokens, as the total says",
        Responses,
        r#"{"input_tokens":10000,"output_tokens":100,"total_tokens":10100,"cache_read_input_tokens":9000}"#,
        [10_000, 100, 9_000, 0, 0, 0],
        EXACT,
    ),
    (
        "OpenAI Responses",
        Responses,
        r#"{"input_tokens":8123,"input_tokens_details":{"cached_tokens":7936,"cache_write_tokens":100},"output_tokens":345,"output_tokens_details":{"reasoning_tokens":256},"total_tokens":8468}"#,
        [8_123, 345, 7_936, 100, 0, 256],
        EXACT,
    ),
    (
        "OpenAI Chat",
        Chat,
        r#"{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,"prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":192,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#,
        [2_006, 300, 1_920, 0, 0, 192],
        EXACT,
    ),
    (
        "DeepSeek",
        Chat,
        r#"{"prompt_tokens":640,"completion_tokens":58,"total_tokens":698,"prompt_cache_hit_tokens":512,"prompt_cache_miss_tokens":128,"completion_tokens_details":{"reasoning_tokens":40}}"#,
        [640, 58, 512, 0, 0, 40],
        EXACT,
    ),
    (
        "Moonshot",
        Chat,
        r#"{"prompt_tokens":800,"completion_tokens":40,"total_tokens":840,"cached_tokens":768}"#,
        [800, 40, 768, 0, 0, 0],
        EXACT,
    ),
    (
        "Qwen: written parts in the details",
        Chat,
        r#"{"prompt_tokens":2000,"completion_tokens":30,"total_tokens":2030,"prompt_tokens_details":{"cached_tokens":300,"cache_creation":{"ephemeral_5m_input_tokens":1605},"cache_creation_input_tokens":1605,"cache_type":"ephemeral"}}"#,
        [2_000, 30, 300, 1_605, 0, 0],
        EXACT,
    ),
    (
        "new-api's own names",
        Chat,
        r#"{"prompt_tokens":2000,"completion_tokens":30,"total_tokens":2030,"prompt_cache_hit_tokens":0,"prompt_tokens_details":{"cached_tokens":300,"cached_creation_tokens":900,"text_tokens":0},"input_tokens":0,"output_tokens":0,"input_tokens_details":null,"claude_cache_creation_5_m_tokens":600,"claude_cache_creation_1_h_tokens":300}"#,
        [2_000, 30, 300, 600, 300, 0],
        EXACT,
    ),
    (
        "Bedrock Converse",
        Messages,
        r#"{"inputTokens":30,"outputTokens":12,"totalTokens":542,"cacheReadInputTokens":400,"cacheWriteInputTokens":100}"#,
        [530, 12, 400, 100, 0, 0],
        EXACT,
    ),
    // reasoning, inside or beside; what only the total knows
    (
        "xAI: reasoning beside, as the total says",
        Chat,
        r#"{"prompt_tokens":30,"completion_tokens":2,"total_tokens":132,"completion_tokens_details":{"reasoning_tokens":100}}"#,
        [30, 102, 0, 0, 0, 100],
        EXACT,
    ),
    (
        "Gemini through OpenAI's shape: thoughts only in the total",
        Chat,
        r#"{"prompt_tokens":20,"completion_tokens":198,"total_tokens":623}"#,
        [20, 603, 0, 0, 0, 405],
        EXACT,
    ),
    (
        "a total and an input",
        Chat,
        r#"{"prompt_tokens":20,"total_tokens":623}"#,
        [20, 603, 0, 0, 0, 0],
        EXACT,
    ),
    (
        "a total and an output",
        Chat,
        r#"{"completion_tokens":603,"total_tokens":623}"#,
        [20, 603, 0, 0, 0, 0],
        EXACT,
    ),
    ("a total alone: divided by estimate", Chat, r#"{"total_tokens":623}"#, [613, OUT, 0, 0, 0, 0], ABOUT),
    (
        "a total that is too small to be one",
        Chat,
        r#"{"prompt_tokens":1200,"completion_tokens":300,"total_tokens":7}"#,
        [1_200, 300, 0, 0, 0, 0],
        EXACT,
    ),
    (
        "Perplexity: reasoning at the top",
        Chat,
        r#"{"prompt_tokens":33,"completion_tokens":700,"total_tokens":733,"reasoning_tokens":400,"citation_tokens":9000,"num_search_queries":3}"#,
        [33, 700, 0, 0, 0, 400],
        EXACT,
    ),
    (
        "Gemini",
        Gemini,
        r#"{"promptTokenCount":1400,"candidatesTokenCount":40,"totalTokenCount":1952,"cachedContentTokenCount":1024,"thoughtsTokenCount":512,"promptTokensDetails":[{"modality":"TEXT","tokenCount":1400}]}"#,
        [1_400, 552, 1_024, 0, 0, 512],
        EXACT,
    ),
    (
        "Gemini with tools",
        Gemini,
        r#"{"promptTokenCount":100,"candidatesTokenCount":40,"totalTokenCount":360,"thoughtsTokenCount":20,"toolUsePromptTokenCount":200}"#,
        [300, 60, 0, 0, 0, 20],
        EXACT,
    ),
    (
        "Gemini's Interactions",
        Responses,
        r#"{"total_input_tokens":90,"total_output_tokens":10,"total_thought_tokens":5,"total_cached_tokens":64,"total_tool_use_tokens":0,"total_tokens":105}"#,
        [90, 15, 64, 0, 0, 5],
        EXACT,
    ),
    (
        "Ollama",
        Ollama,
        r#"{"prompt_eval_count":26,"prompt_eval_duration":342546000,"eval_count":282,"eval_duration":4535599000}"#,
        [26, 282, 0, 0, 0, 0],
        EXACT,
    ),
    (
        "Ollama with a cached prompt",
        Ollama,
        r#"{"prompt_eval_count":2600,"prompt_eval_cached_count":2500,"eval_count":282}"#,
        [2_600, 282, 2_500, 0, 0, 0],
        EXACT,
    ),
    // zeros that cannot be, absent counts
    (
        "zeros against content and a prompt",
        Chat,
        r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#,
        [IN, OUT, 0, 0, 0, 0],
        ABOUT,
    ),
    (
        "a zero for a prompt that was sent",
        Messages,
        r#"{"input_tokens":0,"output_tokens":7}"#,
        [IN, 7, 0, 0, 0, 0],
        ABOUT,
    ),
    (
        "a zero against content",
        Messages,
        r#"{"input_tokens":7,"output_tokens":0}"#,
        [7, OUT, 0, 0, 0, 0],
        ABOUT,
    ),
    (
        "zeros of Gemini",
        Gemini,
        r#"{"promptTokenCount":0,"candidatesTokenCount":0,"totalTokenCount":0}"#,
        [IN, OUT, 0, 0, 0, 0],
        ABOUT,
    ),
    ("zeros of Ollama", Ollama, r#"{"prompt_eval_count":0,"eval_count":0}"#, [IN, OUT, 0, 0, 0, 0], ABOUT),
    ("nothing", Chat, "null", [IN, OUT, 0, 0, 0, 0], ABOUT),
    ("nothing in it", Chat, "{}", [IN, OUT, 0, 0, 0, 0], ABOUT),
    // counts in other clothes
    (
        "counts as strings",
        Chat,
        r#"{"prompt_tokens":"1200","completion_tokens":" 300 ","total_tokens":"1500","prompt_tokens_details":{"cached_tokens":"1000"}}"#,
        [1_200, 300, 1_000, 0, 0, 0],
        EXACT,
    ),
    (
        "counts with exponents and fractions",
        Chat,
        r#"{"prompt_tokens":1.2e3,"completion_tokens":300.0,"total_tokens":1.5E+3}"#,
        [1_200, 300, 0, 0, 0, 0],
        EXACT,
    ),
    (
        "counts as strings with exponents",
        Ollama,
        r#"{"prompt_eval_count":"1.2e3","eval_count":"3e2"}"#,
        [1_200, 300, 0, 0, 0, 0],
        EXACT,
    ),
    (
        "what is no count",
        Chat,
        r#"{"prompt_tokens":"many","completion_tokens":-3,"total_tokens":1e300}"#,
        [IN, OUT, 0, 0, 0, 0],
        ABOUT,
    ),
    // answers without content
    ("Voyage and Jina: a total alone", Bare, r#"{"total_tokens":815}"#, [815, 0, 0, 0, 0, 0], EXACT),
    ("OpenAI embeddings", Bare, r#"{"prompt_tokens":8,"total_tokens":8}"#, [8, 0, 0, 0, 0, 0], EXACT),
    (
        "images",
        Bare,
        r#"{"total_tokens":100,"input_tokens":50,"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}"#,
        [50, 50, 0, 0, 0, 0],
        EXACT,
    ),
    (
        "a zero for an embedded prompt",
        Bare,
        r#"{"prompt_tokens":0,"total_tokens":0}"#,
        [IN, 0, 0, 0, 0, 0],
        ABOUT,
    ),
];

impl Shape {
    fn json(self, usage: &str) -> String {
        match self {
            Chat => format!(
                r#"{{"model":"m","error":{{}},"choices":[{{"index":0,"message":{{"role":"assistant","content":"{CONTENT}"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
            ),
            Responses => format!(
                r#"{{"object":"response","status":"completed","error":null,"model":"m","output":[{{"type":"message","content":[{{"type":"output_text","text":"{CONTENT}"}}]}}],"usage":{usage}}}"#
            ),
            Messages => format!(
                r#"{{"type":"message","model":"m","content":[{{"type":"text","text":"{CONTENT}"}}],"stop_reason":"end_turn","usage":{usage}}}"#
            ),
            Gemini => format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{CONTENT}"}}]}},"finishReason":"STOP"}}],"usageMetadata":{usage},"modelVersion":"m"}}"#
            ),
            Ollama => format!(
                r#"{{"model":"m","message":{{"role":"assistant","content":"{CONTENT}"}},"done":true,{}}}"#,
                inside(usage)
            ),
            Bare => format!(r#"{{"model":"m","data":[{{"index":0}}],"usage":{usage}}}"#),
        }
    }

    /// With its content type; none where there is no such stream.
    fn stream(self, usage: &str) -> Option<(&'static str, String)> {
        let (one, two) = CONTENT.split_at(20);
        let events = |events: &[String]| {
            let events: Vec<_> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
            Some(("text/event-stream", events.concat()))
        };
        match self {
            Chat => {
                let delta = |text: &str, more: &str| {
                    format!(
                        r#"{{"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}}{more}}}],"usage":null,"error":{{}}}}"#
                    )
                };
                events(&[
                    delta(one, ""),
                    delta(two, r#","finish_reason":"stop""#),
                    format!(r#"{{"model":"m","choices":[],"usage":{usage}}}"#),
                    "[DONE]".to_owned(),
                ])
            }
            Responses => {
                let delta =
                    |text: &str| format!(r#"{{"type":"response.output_text.delta","delta":"{text}"}}"#);
                events(&[
                    r#"{"type":"response.created","response":{"model":"m","error":null,"usage":null}}"#
                        .to_owned(),
                    delta(one),
                    delta(two),
                    format!(
                        r#"{{"type":"response.completed","response":{{"model":"m","error":{{}},"usage":{usage}}}}}"#
                    ),
                ])
            }
            Messages => {
                let delta = |text: &str| {
                    format!(
                        r#"{{"type":"content_block_delta","delta":{{"type":"text_delta","text":"{text}"}}}}"#
                    )
                };
                events(&[
                    r#"{"type":"message_start","message":{"model":"m","content":[],"usage":{"input_tokens":0,"output_tokens":0}}}"#.to_owned(),
                    delta(one),
                    delta(two),
                    format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{usage}}}"#),
                    r#"{"type":"message_stop"}"#.to_owned(),
                ])
            }
            Gemini => {
                let chunk = |text: &str, more: &str, usage: &str| {
                    format!(
                        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}{more}}}],"usageMetadata":{usage},"modelVersion":"m"}}"#
                    )
                };
                events(&[chunk(one, "", "{}"), chunk(two, r#","finishReason":"STOP""#, usage)])
            }
            Ollama => {
                let line =
                    |text: &str| format!(r#"{{"model":"m","message":{{"content":"{text}"}},"done":false}}"#);
                let last =
                    format!(r#"{{"model":"m","message":{{"content":""}},"done":true,{}}}"#, inside(usage));
                Some(("application/x-ndjson", format!("{}\n{}\n{last}\n", line(one), line(two))))
            }
            Bare => None,
        }
    }
}

/// The members of an object.
fn inside(object: &str) -> &str {
    object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("an object")
}

fn meter(content_type: &str, coding: Option<&str>) -> Box<dyn sproxy::metering::Meter> {
    open(&AnswerHead {
        billing: Billing::Inference,
        status: 200,
        content_type: Some(content_type),
        content_encoding: coding,
        estimate: Estimate::of_input(REQUEST_ESTIMATE),
    })
}

fn check(what: &str, result: &MeterResult, counts: [u64; 6], source: TokenSource) {
    assert_eq!((result.tokens, result.source), (tokens(counts), source), "{what}");
    assert!(!result.error_event && result.complete && result.readable, "{what}: {result:?}");
    assert_eq!(result.model.as_deref(), Some("m"), "{what}");
}

#[test]
fn every_usage_object_is_counted_by_one_rule_in_any_form() {
    for &(what, shape, usage, counts, source) in ROWS {
        let json = ("application/json", shape.json(usage));
        for (kind, body) in [Some(json), shape.stream(usage)].into_iter().flatten() {
            let body = body.as_bytes();
            let what = format!("{what} ({kind})");
            check(&what, &read(meter(kind, None), [body]), counts, source);
            check(&format!("{what} byte by byte"), &read(meter(kind, None), body.chunks(1)), counts, source);
            for at in 0..body.len() {
                let (one, two) = body.split_at(at);
                let what = format!("{what} split at {at}");
                check(&what, &read(meter(kind, None), [one, two]), counts, source);
            }
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            gzip.write_all(body).expect("compress");
            let gzip = gzip.finish().expect("gzip");
            check(
                &format!("{what} in gzip"),
                &read(meter(kind, Some("gzip")), gzip.chunks(3)),
                counts,
                source,
            );
        }
    }
}

#[test]
fn the_last_snapshot_that_can_be_true_holds() {
    let event = |usage: &str| format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n");
    let body = [
        event(r#"{"prompt_tokens":1200,"completion_tokens":7,"cached_tokens":900}"#),
        event(r#"{"prompt_tokens":1200,"completion_tokens":300,"cached_tokens":1000}"#),
        event(r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let result = read(meter("text/event-stream", None), [body.as_bytes()]);
    assert_eq!((result.tokens, result.source), (tokens([1_200, 300, 1_000, 0, 0, 0]), EXACT));
    // Anthropic: the input may turn out to be nothing but cached.
    let body = concat!(
        "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":120,\"cache_read_input_tokens\":880,\"output_tokens\":1}}}\n\n",
        "data: {\"type\":\"message_delta\",\"usage\":{\"input_tokens\":0,\"cache_read_input_tokens\":1000,\"output_tokens\":6}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\n",
    );
    let result = read(meter("text/event-stream", None), [body.as_bytes()]);
    assert_eq!((result.tokens, result.source), (tokens([1_000, 6, 1_000, 0, 0, 0]), EXACT));
}

#[test]
fn vectors_and_scores_without_usage_are_worth_the_request() {
    for (what, body) in [
        (
            "OpenAI embeddings",
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-1.5e-05]}],"model":"m"}"#,
        ),
        ("in base64", r#"{"data":[{"embedding":"AAAA"}],"model":"m"}"#),
        ("embedContent", r#"{"embedding":{"values":[0.1,0.2]}}"#),
        ("batchEmbedContents", r#"{"embeddings":[{"values":[0.1]},{"values":[0.2]}]}"#),
        ("/api/embeddings", r#"{"embedding":[0.5670403838157654,0.009260174818336964]}"#),
        ("/api/embed", r#"{"model":"m","embeddings":[[0.1,0.2],[0.3]]}"#),
        ("Cohere rerank", r#"{"results":[{"index":1,"relevance_score":0.9}],"id":"x"}"#),
        ("Voyage rerank", r#"{"object":"list","data":[{"relevance_score":0.43,"index":0}]}"#),
        ("TEI rerank", r#"[{"index":1,"score":0.9997},{"index":0,"score":0}]"#),
        ("usage null", r#"{"data":[{"embedding":[1]}],"usage":null}"#),
        ("an answer without a word", r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#),
    ] {
        let body = body.as_bytes();
        for at in 0..body.len() {
            let (one, two) = body.split_at(at);
            let result = read(meter("application/json", None), [one, two]);
            let seen = (result.tokens, result.source, result.readable);
            assert_eq!(seen, (tokens([IN, 0, 0, 0, 0, 0]), ABOUT, true), "{what} split at {at}");
        }
    }
}

#[test]
fn an_error_is_what_says_something() {
    for (error, expected) in [
        ("null", false),
        ("{}", false),
        ("[]", false),
        ("\"\"", false),
        ("false", false),
        (r#"{"code":null,"message":"","details":{},"status":0}"#, false),
        (r#"{"code":500}"#, true),
        (r#"{"message":"no"}"#, true),
        (r#"{"details":[{"reason":"x"}]}"#, true),
        ("\"no\"", true),
        ("true", true),
        ("[\"no\"]", true),
    ] {
        let body = format!(
            r#"{{"error":{error},"choices":[{{"message":{{"content":"hi"}}}}],"usage":{{"prompt_tokens":9,"completion_tokens":1}}}}"#
        );
        for at in 0..body.len() {
            let (one, two) = body.as_bytes().split_at(at);
            let result = read(meter("application/json", None), [one, two]);
            assert_eq!(result.error_event, expected, "{error} split at {at}");
        }
    }
}

#[test]
fn a_stream_without_an_event_is_no_answer() {
    for kind in ["text/event-stream", "application/x-ndjson"] {
        for body in ["", "\n\n", " "] {
            let result = read(meter(kind, None), [body.as_bytes()]);
            assert_eq!((result.complete, result.source), (false, TokenSource::None), "{kind} {body:?}");
        }
    }
    for body in [": keep-alive\n\n", ": a\n: b\n\n: c\n\n", ": a\r\n\r\n", "retry: 5\n\n", "data:\n\n"] {
        let result = read(meter("text/event-stream", None), [body.as_bytes()]);
        assert_eq!((result.complete, result.source), (false, TokenSource::None), "{body:?}");
    }
    let whole = read(meter("text/event-stream", None), [&b": a\n\ndata: {\"x\":1}\n\n"[..]]);
    assert!(whole.complete, "an event that says nothing is one all the same");
}
