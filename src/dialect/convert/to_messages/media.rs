//! Pictures and files, which other APIs have as `data:` URLs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::contract::NotConverted;
use crate::domain::model_traits::ModelTraits;

/// A picture by its URL; `field` is what the caller calls it.
///
/// # Errors
/// It is none that can be sent, or the model takes none.
pub fn image(url: &str, traits: &ModelTraits, field: &str) -> Result<Value, NotConverted> {
    if !traits.images {
        return Err(NotConverted::unsupported(field, "the model takes no pictures"));
    }
    let source = match Data::read(url) {
        Some(data) => {
            let media_type = if data.media_type == "image/jpg" { "image/jpeg" } else { data.media_type };
            json!({ "type": "base64", "media_type": media_type, "data": data.base64 })
        }
        None => web_source(url, field)?,
    };
    Ok(json!({ "type": "image", "source": source }))
}

/// A file by its content or its URL: a PDF, or text.
///
/// # Errors
/// It is another, or the model takes none.
pub fn document(
    url: &str,
    title: Option<&str>,
    traits: &ModelTraits,
    field: &str,
) -> Result<Value, NotConverted> {
    let unsupported = |reason: &str| NotConverted::unsupported(field, reason);
    let source = match Data::read(url) {
        Some(data) if data.media_type.starts_with("text/") || data.media_type == "application/json" => {
            let text = STANDARD.decode(data.base64).ok().and_then(|text| String::from_utf8(text).ok());
            let text = text.ok_or_else(|| unsupported("it is not text in UTF-8"))?;
            json!({ "type": "text", "media_type": "text/plain", "data": text })
        }
        Some(data) if data.media_type.starts_with("image/") => return image(url, traits, field),
        _ if !traits.documents => return Err(unsupported("the model takes no files")),
        Some(data) if data.media_type == "application/pdf" => {
            json!({ "type": "base64", "media_type": data.media_type, "data": data.base64 })
        }
        Some(data) => return Err(unsupported(&format!("files of type {} are not taken", data.media_type))),
        None => web_source(url, field)?,
    };
    let mut block = json!({ "type": "document", "source": source });
    if let Some(title) = title.filter(|title| !title.is_empty()) {
        block["title"] = title.into();
    }
    Ok(block)
}

fn web_source(url: &str, field: &str) -> Result<Value, NotConverted> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(json!({ "type": "url", "url": url }));
    }
    Err(NotConverted::unsupported(field, "neither a web address nor `data:` in base64"))
}

struct Data<'u> {
    media_type: &'u str,
    base64: &'u str,
}

impl<'u> Data<'u> {
    fn read(url: &'u str) -> Option<Self> {
        let (head, base64) = url.strip_prefix("data:")?.split_once(',')?;
        let head = head.strip_suffix(";base64")?;
        let media_type = head.split_once(';').map_or(head, |(media_type, _)| media_type);
        Some(Self { media_type, base64 })
    }
}
