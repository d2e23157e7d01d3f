//! Gemini `generateContent` and its streams. Source: Gemini API reference, `GenerateContentResponse`.

use crate::mock::answer::{ID, Made};
use crate::mock::text;
use crate::mock::wanted::Wanted;

/// `:generateContent`.
pub fn content(wanted: &Wanted) -> Made {
    let content = text::pieces(wanted.output, wanted.events.min(1)).concat();
    Made::json(chunk(wanted, &part(wanted, &content), wanted.output, true))
}

/// `:streamGenerateContent?alt=sse`.
pub fn stream(wanted: &Wanted) -> Made {
    let events = chunks(wanted).into_iter().map(|chunk| format!("data: {chunk}\r\n\r\n").into_bytes());
    Made::events(events.collect())
}

/// `:streamGenerateContent` without `alt=sse`: one JSON array, element by element.
pub fn array(wanted: &Wanted) -> Made {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for chunk in chunks(wanted) {
        let before = if frames.is_empty() { "[" } else { ",\r\n" };
        frames.push(format!("{before}{chunk}").into_bytes());
    }
    frames.push(b"]".to_vec());
    Made { content_type: "application/json; charset=UTF-8", frames, is_stream: true }
}

fn chunks(wanted: &Wanted) -> Vec<String> {
    // Gemini sends a function call as a whole.
    let events = if wanted.tool.is_some() { 1 } else { wanted.events.max(1) };
    let pieces = text::pieces(wanted.output, events);
    let last = pieces.len() - 1;
    let count = |at: usize| wanted.output * (at as u64 + 1) / (last as u64 + 1);
    pieces
        .iter()
        .enumerate()
        .map(|(at, piece)| chunk(wanted, &part(wanted, piece), count(at), at == last))
        .collect()
}

fn part(wanted: &Wanted, text: &str) -> String {
    match &wanted.tool {
        Some(call) => {
            format!(r#"{{"functionCall":{{"name":{},"args":{}}}}}"#, call.name_json(), call.arguments)
        }
        None => format!(r#"{{"text":"{text}"}}"#),
    }
}

fn chunk(wanted: &Wanted, part: &str, output: u64, is_last: bool) -> String {
    let finish = if is_last { r#","finishReason":"STOP""# } else { "" };
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{part}],"role":"model"}}{finish},"index":0}}],"usageMetadata":{usage},"modelVersion":{model},"responseId":"{ID}"}}"#,
        usage = usage(wanted, output),
        model = wanted.model_json(),
    )
}

/// Gemini counts thoughts beside the candidates.
fn usage(wanted: &Wanted, output: u64) -> String {
    let thoughts = wanted.reasoning.min(output);
    let optional = |name: &str, count: u64| match count {
        0 => String::new(),
        _ => format!(r#""{name}":{count},"#),
    };
    format!(
        r#"{{"promptTokenCount":{input},"candidatesTokenCount":{answer},{cached}{thought}"totalTokenCount":{total},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{input}}}]}}"#,
        input = wanted.input,
        answer = output - thoughts,
        cached = optional("cachedContentTokenCount", wanted.cache_read),
        thought = optional("thoughtsTokenCount", thoughts),
        total = wanted.input + output,
    )
}

/// `:countTokens`.
pub fn count(input: u64) -> Made {
    Made::json(format!(
        r#"{{"totalTokens":{input},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{input}}}]}}"#
    ))
}

/// `:embedContent`, and with `batch` `:batchEmbedContents`.
pub fn embedding(wanted: &Wanted, batch: bool) -> Made {
    let usage = format!(r#""usageMetadata":{{"promptTokenCount":{}}}"#, wanted.input);
    let values = r#"{"values":[0.25,-0.5,0.25,-0.5]}"#;
    Made::json(if batch {
        format!(r#"{{"embeddings":[{values}],{usage}}}"#)
    } else {
        format!(r#"{{"embedding":{values},{usage}}}"#)
    })
}

/// `GET /v1beta/models/…`
pub fn model(id: &str) -> String {
    format!(
        r#"{{"name":"models/{id}","version":"001","displayName":"{id} (mock)","inputTokenLimit":1048576,"outputTokenLimit":65536,"supportedGenerationMethods":["generateContent","countTokens"]}}"#
    )
}

/// `GET /v1beta/models`.
pub fn models(ids: &[&str]) -> Made {
    let models: Vec<String> = ids.iter().map(|id| model(id)).collect();
    Made::json(format!(r#"{{"models":[{}]}}"#, models.join(",")))
}
