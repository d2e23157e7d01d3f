//! What `gproxy-protocol` makes of the same; and its collectors, which make one answer of a stream's events and refuse
//! events that are none of a whole stream.

#![allow(
    clippy::default_trait_access,
    reason = "the limits of each stream are a type of its own, and nothing is said of them"
)]

use gproxy_protocol::Dialect;
use gproxy_protocol::transform::TransformError;
use gproxy_protocol::transform::generate::chat_responses::stream::ChatToResponsesStream;
use gproxy_protocol::transform::generate::claude_chat::stream::{
    ChatToClaudeContext, ChatToClaudeStream, ClaudeToChatContext, ClaudeToChatStream,
};
use gproxy_protocol::transform::generate::claude_gemini::stream::{
    GeminiToClaudeContext, GeminiToClaudeStream,
};
use gproxy_protocol::transform::generate::claude_responses::stream::{
    ClaudeToResponsesStream, ResponsesToClaudeContext, ResponsesToClaudeStream,
};
use gproxy_protocol::transform::generate::gemini_chat::stream::{GeminiToChatContext, GeminiToChatStream};
use gproxy_protocol::transform::generate::stream::chat::{ChatStreamCollector, synthesize_chat_stream};
use gproxy_protocol::transform::generate::stream::claude::{ClaudeStreamCollector, synthesize_claude_stream};
use gproxy_protocol::transform::generate::stream::responses::{
    ResponsesStreamCollector, synthesize_responses_stream,
};
use gproxy_protocol::transform::generate::{
    chat_responses, claude_chat, claude_gemini, claude_responses, gemini_chat,
};
use gproxy_protocol::transform::identity::{
    IdNamespace, IdentityFlow, IdentityRole, KnownIdPrefix, TargetIdPolicy,
};
use gproxy_protocol::wire::claude::generate_content as messages;
use gproxy_protocol::wire::openai::{chat, responses};
use gproxy_protocol::wire::{DeclaredFields, claude, gemini};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sproxy_foundation::dialect::convert::{Api, Conversion};

use crate::ours::NOW;
use crate::pairs::model;

type Made<T> = Result<T, String>;

fn flow() -> IdentityFlow {
    IdentityFlow::new(IdNamespace::with_bytes([7; 16]))
}

fn ids(api: Api) -> TargetIdPolicy {
    match api {
        Api::Messages => TargetIdPolicy::new(Dialect::Claude)
            .with_generated_prefix(IdentityRole::Response, KnownIdPrefix::Message)
            .with_generated_prefix(IdentityRole::ToolCall, KnownIdPrefix::Tool),
        Api::Responses => TargetIdPolicy::new(Dialect::OpenAi),
        Api::Chat => TargetIdPolicy::new(Dialect::OpenAiChat),
        Api::Gemini => TargetIdPolicy::new(Dialect::Gemini),
    }
}

fn now() -> i64 {
    i64::try_from(NOW).unwrap_or_default()
}

fn read<T: DeserializeOwned>(value: &Value) -> Made<T> {
    T::deserialize(value).map_err(|error| format!("not read: {error}"))
}

fn written<T: Serialize>(value: T) -> Made<Value> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

#[allow(clippy::needless_pass_by_value, reason = "as what `map_err` gives")]
fn said(error: TransformError) -> String {
    error.to_string()
}

/// The target's request.
///
/// # Errors
/// Why there is none.
pub fn request(conversion: Conversion, request: &Value) -> Made<Value> {
    let target = model(conversion.to);
    let policy = ids(conversion.to);
    let mut flow = flow();
    match (conversion.from, conversion.to) {
        (Api::Messages, Api::Responses) => {
            let made =
                claude_responses::claude_to_responses_request(read(request)?, target, &mut flow, &policy);
            written(made.map_err(said)?.value)
        }
        (Api::Messages, Api::Chat) => {
            let made = claude_chat::claude_to_openai(&read(request)?, target);
            written(made.map_err(said)?.value)
        }
        (Api::Messages, Api::Gemini) => {
            let context = claude_gemini::ClaudeGeminiRequestContext::default();
            let made =
                claude_gemini::claude_to_gemini_request(read(request)?, target, context, &mut flow, &policy);
            written(made.map_err(said)?.value)
        }
        (Api::Responses, Api::Messages) => {
            let context = claude_responses::ClaudeRequestContext::default();
            let made = claude_responses::responses_to_claude_request(read(request)?, target, context);
            written(made.map_err(said)?.value)
        }
        (Api::Responses, Api::Chat) => {
            let made = chat_responses::responses_to_chat_request(read(request)?, target);
            written(made.map_err(said)?.value)
        }
        (Api::Chat, Api::Messages) => {
            let made = claude_chat::openai_to_claude(&read(request)?, target);
            written(made.map_err(said)?.value)
        }
        (Api::Chat, Api::Gemini) => {
            let made = gemini_chat::openai_to_gemini_request(
                &read(request)?,
                target,
                &std::collections::BTreeMap::new(),
            );
            written(made.map_err(said)?.value)
        }
        _ => Err("there is no such pair".to_owned()),
    }
}

