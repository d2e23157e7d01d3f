//! Pictures and files as parts: their data, or where they are.

use serde_json::{Value, json};

/// A part with data in base64.
#[must_use]
pub fn inline(media_type: &str, base64: &str) -> Value {
    json!({ "inlineData": { "mimeType": media_type, "data": base64 } })
}

/// A part that is at a URL. Its type is told by how that ends; `else_type` where it does not tell.
#[must_use]
pub fn file(url: &str, else_type: &str) -> Value {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let end = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, end)| end);
    let media_type = match end.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain",
        _ => else_type,
    };
    json!({ "fileData": { "mimeType": media_type, "fileUri": url } })
}

/// A part of a `data:` URL, or of another's.
///
/// # Errors
/// Why it is neither.
pub fn of_url(url: &str, else_type: &str) -> Result<Value, &'static str> {
    if let Some(data) = url.strip_prefix("data:") {
        let (head, base64) = data.split_once(',').ok_or(NEITHER)?;
        let head = head.strip_suffix(";base64").ok_or(NEITHER)?;
        let media_type = head.split(';').next().filter(|kind| !kind.is_empty()).unwrap_or(else_type);
        return Ok(inline(media_type, base64));
    }
    if ["https://", "http://", "gs://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(file(url, else_type));
    }
    Err(NEITHER)
}

const NEITHER: &str = "neither a web address nor `data:` in base64";
