//! Whether the gateway and a provider read the same in a request. Limits on what may be asked for hold only where they
//! do: a path that servers may take for another one is nobody's, and a body that is read by guessing is not certain.

use std::sync::Arc;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::readable::only;
use super::route::Route;
use crate::domain::failure::{Failure, Kind};
use crate::domain::provider::Provider;
use crate::metering::ask::{Asked, Form};
use crate::metering::{Endpoint, InPath};

/// What a call asks for, and how certain that is.
pub(super) struct Certain {
    /// The model; empty where none is named.
    pub(super) model: Arc<str>,
    pub(super) model_is_unclear: bool,
    pub(super) max_tokens_is_unclear: bool,
}

impl Certain {
    /// `text_is_certain`: what was read is what a provider decodes.
    pub(super) fn of(
        route: &Route<'_>,
        headers: &HeaderMap,
        asked: &Asked<'_>,
        text_is_certain: bool,
    ) -> Self {
        let in_path = InPath::of(route.provider, route.path);
        let in_body = asked.model.as_deref().unwrap_or("");
        let model = match in_path {
            InPath::Certainly(model) | InPath::Perhaps(model) => model,
            InPath::Nothing => in_body,
        };
        let body_is_plain = text_is_certain && is_plain(route.provider, headers, asked);
        let model_is_clear = match in_path {
            // Google's path counts, whatever the body says. Of a deployment not every server thinks so.
            InPath::Certainly(_) if route.provider != Provider::Openai => true,
            InPath::Certainly(model) => body_is_plain && asked.clear.model && model == in_body,
            InPath::Perhaps(_) => false,
            InPath::Nothing => body_is_plain && asked.clear.model,
        };
        let (model_is_unclear, max_tokens_is_unclear) = match route.endpoint {
            Endpoint::Inference => (!model_is_clear, !(body_is_plain && asked.clear.max_tokens)),
            // What is ordered names its models elsewhere, in a file for instance.
            Endpoint::Deferred => (true, true),
            Endpoint::Free | Endpoint::Other => (false, false),
        };
        Self { model: model.into(), model_is_unclear, max_tokens_is_unclear }
    }
}

/// Whether the headers say of a body that it is what the gateway has read: UTF-8, JSON or this form.
fn is_plain(provider: Provider, headers: &HeaderMap, asked: &Asked<'_>) -> bool {
    let Some(content_type) = only(headers, &CONTENT_TYPE) else { return false };
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let kind = kind.trim();
    match asked.form {
        Form::Json => {
            // Ollama takes everything for JSON, and is called by hand without saying so.
            let is_json = kind.is_empty() || kind == "application/json" || kind.ends_with("+json");
            let is_form = kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"));
            (is_json || (provider == Provider::Ollama && !is_form)) && is_utf8(parameters)
        }
        Form::Multipart(boundary) => {
            kind.eq_ignore_ascii_case("multipart/form-data") && has_boundary(parameters, boundary)
        }
        Form::Unknown => false,
    }
}

fn is_utf8(parameters: &str) -> bool {
    let is_other = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.trim().to_ascii_lowercase().starts_with("charset")
            && !unquoted(value).eq_ignore_ascii_case("utf-8")
    };
    !parameters.split(';').any(is_other)
}

fn has_boundary(parameters: &str, boundary: &[u8]) -> bool {
    let mut boundaries = parameters.split(';').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().to_ascii_lowercase().starts_with("boundary").then(|| unquoted(value))
    });
    boundaries.next().is_some_and(|named| named.as_bytes() == boundary) && boundaries.next().is_none()
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// Refuses a path that a provider, or a server in front of it, may take for another one: what is in the books would
/// not be what was called. A slash inside a name may be encoded (`org%2Fmodel`); dots, backslashes and percent signs
/// are in no name that would need it.
pub(super) fn check_path(path: &str) -> Result<(), Failure> {
    if is_canonical(path) {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Invalid,
        "the path has empty segments, `.` or `..` segments, or encoded dots, backslashes or percent signs: send it as \
         it is meant",
    ))
}

fn is_canonical(path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    // Empty at first: the path begins behind a slash. A single slash at the end is everybody's habit.
    let mut segment = Segment::default();
    let mut rest = path.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        let is_slash = match byte {
            b'\\' => return false,
            b'%' => match behind.first_chunk() {
                Some(b"2f" | b"2F") => {
                    rest = behind.get(2..).unwrap_or_default();
                    true
                }
                Some(b"2e" | b"2E" | b"5c" | b"5C" | b"25") => return false,
                _ => false,
            },
            byte => *byte == b'/',
        };
        if !is_slash {
            segment.push(*byte);
        } else if std::mem::take(&mut segment).is_odd() {
            return false;
        }
    }
    segment.is_untouched() || !segment.is_odd()
}

/// As much of a segment as decides whether it is empty, `.` or `..`; some servers strip what follows a semicolon.
#[derive(Default)]
struct Segment {
    len: usize,
    has_more_than_dots: bool,
    has_parameters: bool,
}

impl Segment {
    fn push(&mut self, byte: u8) {
        self.has_parameters |= byte == b';';
        if !self.has_parameters {
            self.len += 1;
            self.has_more_than_dots |= byte != b'.';
        }
    }

    fn is_untouched(&self) -> bool {
        self.len == 0 && !self.has_parameters
    }

    fn is_odd(&self) -> bool {
        self.len <= 2 && !self.has_more_than_dots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_canonical_if_no_server_takes_it_for_another_one() {
        for path in [
            "/v1/messages",
            "/v1/messages/",
            "/v1/models/org%2Fmodel-1.5",
            "/v1/models/.hidden",
            "/v1/models/...",
            "/v1beta/models/gemini-2.5-pro%3AgenerateContent",
        ] {
            assert!(is_canonical(path), "{path}");
        }
        for path in [
            "//v1/messages",
            "/v1//messages",
            "/v1/messages//",
            "/v1/./messages",
            "/v1/models/..",
            "/v1/models/../messages",
            "/v1/models/%2e%2E/messages",
            "/v1/models/..%2fmessages",
            "/v1/models%2F%2Fmessages",
            "/v1/models/..\\messages",
            "/v1/models/..%5Cmessages",
            "/v1/models/%252e%252e/messages",
            "/v1/models/..;x/messages",
            "/v1/;x/messages",
        ] {
            assert!(!is_canonical(path), "{path}");
        }
    }
}
