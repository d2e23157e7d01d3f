//! Where fuzzing begins: the recorded answers of the tests, requests and errors as clients and providers write them, and
//! the words of all dialects.

use std::collections::BTreeSet;
use std::path::Path;

use sproxy::config::DEFAULTS;
use sproxy::dialect::answer_names;
use sproxy::domain::provider::Provider;

/// A usage object's members by its shape's letter.
const USAGES: [&str; 16] = [
    r#"aa"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,"prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":192}"#,
    r#"ab"prompt_tokens":10000,"completion_tokens":100,"total_tokens":19600,"cache_read_input_tokens":9000,"cache_creation_input_tokens":500"#,
    r#"ac"prompt_tokens":30,"completion_tokens":2,"total_tokens":132,"completion_tokens_details":{"reasoning_tokens":100}"#,
    r#"ad"total_tokens":623,"prompt_cache_hit_tokens":512,"cached_tokens":768,"service_tier":"flex""#,
    r#"ae"prompt_tokens":2000,"completion_tokens":30,"prompt_tokens_details":{"cached_tokens":300,"cache_creation":{"ephemeral_5m_input_tokens":1605},"cache_creation_input_tokens":1605}"#,
    r#"ba"input_tokens":8123,"input_tokens_details":{"cached_tokens":7936,"cache_write_tokens":100},"output_tokens":345,"output_tokens_details":{"reasoning_tokens":256},"total_tokens":8468"#,
    r#"bb"input_tokens":120,"output_tokens":5,"svg_usage":{"input_tokens":10,"output_tokens":2,"reasoning_tokens":1}"#,
    r#"ca"input_tokens":95,"cache_creation_input_tokens":500,"cache_read_input_tokens":9000,"cache_creation":{"ephemeral_5m_input_tokens":300,"ephemeral_1h_input_tokens":200},"output_tokens":100"#,
    r#"cb"input_tokens":22,"output_tokens":9,"iterations":[{"type":"message","model":"a","input_tokens":10,"output_tokens":3},{"type":"fallback_message","model":"b","input_tokens":12,"output_tokens":6}]"#,
    r#"cc"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":8,"iterations":[{"type":"compaction","input_tokens":200,"output_tokens":7},{"type":"advisor_message","model":"b","input_tokens":900,"output_tokens":70,"cache_creation":{"ephemeral_1h_input_tokens":4}}]"#,
    r#"cd"inputTokens":30,"outputTokens":12,"totalTokens":542,"cacheReadInputTokens":400,"cacheWriteInputTokens":100,"speed":"fast""#,
    r#"ce"output_tokens":1.5e3,"input_tokens":-4,"input_tokens":99999999999999999999999,"output_tokens_details":{"thinking_tokens":64}"#,
    r#"da"promptTokenCount":1400,"candidatesTokenCount":40,"thoughtsTokenCount":512,"totalTokenCount":1952,"cachedContentTokenCount":1024,"toolUsePromptTokenCount":7"#,
    r#"db"total_input_tokens":12,"total_output_tokens":3,"total_thought_tokens":2,"total_cached_tokens":4,"total_tokens":17"#,
    r#"ea"prompt_eval_count":26,"eval_count":282,"prompt_eval_cached_count":5,"total_duration":1,"eval_duration":2"#,
    r#"fa"prompt_tokens":8,"total_tokens":8"#,
];

/// Bodies of requests behind the letters of dialect and content type, the path and another model.
const REQUESTS: [&str; 12] = [
    "aa/v1/messages\nclaude-haiku-4-5\n{\"model\":\"claude-opus-4-5\",\"max_tokens\":32000,\"stream\":true,\"system\":[{\"type\":\"text\",\"text\":\"You are.\",\"cache_control\":{\"type\":\"ephemeral\"}}],\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hi\"}]},{\"role\":\"assistant\",\"content\":\"Ho\"}]}",
    "ba/v1/chat/completions\ngpt-5.6\n{\"model\":\"gpt-5\",\"stream\":true,|\"stream_options\":{\"include_usage\": false },\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Hi \\\"you\\\" \\\\\"}],\"max_completion_tokens\":7}",
    "ba/v1/chat/completions\nx\n {\"stream_options\":null,\"stream\":true,\"mod\\u0065l\":\"dear\\/er\",\"MODEL\":1}",
    "bb/v1/responses\nm\n{\"instructions\":\"Be.\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Hi\"}]}],\"background\":true,\"service_tier\":\"flex\",\"prompt_cache_key\":\"k\"}",
    "bc/v1/embeddings\nm\n{\"input\":\"Hi\",\"model\":\"text-embedding-3-small\",\"model\":\"b\"}",
    "bd/v1/audio/transcriptions\nm\nawhisper-1|bRIFF....|cHello",
    "bd/v1/audio/transcriptions\nm\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x--\r\n",
    "ca/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse\ngemini-3-pro\n{\"systemInstruction\":{\"parts\":[{\"text\":\"Be.\"}]},\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"Hi\"}]}],\"generationConfig\":{\"temperature\":1,\"maxOutputTokens\":9}}",
    "ca/v1beta/models/e:batchEmbedContents\ne\n{\"model\":\"models/text-embedding\",\"requests\":[{\"model\":\"models/x\"}]}",
    "da/api/chat\nllama3.2\n{\"model\":\"llama3\",\"options\":{\"num_predict\":10,\"temperature\":0.1},\"messages\":[{\"role\":\"user\",\"content\":\"a[{]}\\\"\"}],\"keep_alive\":-1}",
    "ba/openai/deployments/gpt-5/chat/completions?api-version=1\ngpt-4\n{\"model\":\"gpt-5\",\"stream\":true}",
    "aa/v1/projects/p/locations/l/publishers/anthropic/models/c@1:streamRawPredict\nc-2\n{\"anthropic_version\":\"vertex-2023-10-16\",\"stream\":true,\"max_tokens\":1}",
];

