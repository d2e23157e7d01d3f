//! What is read of a request, and what is changed in it: a body in which a name is replaced is the same but for that
//! name, and where the gateway says that it is certain, another reader of JSON reads the same.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};
use sproxy::dialect::request::{BodyKind, BodyPeek, Peek, conversation, other_model};
use sproxy::dialect::{PathModel, model_collections, path_model, route};
use sproxy::domain::provider::Provider;
use sproxy::json::edit::with_members;
use sproxy::json::skip::{Skip, SkipString};

use super::input::Input;
use super::json::{members, parsed};

const CONTENT_TYPES: [&str; 6] = [
    "application/json",
    "application/json; charset=utf-8",
    "",
    "multipart/form-data; boundary=x",
    "text/plain",
    "application/json; charset=utf-16",
];
/// Keys of the most tokens of output that are wanted, at the top and in objects of options.
const MAX_TOKENS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
const MAX_TOKENS_WITHIN: [(&str, &str); 2] =
    [("generationConfig", "maxOutputTokens"), ("options", "num_predict")];

/// A letter for the dialect, one for the content type, a line with the path, one with another model, and the body.
pub fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let provider = input.choice(&Provider::ALL);
    let content_type = input.choice(&CONTENT_TYPES);
    let path = input.text_line();
    let model = input.text_line();
    let pieces = input.pieces();
    let body = pieces.concat();
    skipped(&pieces);
    path_with(provider, &path, &model);
    peeked(&path, content_type, &body);
    form(&pieces);
    let Some(listed) = members(&body) else { return };
    read_as_others_read(&body, &listed);
    model_replaced(provider, &body, &listed, &model);
    usage_asked_for(&body);
    member_replaced(&body, &listed);
    conversation_goes_on(&body);
}

/// What is skipped ends where it ends, however it is cut.
fn skipped(pieces: &[&[u8]]) {
    let body = pieces.concat();
    let container = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut skip = Skip::inside();
        let taken: usize = pieces.map(|piece| if skip.is_over() { 0 } else { skip.feed(piece) }).sum();
        (taken, skip.is_over())
    };
    let expected = end_of_container(&body);
    assert_eq!(container(&mut [&*body].into_iter()), expected);
    assert_eq!(container(&mut pieces.iter().copied()), expected);
    assert_eq!(container(&mut body.chunks(1)), expected);
    let text = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut skip = SkipString::inside();
        let taken: usize = pieces.map(|piece| if skip.is_over() { 0 } else { skip.feed(piece) }).sum();
        (taken, skip.is_over())
    };
    let expected = end_of_string(&body);
    assert_eq!(text(&mut [&*body].into_iter()), expected);
    assert_eq!(text(&mut pieces.iter().copied()), expected);
    assert_eq!(text(&mut body.chunks(1)), expected);
}

/// How much belongs to a container whose first bracket has been read, and whether it ends.
fn end_of_container(bytes: &[u8]) -> (usize, bool) {
    let (mut depth, mut in_string, mut is_escaped) = (1, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        // A backslash escapes wherever it stands: outside of strings it is no JSON at all.
        if std::mem::take(&mut is_escaped) {
            continue;
        }
        match byte {
            b'\\' => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (at + 1, true);
        }
    }
    (bytes.len(), false)
}

fn end_of_string(bytes: &[u8]) -> (usize, bool) {
    let mut is_escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'"' && !is_escaped {
            return (at + 1, true);
        }
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    (bytes.len(), false)
}

/// A path that certainly names a model names another one that is put in its place, and is otherwise the same.
fn path_with(provider: Provider, path: &str, model: &str) {
    let named = path_model(provider, path.split('?').next().unwrap_or_default());
    let is_certain = matches!(named, PathModel::Exact(_) | PathModel::ExactIfBodyAgrees(_));
    let is_plain =
        !model.is_empty() && model.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let Some(changed) = other_model::in_path(provider, path, model).filter(|_| is_certain && is_plain) else {
        return;
    };
    let own = |path: &str| {
        path_model(provider, path.split('?').next().unwrap_or_default()).name().map(str::to_owned)
    };
    let old = own(path).expect("a model was replaced");
    // A tuned model of another collection makes way with its collection.
    let collections = model_collections(provider);
    if !collections.iter().any(|collection| old.starts_with(collection)) {
        assert_eq!(changed.len() + old.len(), path.len() + model.len());
    }
    assert_eq!(own(&changed).as_deref(), Some(model), "{path} with {model} is {changed}");
    assert_eq!(other_model::in_path(provider, &changed, &old).as_deref(), Some(path), "and back");
}

