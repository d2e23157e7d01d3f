//! `http.cors_origins` and `http.public_url`: origins, each written as browsers send it, so that comparing is enough.

use url::{Origin, Url};

use super::sections::CorsOrigins;
use super::table::Table;

const ANY: &str = "*";

pub(super) fn read(table: &Table<'_>, key: &str) -> CorsOrigins {
    let entries = table.list(key);
    if entries.iter().any(|entry| entry == ANY) {
        if entries.len() > 1 {
            table.wrong(key, "\"*\" lets in every origin: leave the others out, or leave it out");
        }
        return CorsOrigins::Any;
    }
    for reason in entries.iter().filter_map(|entry| check(entry).err()) {
        table.wrong(key, reason);
    }
    CorsOrigins::Only(entries)
}

/// The one origin by which browsers reach the cluster; none: nobody has said.
pub(super) fn public_url(table: &Table<'_>, key: &str) -> Option<String> {
    let text = table.optional(key)?;
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    let sent = as_sent(&text).filter(|_| is_web);
    match sent {
        Some(sent) if sent == text => return Some(sent),
        Some(sent) => table.wrong(key, format!("has no path, and no slash at its end: write `{sent}`")),
        None => table.wrong(key, format!("`{text}` is no address such as https://llm.example.com")),
    }
    None
}

/// Checks that a text is an origin as browsers send it; the error says what to write.
fn check(text: &str) -> Result<(), String> {
    if text == "null" {
        return Err("`null` stands for any page that hides its origin: only \"*\" lets it in".to_owned());
    }
    if text.contains('*') {
        return Err(format!("`{text}` is a pattern: write each origin, or \"*\" alone for every one"));
    }
    let sent = as_sent(text).ok_or_else(|| {
        format!(
            "`{text}` is no origin: write scheme://host or scheme://host:port, such as https://app.example, or \"*\" \
             for every one"
        )
    })?;
    if sent == text {
        return Ok(());
    }
    Err(format!(
        "`{text}` is not what browsers send, which has no path and no slash at its end: write `{sent}`"
    ))
}

/// The origin of a URL as a browser sends it (HTML, "serialization of an origin").
fn as_sent(text: &str) -> Option<String> {
    // Without it, `localhost:5173` would be a scheme and its path.
    text.contains("://").then_some(())?;
    let url = Url::parse(text).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    match url.origin() {
        origin @ Origin::Tuple(..) => Some(origin.ascii_serialization()),
        // Applications and extensions have schemes of their own, which the standard leaves to the browser.
        Origin::Opaque(_) => {
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            Some(format!("{}://{host}{port}", url.scheme()))
        }
    }
}
