//! Where somebody goes on after signing in: only to pages of ours, whatever an address says.

use url::form_urlencoded;

/// Beginnings of paths that people may be sent on to.
const PAGES: [&str; 2] = ["/ui", "/device"];

/// The sign-in page, that goes on to `wanted` if that is one of ours.
#[must_use]
pub fn sign_in_and_then(wanted: &str) -> String {
    with("/ui/login", own(Some(wanted)).filter(|wanted| *wanted != START))
}

/// `path`, told to go on to `wanted`.
#[must_use]
pub fn with(path: &str, wanted: Option<&str>) -> String {
    let Some(wanted) = wanted else { return path.to_owned() };
    let mut query = form_urlencoded::Serializer::new(String::new());
    format!("{path}?{}", query.append_pair("next", wanted).finish())
}

/// Where everybody begins.
pub const START: &str = "/ui/";

/// `wanted`, if it is a page of ours.
#[must_use]
pub fn own(wanted: Option<&str>) -> Option<&str> {
    let wanted = wanted?;
    let path = wanted.split(['?', '#']).next().unwrap_or_default();
    let is_page = PAGES
        .iter()
        .any(|page| path.strip_prefix(page).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    // Browsers read a backslash as a slash, leave out tabs and line ends, and go up at dots, encoded ones too.
    let is_plain = wanted.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let goes_up = path.contains("..") || path.to_ascii_lowercase().contains("%2e");
    (is_page && is_plain && !goes_up && !path.contains("//")).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_ours_are_gone_on_to() {
        for good in ["/ui", "/ui/", "/ui/usage?from=2026-11-01&to=2026-12-01", "/device?user_code=WDJB-MJHT"]
        {
            assert_eq!(own(Some(good)), Some(good));
        }
        for bad in [
            "",
            "/",
            "//evil.example",
            "https://evil.example/ui/",
            "/\\evil.example",
            "/ui\\evil",
            "/ui/../admin/v1/users",
            "/ui/%2e%2E/auth/logout",
            "/uix",
            "/ui//evil.example",
            "/ui/\n",
            "/ui/ a",
            "/admin/v1/users",
            "javascript:alert(1)",
            "/device.evil.example",
        ] {
            assert_eq!(own(Some(bad)), None, "{bad:?}");
        }
    }
}