/// The caller's answer to a request of its own.
///
/// # Errors
/// Why there is none.
pub fn answer(conversion: Conversion, request: &Value, answer: &Value) -> Made<Value> {
    let policy = ids(conversion.from);
    let mut flow = flow();
    match (conversion.from, conversion.to) {
        (Api::Messages, Api::Responses) => {
            let made = claude_responses::responses_to_claude_response(read(answer)?, &mut flow, &policy);
            written(made.map_err(said)?.value)
        }
        (Api::Messages, Api::Chat) => {
            let answer: chat::GenerateContentResponseBody = read(answer)?;
            let model = answer.model.clone();
            let made = claude_chat::openai_response_to_claude(
                &answer,
                model,
                &claude_chat::ResponseSupplement::default(),
            );
            written(made.map_err(said)?.value)
        }
        (Api::Messages, Api::Gemini) => {
            let facts = facts(answer);
            let fallback = Some(model(conversion.to).to_owned());
            let made =
                claude_gemini::gemini_to_claude_response(read(answer)?, fallback, facts, &mut flow, &policy);
            written(made.map_err(said)?.value)
        }
        (Api::Responses, Api::Messages) => {
            let context = of_messages(request)?;
            let made =
                claude_responses::claude_to_responses_response(read(answer)?, context, &mut flow, &policy);
            written(made.map_err(said)?.value)
        }
        (Api::Responses, Api::Chat) => {
            let context = of_chat(request)?;
            let made = chat_responses::chat_to_responses_response(read(answer)?, context, &mut flow, &policy);
            written(made.map_err(said)?.value)
        }
        (Api::Chat, Api::Messages) => {
            let answer: messages::GenerateContentResponseBody = read(answer)?;
            let supplement = claude_chat::ResponseSupplement { created_unix_seconds: Some(now()) };
            let model = written(&answer)?["model"].as_str().unwrap_or_default().to_owned();
            let made = claude_chat::claude_response_to_openai(&answer, model, &supplement);
            written(made.map_err(said)?.value)
        }
        (Api::Chat, Api::Gemini) => {
            let supplement = gemini_chat::GeminiChatResponseSupplement { created_unix_seconds: Some(now()) };
            let target = answer["modelVersion"].as_str().unwrap_or(model(conversion.to)).to_owned();
            let made = gemini_chat::gemini_to_openai_response(
                read(answer)?,
                target,
                &supplement,
                &mut flow,
                &policy,
            );
            written(made.map_err(said)?.value)
        }
        _ => Err("there is no such pair".to_owned()),
    }
}

/// What Gemini does not say of what was used, because it is none.
fn facts(answer: &Value) -> claude_gemini::ClaudeGeminiUsageFacts {
    let none = |name: &str| answer["usageMetadata"][name].is_null().then_some(0);
    claude_gemini::ClaudeGeminiUsageFacts {
        cache_creation_input_tokens: Some(0),
        cache_read_input_tokens: none("cachedContentTokenCount"),
        thinking_tokens: none("thoughtsTokenCount"),
    }
}

/// Whether tools may be called at once, and which: as a provider answers that was told nothing of it.
fn effective(request: &Value) -> Made<(bool, responses::ToolChoice)> {
    let parallel = request["parallel_tool_calls"].as_bool().unwrap_or(true);
    let choice = match &request["tool_choice"] {
        Value::Null => json!("auto"),
        choice => choice.clone(),
    };
    Ok((parallel, read(&choice)?))
}

