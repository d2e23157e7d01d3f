//! Looking at paths, for every dialect.

/// Versions of Google's, whose clouds serve every dialect. In base URLs they are interchangeable.
pub(super) const VERSIONS: [&str; 4] = ["/v1", "/v1beta", "/v1beta1", "/v1alpha"];
/// Prefixes of the paths by which Google uploads and downloads files; the version follows: `/upload/v1beta/files`.
pub(super) const TRANSFER_PREFIXES: [&str; 2] = ["/upload", "/download"];

/// Whether `path` is `base` or lies below it.
pub(super) fn is_under(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn is_under_any(path: &str, bases: &[&str]) -> bool {
    bases.iter().any(|base| is_under(path, base))
}

/// What lies below `base`, beginning with a slash; `None` if there is nothing below it.
pub(super) fn below<'p>(path: &'p str, base: &str) -> Option<&'p str> {
    path.strip_prefix(base).filter(|rest| rest.len() > 1 && rest.starts_with('/'))
}

/// Whether a path could be another one than it looks like: percent-encoded, or with parameters that some servers strip.
pub(super) fn is_encoded(path: &str) -> bool {
    path.contains(['%', ';'])
}

/// Whether `version` is one of [`VERSIONS`] and `path` brings one along.
pub(super) fn repeats_numbered_version(version: &str, path: &str) -> bool {
    VERSIONS.contains(&version) && (is_under_any(path, &VERSIONS) || is_under_any(path, &TRANSFER_PREFIXES))
}
