//! Ollama. Source: `docs/api.md` in ollama/ollama.

use crate::mock::answer::Made;
use crate::mock::text;
use crate::mock::wanted::Wanted;

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
pub fn answer_or_stream(wanted: &Wanted, shape: Shape, is_stream: bool) -> Made {
    if is_stream { stream(wanted, shape) } else { answer(wanted, shape) }
}

fn answer(wanted: &Wanted, shape: Shape) -> Made {
    let content = text::pieces(wanted.output, wanted.events.min(1)).concat();
    let content = if calls(wanted, shape) { String::new() } else { content };
    Made {
        content_type: "application/json; charset=utf-8",
        ..Made::json(line(wanted, shape, &content, (true, false)))
    }
}

fn stream(wanted: &Wanted, shape: Shape) -> Made {
    // Ollama sends a tool call as a whole, in a line of its own.
    let pieces =
        if calls(wanted, shape) { vec![String::new()] } else { text::pieces(wanted.output, wanted.events) };
    let mut frames: Vec<_> =
        pieces.iter().map(|piece| (line(wanted, shape, piece, (false, true)) + "\n").into_bytes()).collect();
    frames.push((line(wanted, shape, "", (true, true)) + "\n").into_bytes());
    Made { content_type: "application/x-ndjson", frames, is_stream: true }
}

/// Only `/api/chat` has tools.
fn calls(wanted: &Wanted, shape: Shape) -> bool {
    matches!(shape, Shape::Chat) && wanted.tool.is_some()
}

fn tool_calls(wanted: &Wanted) -> String {
    wanted.tool.as_ref().map_or_else(String::new, |call| {
        format!(
            r#","tool_calls":[{{"function":{{"name":{},"arguments":{}}}}}]"#,
            call.name_json(),
            call.arguments
        )
    })
}

fn line(wanted: &Wanted, shape: Shape, text: &str, (done, is_stream): (bool, bool)) -> String {
    // A stream's last line has none: they came before it.
    let tools = if done && is_stream { String::new() } else { tool_calls(wanted) };
    let content = match shape {
        Shape::Chat => format!(r#""message":{{"role":"assistant","content":"{text}"{tools}}}"#),
        Shape::Generate => format!(r#""response":"{text}""#),
    };
    let end = if done {
        format!(
            r#""done_reason":"stop","done":true,"total_duration":5589157167,"load_duration":3013701500,"prompt_eval_count":{},"prompt_eval_duration":1160282000,"eval_count":{},"eval_duration":1325948000"#,
            wanted.input, wanted.output
        )
    } else {
        r#""done":false"#.to_owned()
    };
    format!(r#"{{"model":{},"created_at":"{MOMENT}",{content},{end}}}"#, wanted.model_json())
}

/// `POST /api/embed`.
pub fn embed(wanted: &Wanted) -> Made {
    Made::json(format!(
        r#"{{"model":{},"embeddings":[[0.25,-0.5,0.25,-0.5]],"total_duration":14143917,"load_duration":1019500,"prompt_eval_count":{}}}"#,
        wanted.model_json(),
        wanted.input,
    ))
}

/// `POST /api/embeddings`, the older form; it reports no usage.
pub fn embeddings() -> Made {
    Made::json(r#"{"embedding":[0.25,-0.5,0.25,-0.5]}"#.to_owned())
}

/// `GET /api/tags` and `/api/ps`.
pub fn tags(ids: &[&str]) -> Made {
    let models: Vec<String> = ids.iter().map(|id| model(id)).collect();
    Made::json(format!(r#"{{"models":[{}]}}"#, models.join(",")))
}

fn model(id: &str) -> String {
    format!(
        r#"{{"name":"{id}","model":"{id}","modified_at":"{MOMENT}","size":2019393189,"digest":"a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72","details":{{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"3.2B","quantization_level":"Q4_K_M"}}}}"#
    )
}

/// `POST /api/show`.
pub fn show() -> Made {
    Made::json(
        r#"{"modelfile":"FROM mock","parameters":"","template":"{{ .Prompt }}","details":{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"3.2B","quantization_level":"Q4_K_M"},"model_info":{},"capabilities":["completion"]}"#
            .to_owned(),
    )
}

/// `GET /api/version`.
pub fn version() -> Made {
    Made::json(r#"{"version":"0.13.0"}"#.to_owned())
}