fn of_messages(request: &Value) -> Made<claude_responses::ClaudeResponseContext> {
    let (effective_parallel_tool_calls, effective_tool_choice) = effective(request)?;
    Ok(claude_responses::ClaudeResponseContext {
        request: read(request)?,
        effective_parallel_tool_calls,
        effective_tool_choice,
        usage: claude_responses::ResponsesUsageFacts::default(),
        created_at: now(),
        effective_prompt_cache_options: None,
    })
}

fn of_chat(request: &Value) -> Made<chat_responses::ResponsesResponseContext> {
    let (effective_parallel_tool_calls, effective_tool_choice) = effective(request)?;
    Ok(chat_responses::ResponsesResponseContext {
        request: read(request)?,
        effective_parallel_tool_calls,
        effective_tool_choice,
        usage: chat_responses::ChatUsageSupplement::default(),
        effective_prompt_cache_options: None,
    })
}

/// What a stream's converter makes of its events; each has types of its own.
macro_rules! passed {
    ($stream:ident, $events:ident) => {{
        let mut made = Vec::new();
        for event in parsed($events)? {
            made.extend($stream.push(event).map_err(said)?.value);
        }
        made
    }};
}

/// What a client has at the end of a stream.
///
/// # Errors
/// Why it has nothing.
pub fn stream(conversion: Conversion, request: &Value, events: &[String]) -> Made<Value> {
    let made = match (conversion.from, conversion.to) {
        (Api::Messages, Api::Responses) => {
            let context = ResponsesToClaudeContext { usage: None };
            let mut stream =
                ResponsesToClaudeStream::new(context, flow(), Default::default()).map_err(said)?;
            let mut made = passed!(stream, events);
            made.extend(stream.finish().map_err(said)?.chunks);
            lines(&made)?
        }
        (Api::Messages, Api::Chat) => {
            let mut stream =
                ChatToClaudeStream::new(ChatToClaudeContext::default(), flow(), Default::default())
                    .map_err(said)?;
            let mut made = passed!(stream, events);
            stream.push_done().map_err(said)?;
            made.extend(stream.finish().map_err(said)?.chunks);
            lines(&made)?
        }
        (Api::Messages, Api::Gemini) => {
            let context = GeminiToClaudeContext {
                model: Some(model(conversion.to).to_owned()),
                response_id: None,
                usage: None,
                facts: facts(
                    &serde_json::from_str(events.last().map_or("null", String::as_str)).unwrap_or_default(),
                ),
            };
            let mut stream = GeminiToClaudeStream::new(context, flow(), Default::default()).map_err(said)?;
            let mut made = passed!(stream, events);
            made.extend(stream.finish().map_err(said)?.chunks);
            lines(&made)?
        }
        (Api::Responses, Api::Messages) => {
            let mut stream = ClaudeToResponsesStream::new(of_messages(request)?, flow(), Default::default())
                .map_err(said)?;
            let mut made = passed!(stream, events);
            made.extend(stream.finish().map_err(said)?.chunks);
            lines(&made)?
        }
        (Api::Responses, Api::Chat) => {
            let mut stream = ChatToResponsesStream::new(of_chat(request)?, flow(), Default::default());
            let mut made = passed!(stream, events);
            stream.push_done().map_err(said)?;
            made.extend(stream.finish().map_err(said)?.chunks);
            lines(&made)?
        }
        (Api::Chat, Api::Messages) => {
            let context = ClaudeToChatContext { created: now() };
            let mut stream = ClaudeToChatStream::new(context, flow(), Default::default()).map_err(said)?;
            let mut made = passed!(stream, events);
            made.extend(stream.finish().map_err(said)?.chunks);
            lines(&made)?
        }
        (Api::Chat, Api::Gemini) => {
            let context =
                GeminiToChatContext { created: now(), model: Some(model(conversion.to).to_owned()) };
            let mut stream = GeminiToChatStream::new(context, flow(), Default::default()).map_err(said)?;
            let mut made = passed!(stream, events);
            made.extend(stream.finish().map_err(said)?.chunks);
            lines(&made)?
        }
        _ => return Err("there is no such pair".to_owned()),
    };
    collect(conversion.from, &made)
}

