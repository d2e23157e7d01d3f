//! Gemini `generateContent` and its streams. Source: Gemini API reference, `GenerateContentResponse`.

use crate::mock::answer_body::{AnswerBody, ID};
use crate::mock::answer_spec::AnswerSpec;
use crate::mock::text;

/// `:generateContent`.
pub fn content(spec: &AnswerSpec) -> AnswerBody {
    let content = text::pieces(spec.output, spec.events.min(1)).concat();
    AnswerBody::json(chunk(spec, &part(spec, &content), spec.output, true))
}

/// `:streamGenerateContent?alt=sse`.
pub fn stream(spec: &AnswerSpec) -> AnswerBody {
    let events = chunks(spec).into_iter().map(|chunk| format!("data: {chunk}\r\n\r\n").into_bytes());
    AnswerBody::events(events.collect())
}

/// `:streamGenerateContent` without `alt=sse`: one JSON array, element by element.
pub fn array(spec: &AnswerSpec) -> AnswerBody {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for chunk in chunks(spec) {
        let before = if frames.is_empty() { "[" } else { ",\r\n" };
        frames.push(format!("{before}{chunk}").into_bytes());
    }
    frames.push(b"]".to_vec());
    AnswerBody { content_type: "application/json; charset=UTF-8", frames, is_stream: true }
}

fn chunks(spec: &AnswerSpec) -> Vec<String> {
    // Gemini sends a function call as a whole.
    let events = if spec.tool.is_some() { 1 } else { spec.events.max(1) };
    let pieces = text::pieces(spec.output, events);
    let last = pieces.len() - 1;
    let count = |at: usize| spec.output * (at as u64 + 1) / (last as u64 + 1);
    pieces
        .iter()
        .enumerate()
        .map(|(at, piece)| chunk(spec, &part(spec, piece), count(at), at == last))
        .collect()
}

fn part(spec: &AnswerSpec, text: &str) -> String {
    match &spec.tool {
        Some(call) => {
            format!(r#"{{"functionCall":{{"name":{},"args":{}}}}}"#, call.name_json(), call.arguments)
        }
        None => format!(r#"{{"text":"{text}"}}"#),
    }
}

fn chunk(spec: &AnswerSpec, part: &str, output: u64, is_last: bool) -> String {
    let finish = if is_last { r#","finishReason":"STOP""# } else { "" };
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{part}],"role":"model"}}{finish},"index":0}}],"usageMetadata":{usage},"modelVersion":{model},"responseId":"{ID}"}}"#,
        usage = usage(spec, output),
        model = spec.model_json(),
    )
}

/// Gemini counts thoughts beside the candidates.
fn usage(spec: &AnswerSpec, output: u64) -> String {
    let thoughts = spec.reasoning.min(output);
    let optional = |name: &str, count: u64| match count {
        0 => String::new(),
        _ => format!(r#""{name}":{count},"#),
    };
    format!(
        r#"{{"promptTokenCount":{input},"candidatesTokenCount":{answer},{cached}{thought}"totalTokenCount":{total},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{input}}}]}}"#,
        input = spec.input,
        answer = output - thoughts,
        cached = optional("cachedContentTokenCount", spec.cache_read),
        thought = optional("thoughtsTokenCount", thoughts),
        total = spec.input + output,
    )
}

/// `:countTokens`.
pub fn count(input: u64) -> AnswerBody {
    AnswerBody::json(format!(
        r#"{{"totalTokens":{input},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{input}}}]}}"#
    ))
}

/// `:embedContent`, and with `batch` `:batchEmbedContents`.
pub fn embedding(spec: &AnswerSpec, batch: bool) -> AnswerBody {
    let usage = format!(r#""usageMetadata":{{"promptTokenCount":{}}}"#, spec.input);
    let values = r#"{"values":[0.25,-0.5,0.25,-0.5]}"#;
    AnswerBody::json(if batch {
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
pub fn models(ids: &[&str]) -> AnswerBody {
    let models: Vec<String> = ids.iter().map(|id| model(id)).collect();
    AnswerBody::json(format!(r#"{{"models":[{}]}}"#, models.join(",")))
}
