//! The style sheet and the script: part of the binary, under names that change with what is in them, so that browsers may
//! keep them for ever.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::crypto::secret_text::sha256;

/// Where assets are.
pub const PATH: &str = "/ui/assets/";

const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NOT_AT_ALL: HeaderValue = HeaderValue::from_static("no-cache");

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("sproxy", "css", "text/css; charset=utf-8", include_bytes!("assets/sproxy.css"))
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("sproxy", "js", "text/javascript; charset=utf-8", include_bytes!("assets/sproxy.js"))
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_bytes!("assets/icon.svg")));

struct Asset {
    /// With the digest of its bytes.
    name: String,
    stem: &'static str,
    ending: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

impl Asset {
    fn new(stem: &'static str, ending: &'static str, media_type: &'static str, bytes: &'static [u8]) -> Self {
        let digest = sha256(bytes).first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        Self { name: format!("{stem}.{digest:016x}.{ending}"), stem, ending, media_type, bytes }
    }

    fn url(&self) -> String {
        format!("{PATH}{}", self.name)
    }

    /// Whether a name is this asset's, of this version or another.
    fn is_called(&self, name: &str) -> bool {
        name.starts_with(self.stem) && name.ends_with(self.ending)
    }
}

#[must_use]
pub fn style() -> String {
    STYLE.url()
}

#[must_use]
pub fn script() -> String {
    SCRIPT.url()
}

#[must_use]
pub fn icon() -> String {
    ICON.url()
}

/// The asset of this name. While nodes are upgraded, a page of one may ask another, of another version, for its assets:
/// it is given what is here, and told not to keep it.
#[must_use]
pub fn answer(name: &str) -> Response {
    let Some(asset) = [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.is_called(name)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let keep = if asset.name == name { FOR_EVER } else { NOT_AT_ALL };
    let media_type = HeaderValue::from_static(asset.media_type);
    ([(CONTENT_TYPE, media_type), (CACHE_CONTROL, keep)], asset.bytes).into_response()
}