const EVENT_STREAMS: [&str; 4] = [
    "aabcd\nc{\"type\":\"message_start\",\"message\":{\"model\":\"m\"}}\nc{\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Hi\"}}\nc{\"type\":\"message_stop\"}",
    "az\nc{\"type\":\"ping\"}\nethrottlingException {\"message\":\"slow down\"}\nc{\"type\":\"ping\"}",
    "a\nrodd \"error\"\np{\"bytes\":\"eyJ0eXBlIjoicGluZyJ9\"}\nh\x01a\x00\n",
    "ch\np{}\nxHTTP/1.1 502 Bad Gateway\nc{}",
];

const ERRORS: [&str; 8] = [
    "e\n{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\",\"message\":\"model: claude-x\"}}",
    "e\n{\"error\":{\"message\":\"The model `x` does not exist\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"model_not_found\"}}",
    "e\n[{\"error\":{\"code\":404,\"message\":\"models/x is not found for API version v1beta\",\"status\":\"NOT_FOUND\"}}]",
    "e\n{\"error\":\"model 'x' not found\"}",
    "aThrottlingException:http://internal/\n{\"message\":\"slow \\\"down\\\"\"}",
    "bcom.amazon.coral.service#ValidationException\n{\"__type\":\"a.b#ValidationException\",\"Message\":\"m\"}",
    "amodelStreamErrorException\n{\"message\":\"m\",\"originalMessage\":\"o\",\"originalStatusCode\":529}",
    "d\n<html>",
];

const SIGNATURES: [&str; 4] = [
    "ah\n/model/a%3A0/invoke\ncontent-type:application/json\n\n{}",
    "bexample.amazonaws.com:8443\n/example/../b/./c//d/?Param2=value2&Param1=value%201&a=+\nmy-header1:  a   b\nmy-header1:c\nuser-agent:x\n\n",
    "bh\n/\n\n",
    "ah\n/%E1%88%B4/?x=%2f&x=%2F&&y\nx-amz-meta:1\n\nbody",
];

const CONFIGS: [&str; 4] = [
    "[node]\nid = \"sp-1\"\n[http]\nlisten = \"0.0.0.0:9000\"\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\ncors_origins = [\"https://app.example\"]\nidle_timeout = \"1m 30s\"\n[[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"https://api.anthropic.com\"\napi_key = \"hunter2hunter2hunter2\"\nmodels = [\"claude-*\"]\nrename = { \"fast\" = \"claude-haiku-4-5\" }\nspeaks = [\"openai\"]\nauth = \"bearer\"\n",
    "[upstream]\nproxy = \"http://user:password@proxy:3128\"\nno_proxy = \"corp.example,10.0.0.0/8\"\nretry_ratio = 0.25\nmax_wait = \"0s\"\n[[targets]]\nname = \"o\"\nprovider = \"openai\"\nurl = \"http://10.1.2.3/v1\"\nproxy = \"none\"\nhttp2_only = true\nkeys = [{ name = \"one\", api_key = \"0123456789abcdef\", weight = 3 }, { name = \"two\", api_key = \"fedcba9876543210\" }]\n[[models]]\nname = \"coder\"\nroute = [\"claude-sonnet-5\", \"gpt-5.6\"]\n",
    "[cluster]\nlisten = \"0.0.0.0:9001\"\nsecret = \"0123456789abcdef0123456789abcdef\"\nleader = \"http://sp-1:9001\"\nmax_staleness = \"10m\"\nrefuse_when_stale = true\n[store]\nurl = \"postgres://u:p@h/d\"\nsynchronous = \"full\"\n[usage]\ndurability = \"buffered\"\nretention = \"100ms\"\n[auth]\nlogin_threads = 64\n[log]\nlevel = \"info,sproxy::cluster=debug\"\nformat = \"json\"\n",
    "[prices]\n\"my-*\" = { input = 0.0375, output = 0, cache_write = 1.25, flex = 0.5, geo_us = 1.1, long_context = { above = 200000, input = 6, output = 22.5 } }\ndefault = { input = 1, output = 2 }\n[store]\nurl = \"sqlite:x.db\"\n",
];

