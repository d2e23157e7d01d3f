//! How an answer of Messages ends as a response.

use serde_json::Value;

use super::super::messages_events::Counts;
use super::super::responses_writer::{Ending, ResponsesWriter};
use super::super::upstream_error::{ErrorKind, UpstreamError};

/// Ends an answer as Anthropic says that it is over. The response comes back.
pub fn finish(
    answer: &mut ResponsesWriter,
    reason: &str,
    explanation: Option<&str>,
    counts: &Counts,
) -> Value {
    let usage = counts.usage();
    let ending = match reason {
        "max_tokens" => Ending::Incomplete("max_output_tokens"),
        "refusal" => {
            if let Some(explanation) = explanation {
                answer.refusal(explanation);
            }
            Ending::Incomplete("content_filter")
        }
        "model_context_window_exceeded" => {
            let error = UpstreamError {
                status: None,
                kind: ErrorKind::ContextLength,
                message: "the answer has reached the end of the model's context window".to_owned(),
            };
            answer.close();
            return answer.fail(&error, Some(&usage));
        }
        _ => Ending::Completed,
    };
    answer.finish(ending, &usage)
}