/// The events of a stream, without what says that Chat's is over.
fn parsed<T: DeserializeOwned>(events: &[String]) -> Made<Vec<T>> {
    let events = events.iter().filter(|data| *data != "[DONE]");
    events
        .map(|data| serde_json::from_str(data).map_err(|error| format!("not read: {error} in {data}")))
        .collect()
}

fn lines<T: Serialize>(events: &[T]) -> Made<Vec<String>> {
    events.iter().map(|event| written(event).map(|event| event.to_string())).collect()
}

/// The answer that a client of this API makes of a stream's events.
///
/// # Errors
/// They are none of a whole stream.
pub fn collect(api: Api, events: &[String]) -> Made<Value> {
    let refused = |error: TransformError| format!("not collected: {error}");
    match api {
        Api::Messages => {
            let mut collector = ClaudeStreamCollector::new(Default::default());
            for event in parsed::<claude::stream::StreamEvent>(events)? {
                collector.push(event).map_err(refused)?;
            }
            written(collector.finish().map_err(refused)?.value)
        }
        Api::Responses => {
            let mut collector = ResponsesStreamCollector::new(Default::default());
            for event in parsed::<responses::stream::StreamEvent>(events)? {
                collector.push(event).map_err(refused)?;
            }
            written(collector.finish().map_err(refused)?.value)
        }
        Api::Chat => {
            let mut collector = ChatStreamCollector::new(flow(), ids(Api::Chat));
            for event in parsed::<chat::stream::ChatCompletionChunk>(events)? {
                collector.push(event).map_err(refused)?;
            }
            collector.push_done().map_err(refused)?;
            written(collector.finish().map_err(refused)?.value)
        }
        Api::Gemini => Err("nobody calls in it".to_owned()),
    }
}

/// A stream that says what an answer of this API says.
///
/// # Errors
/// It is none.
pub fn streamed(api: Api, answer: &Value) -> Made<Vec<String>> {
    match api {
        Api::Messages => {
            lines(&synthesize_claude_stream(read(answer)?, Default::default()).map_err(said)?.value)
        }
        Api::Responses => {
            let made = synthesize_responses_stream(read(answer)?, &mut flow(), Default::default());
            lines(&made.map_err(said)?.value)
        }
        Api::Chat => {
            let mut made =
                lines(&synthesize_chat_stream(read(answer)?, Default::default()).map_err(said)?.value)?;
            made.push("[DONE]".to_owned());
            Ok(made)
        }
        Api::Gemini => Err("it is made of the answer's parts".to_owned()),
    }
}

/// A request without what `gproxy-protocol` cannot read: items of its lists, or else members.
#[must_use]
pub fn readable(api: Api, request: &Value) -> Value {
    let is_read = |request: &Value| declared(api, request).is_ok();
    let mut left = request.clone();
    if is_read(&left) {
        return left;
    }
    let lists = ["input", "messages", "tools"];
    let mut alone = request.clone();
    for list in lists {
        if alone[list].is_array() {
            alone[list] = json!([]);
        }
    }
    for list in lists {
        if let Some(elements) = left[list].as_array_mut() {
            elements.retain(|element| {
                let mut with = alone.clone();
                with[list] = json!([element]);
                is_read(&with)
            });
        }
    }
    left
}

/// What remains of a request when all is left out that its API's own description does not have.
///
/// # Errors
/// It is no request of that API.
pub fn declared(api: Api, request: &Value) -> Made<Value> {
    let mut request = request.clone();
    if api == Api::Gemini {
        // What says nothing need not be there: it is the same in Gemini's encoding, but not for a reader of its
        // description.
        let tools = request["tools"].as_array_mut().into_iter().flatten();
        for tool in tools.filter(|tool| tool["functionDeclarations"].is_array()) {
            for function in tool["functionDeclarations"].as_array_mut().into_iter().flatten() {
                if function["description"].is_null() {
                    function["description"] = "".into();
                }
            }
        }
    }
    let request = &request;
    match api {
        Api::Messages => written(read::<messages::GenerateContentRequestBody>(request)?.into_declared()),
        Api::Responses => written(read::<responses::GenerateContentRequestBody>(request)?.into_declared()),
        Api::Chat => written(read::<chat::GenerateContentRequestBody>(request)?.into_declared()),
        Api::Gemini => written(read::<gemini::GenerateContentRequestBody>(request)?.into_declared()),
    }
}