/// The seeds of a target; `fixtures` is `tests/fixtures`.
#[must_use]
pub fn of(target: &str, fixtures: &Path) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "meter" => answers(fixtures, |letter, body| [format!("a{letter}").as_bytes(), &cut(body)].concat()),
        "coded" => {
            let mut at = 0;
            answers(fixtures, |letter, body| {
                // Each coding and each way to take a body has its turn.
                at += 1;
                let (coding, taken) = (char::from(b'a' + at % 5), char::from(b'a' + at / 5 % 4));
                [format!("{coding}{taken}{letter}").as_bytes(), &cut(body)].concat()
            })
        }
        "usage" => texts(&USAGES),
        "usage_chunk" => {
            let streams =
                answers(fixtures, |letter, body| if letter == 'a' { cut(body) } else { Vec::new() });
            streams.into_iter().filter(|stream| !stream.is_empty()).collect()
        }
        "request" => texts(&REQUESTS),
        "event_stream" => texts(&EVENT_STREAMS),
        "errors" => texts(&ERRORS),
        "signature" => texts(&SIGNATURES),
        "config" => {
            let mut configs: Vec<Vec<u8>> = texts(&CONFIGS);
            configs.push(DEFAULTS.as_bytes().to_vec());
            configs
        }
        _ => Vec::new(),
    }
}

/// Every recorded answer, with the letter of its content type in [`super::meter::KINDS`].
fn answers(fixtures: &Path, mut seed: impl FnMut(char, &[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for provider in Provider::ALL {
        let mut files: Vec<_> = std::fs::read_dir(fixtures.join(provider.as_str()))
            .expect("fixtures of each dialect")
            .map(|file| file.expect("a file").path())
            .collect();
        files.sort();
        for file in files {
            let letter = match file.extension().and_then(|extension| extension.to_str()) {
                Some("sse") => 'a',
                Some("ndjson") => 'c',
                _ => 'b',
            };
            seeds.push(seed(letter, &std::fs::read(&file).expect("a recorded answer")));
        }
    }
    seeds
}

/// An answer with a cut in its middle.
fn cut(body: &[u8]) -> Vec<u8> {
    let (one, two) = body.split_at(body.len() / 2);
    [one, b"|", two].concat()
}

/// What libFuzzer puts in by itself: the words that anything is read by, each as a line of its dictionary.
#[must_use]
pub fn dictionary() -> String {
    let mut words: BTreeSet<String> = BTreeSet::new();
    for provider in Provider::ALL {
        let names = answer_names(provider);
        words.extend(
            names.fields.iter().flat_map(|(_, fields)| *fields).map(|(name, _)| format!("\"{name}\":")),
        );
        words.extend(names.events.iter().map(|(name, _)| format!("\"{name}\"")));
        words.extend(names.steps.iter().map(|(name, _)| format!("\"{name}\"")));
        words.extend(names.pending.iter().map(|name| format!("\"{name}\"")));
    }
    let settings = DEFAULTS.lines().map(|line| line.trim_start_matches("# "));
    words.extend(settings.filter_map(|line| Some(format!("{} = ", line.split_once(" = ")?.0))));
    words.extend(
        [
            "data: ",
            "data:",
            "event: error\n",
            "[DONE]",
            "\n\n",
            "\r\n",
            "null",
            "true",
            "false",
            "{}",
            "[]",
            "\\\"",
            "\\u0065",
            "\"model\":",
            "\"stream\":true",
            "\"stream_options\":",
            "\"include_usage\":",
            "\"messages\":",
            "\"role\":\"user\"",
            "\"max_tokens\":",
            "models/",
            "\"choices\":[]",
            "\"usage\":{",
            "name=\"model\"",
            "\"originalMessage\":",
            "[[targets]]\n",
            "[[models]]\n",
            "[prices]\n",
            "99999999999999999999",
            "1e3",
        ]
        .map(str::to_owned),
    );
    let escaped = |word: &String| {
        let bytes = word.bytes().map(|byte| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(byte)),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02X}"),
        });
        format!("\"{}\"\n", bytes.collect::<String>())
    };
    words.iter().map(escaped).collect()
}
