//! Ollama. Source: `docs/api.md` in ollama/ollama.

use crate::mock::answer_body::AnswerBody;
use crate::mock::answer_spec::AnswerSpec;
use crate::mock::text;

const MOMENT: &str = "2026-11-22T10:00:00.000000Z";

/// Where an endpoint puts the text of an answer.
#[derive(Clone, Copy)]
pub enum Shape {
    /// `/api/chat`.
    Chat,
    /// `/api/generate`.
    Generate,
}

/// An answer, as a stream of lines (Ollama's default) or whole.
pub fn answer_or_stream(spec: &AnswerSpec, shape: Shape, is_stream: bool) -> AnswerBody {
    if is_stream { stream(spec, shape) } else { answer(spec, shape) }
}

fn answer(spec: &AnswerSpec, shape: Shape) -> AnswerBody {
    let content = text::pieces(spec.output, spec.events.min(1)).concat();
    let content = if calls(spec, shape) { String::new() } else { content };
    AnswerBody {
        content_type: "application/json; charset=utf-8",
        ..AnswerBody::json(line(spec, shape, &content, (true, false)))
    }
}

fn stream(spec: &AnswerSpec, shape: Shape) -> AnswerBody {
    // Ollama sends a tool call as a whole, in a line of its own.
    let pieces =
        if calls(spec, shape) { vec![String::new()] } else { text::pieces(spec.output, spec.events) };
    let mut frames: Vec<_> =
        pieces.iter().map(|piece| (line(spec, shape, piece, (false, true)) + "\n").into_bytes()).collect();
    frames.push((line(spec, shape, "", (true, true)) + "\n").into_bytes());
    AnswerBody { content_type: "application/x-ndjson", frames, is_stream: true }
}

/// Only `/api/chat` has tools.
fn calls(spec: &AnswerSpec, shape: Shape) -> bool {
    matches!(shape, Shape::Chat) && spec.tool.is_some()
}

fn tool_calls(spec: &AnswerSpec) -> String {
    spec.tool.as_ref().map_or_else(String::new, |call| {
        format!(
            r#","tool_calls":[{{"function":{{"name":{},"arguments":{}}}}}]"#,
            call.name_json(),
            call.arguments
        )
    })
}

fn line(spec: &AnswerSpec, shape: Shape, text: &str, (done, is_stream): (bool, bool)) -> String {
    // A stream's last line has none: they came before it.
    let tools = if done && is_stream { String::new() } else { tool_calls(spec) };
    let content = match shape {
        Shape::Chat => format!(r#""message":{{"role":"assistant","content":"{text}"{tools}}}"#),
        Shape::Generate => format!(r#""response":"{text}""#),
    };
    let end = if done {
        format!(
            r#""done_reason":"stop","done":true,"total_duration":5589157167,"load_duration":3013701500,"prompt_eval_count":{},"prompt_eval_duration":1160282000,"eval_count":{},"eval_duration":1325948000"#,
            spec.input, spec.output
        )
    } else {
        r#""done":false"#.to_owned()
    };
    format!(r#"{{"model":{},"created_at":"{MOMENT}",{content},{end}}}"#, spec.model_json())
}

/// `POST /api/embed`.
pub fn embed(spec: &AnswerSpec) -> AnswerBody {
    AnswerBody::json(format!(
        r#"{{"model":{},"embeddings":[[0.25,-0.5,0.25,-0.5]],"total_duration":14143917,"load_duration":1019500,"prompt_eval_count":{}}}"#,
        spec.model_json(),
        spec.input,
    ))
}

/// `POST /api/embeddings`, the older form; it reports no usage.
pub fn embeddings() -> AnswerBody {
    AnswerBody::json(r#"{"embedding":[0.25,-0.5,0.25,-0.5]}"#.to_owned())
}

/// `GET /api/tags` and `/api/ps`.
pub fn tags(ids: &[&str]) -> AnswerBody {
    let models: Vec<String> = ids.iter().map(|id| model(id)).collect();
    AnswerBody::json(format!(r#"{{"models":[{}]}}"#, models.join(",")))
}

fn model(id: &str) -> String {
    format!(
        r#"{{"name":"{id}","model":"{id}","modified_at":"{MOMENT}","size":2019393189,"digest":"a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72","details":{{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"3.2B","quantization_level":"Q4_K_M"}}}}"#
    )
}

/// `POST /api/show`.
pub fn show() -> AnswerBody {
    AnswerBody::json(
        r#"{"modelfile":"FROM mock","parameters":"","template":"{{ .Prompt }}","details":{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"3.2B","quantization_level":"Q4_K_M"},"model_info":{},"capabilities":["completion"]}"#
            .to_owned(),
    )
}

/// `GET /api/version`.
pub fn version() -> AnswerBody {
    AnswerBody::json(r#"{"version":"0.13.0"}"#.to_owned())
}
