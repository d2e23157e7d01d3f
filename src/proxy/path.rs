//! Paths that mean the same to every server: one that servers may take for another is nobody's.

use crate::domain::failure::{Failure, Kind};

/// Refuses a path that a provider, or a server in front of it, may take for another one: what is in the books would
/// not be what was called. A slash inside a name may be encoded (`org%2Fmodel`); dots, backslashes and percent signs
/// are in no name that would need it.
pub(super) fn check(path: &str) -> Result<(), Failure> {
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
