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