/// The whole of a call is read without a hitch, and what is certain of its path and body agrees.
fn peeked(path: &str, content_type: &str, body: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).expect("text"));
    let Some(route) = route::find(&Method::POST, path, &headers) else { return };
    let read = BodyPeek::read(body);
    let model = read.model.clone();
    let peek = Peek::new(&route, &headers, read, true);
    if path_model(route.provider, route.path).name().is_none() {
        assert_eq!(*peek.model, *model.unwrap_or_default());
    }
    if !peek.ambiguous.model && !peek.model.is_empty() {
        assert!(!peek.hides_model || path.contains(&*peek.model), "a model that is certain is not hidden");
    }
    if let Some(asked) = peek.with_usage(body) {
        assert!(peek.lacks_usage(), "only who does not ask is asked for");
        assert!(parsed(body).is_none() || BodyPeek::read(&asked).usage_option.is_set());
    }
}

/// A form that is written as clients write it names the one model that stands in it.
fn form(pieces: &[&[u8]]) {
    const BOUNDARY: &str = "----fuzzed";
    const NAMES: [&str; 4] = ["model", "file", "prompt", "model_name"];
    let delimiter = format!("\r\n--{BOUNDARY}");
    // A line break stands before every value, so that one may begin with a delimiter but for it.
    let fits = |piece: &&[u8]| {
        let value = piece.get(1..).unwrap_or_default();
        find_in(&[b"\r\n", value].concat(), delimiter.as_bytes()).is_none()
    };
    let mut body = Vec::new();
    let mut models = Vec::new();
    let mut is_plain = true;
    for piece in pieces.iter().filter(|piece| fits(piece)) {
        let Some((letter, value)) = piece.split_first() else { continue };
        let name = NAMES[usize::from(letter.wrapping_sub(b'a')) % NAMES.len()];
        let dashes = if body.is_empty() { format!("--{BOUNDARY}") } else { delimiter.clone() };
        body.extend(format!("{dashes}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").bytes());
        body.extend_from_slice(value);
        match name {
            "model" => models.push(String::from_utf8(value.to_vec())),
            // It looks like one.
            "model_name" => is_plain = false,
            _ => {}
        }
    }
    body.extend(format!("{delimiter}--\r\n").bytes());
    let peek = BodyPeek::read(&body);
    if body.starts_with(b"--") {
        assert_eq!(peek.kind, BodyKind::Multipart(BOUNDARY.as_bytes()));
    }
    let is_name = |name: &&String| !name.is_empty() && !name.contains(char::is_control);
    match models.as_slice() {
        [Ok(only)] if is_plain && is_name(&only) => {
            assert_eq!((peek.model.as_deref(), peek.ambiguous.model), (Some(&**only), false));
        }
        _ => assert!(peek.ambiguous.model, "no model, or not one: {:?}", String::from_utf8_lossy(&body)),
    }
}

fn find_in(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn last<'v>(listed: &'v [(String, Value)], key: &str) -> Option<&'v Value> {
    listed.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
}

fn read_as_others_read(body: &[u8], listed: &[(String, Value)]) {
    let peek = BodyPeek::read(body);
    assert_eq!(peek.kind, BodyKind::Json, "what is JSON to others is JSON");
    let models: Vec<&Value> =
        listed.iter().filter(|(key, _)| key == "model").map(|(_, value)| value).collect();
    let named = models.iter().rev().find_map(|value| value.as_str());
    assert_eq!(peek.model.as_deref(), named);
    let is_certain =
        models.len() == 1 && named.is_some() && !listed.iter().any(|(key, _)| looks_like_model(key));
    assert_eq!(peek.ambiguous.model, !is_certain);
    assert_eq!(peek.hides_model(), named.is_none() && models.iter().any(|value| !value.is_null()));
    assert_eq!(peek.stream, last(listed, "stream").and_then(Value::as_bool));
    if !peek.ambiguous.max_tokens {
        let top = listed.iter().filter(|(key, _)| MAX_TOKENS.contains(&&**key)).map(|(_, value)| value);
        let within = listed.iter().filter_map(|(key, value)| {
            let (_, inner) = MAX_TOKENS_WITHIN.iter().find(|(outer, _)| outer == key)?;
            value.get(inner)
        });
        for asked in top.chain(within).filter(|value| !value.is_null()) {
            let asked = asked.as_u64().expect("what is certain is a number");
            assert!(peek.max_tokens.is_some_and(|most| most >= asked), "{asked} of {:?}", peek.max_tokens);
        }
    }
    let most = (body.len() as u64).div_ceil(4);
    assert!(peek.input_tokens_estimate() <= most, "small bodies are text");
}

/// Whether somebody could take a key for `model`, or goes by it where `model` fails.
fn looks_like_model(key: &str) -> bool {
    key != "model" && (key == "models" || !key.is_ascii() || key.eq_ignore_ascii_case("model"))
}

fn model_replaced(provider: Provider, body: &[u8], listed: &[(String, Value)], model: &str) {
    let changed = other_model::in_body(provider, body, model);
    let mut models = listed.iter().filter(|(key, _)| key == "model").map(|(_, value)| value);
    let Some(first) = models.next() else {
        assert_eq!(changed, None, "where no model is named none is replaced");
        return;
    };
    let changed = changed.expect("a model is named");
    let collections = model_collections(provider);
    let is_resource = |name: &str| collections.iter().any(|collection| name.starts_with(collection));
    let old = first.as_str();
    let named = match collections.first() {
        Some(usual) if old.is_some_and(is_resource) && !is_resource(model) => format!("{usual}{model}"),
        _ => model.to_owned(),
    };
    let expected: Vec<(String, Value)> = listed
        .iter()
        .map(|(key, value)| (key.clone(), if key == "model" { json!(named) } else { value.clone() }))
        .collect();
    assert_eq!(members(&changed), Some(expected), "the same but for the model");
    assert_eq!(other_model::in_body(provider, &changed, model), Some(changed.clone()), "done is done");
    // Back again, where the old name is written as it would be.
    if let Some(old) = old
        && models.next().is_none()
        && find_in(body, format!(":{}", json!(first)).as_bytes()).is_some()
        && (is_resource(old) || !is_resource(&named))
    {
        let back = other_model::in_body(provider, &changed, old).expect("a model is named");
        assert_eq!(String::from_utf8_lossy(&back), String::from_utf8_lossy(body), "byte for byte");
    }
}

fn usage_asked_for(body: &[u8]) {
    let option = BodyPeek::read(body).usage_option;
    let changed = option.set_in(body);
    let Some(Value::Object(mut expected)) = parsed(body) else { return };
    let is_set =
        expected.get("stream_options").and_then(|options| options.get("include_usage")) == Some(&json!(true));
    assert_eq!(option.is_set(), is_set);
    assert_eq!(changed.is_none(), is_set, "who asks already is not changed");
    let Some(changed) = changed else { return };
    let mut options = match expected.remove("stream_options") {
        Some(Value::Object(options)) => options,
        _ => Map::new(),
    };
    options.insert("include_usage".to_owned(), json!(true));
    expected.insert("stream_options".to_owned(), Value::Object(options));
    assert_eq!(parsed(&changed), Some(Value::Object(expected)), "the same, and asked for");
    assert!(BodyPeek::read(&changed).usage_option.is_set());
}

fn member_replaced(body: &[u8], listed: &[(String, Value)]) {
    for (added, first) in [("", None), (r#""x":0"#, Some(("x".to_owned(), json!(0))))] {
        let changed =
            with_members(body, |key| key == b"model" || key == b"stream", added).expect("it is an object");
        let kept = listed.iter().filter(|(key, _)| key != "model" && key != "stream").cloned();
        let expected: Vec<(String, Value)> = first.into_iter().chain(kept).collect();
        assert_eq!(members(&changed), Some(expected), "{:?}", String::from_utf8_lossy(&changed));
    }
}

/// The next turn belongs to the conversation of the one before.
fn conversation_goes_on(body: &[u8]) {
    let Some(Value::Object(mut document)) = parsed(body) else { return };
    let before = conversation::of_body(Value::Object(document.clone()).to_string().as_bytes());
    let turns = document
        .iter_mut()
        .filter(|(key, _)| ["messages", "input", "contents"].contains(&key.as_str()))
        .filter_map(|(_, turns)| turns.as_array_mut())
        .next_back();
    let is_of_user = |turn: &Value| turn.get("role").is_none_or(|role| role == "user");
    let Some(turns) = turns.filter(|turns| turns.iter().any(is_of_user)) else { return };
    turns.push(json!({ "role": "assistant", "content": "and so on" }));
    document.insert("temperature".to_owned(), json!(1));
    document.insert("model".to_owned(), json!("another"));
    let body = Value::Object(document).to_string();
    assert_eq!(conversation::of_body(body.as_bytes()), before, "{body}");
}
