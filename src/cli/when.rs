//! Moments as people say them.

use crate::domain::clock::{Clock, SystemClock, Timestamp};

/// A moment for `--from` and `--to`: RFC 3339, a UTC day (`2026-11-22`) or month (`2026-11`), `now`, `today`,
/// `yesterday`, or how long ago (`7d`, `12h`).
///
/// # Errors
/// What is expected.
pub fn past(text: &str) -> Result<Timestamp, String> {
    read(text, SystemClock.now()).ok_or_else(|| {
        "a time such as 2026-11-22T10:00:00Z, a UTC day (2026-11-22) or month (2026-11), today, yesterday, or how long \
         ago (7d, 12h)"
            .to_owned()
    })
}

fn read(text: &str, now: Timestamp) -> Option<Timestamp> {
    match text {
        "now" => Some(now),
        "today" => Some(now.day_start()),
        "yesterday" => Some(now.day_start().minus(std::time::Duration::from_hours(24))),
        month if month.len() == 7 => format!("{month}-01").parse().ok(),
        _ => text.parse().ok().or_else(|| Some(now.minus(humantime::parse_duration(text).ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_say_them() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-11-28T06:28:04Z");
        for (text, meant) in [
            ("2026-11", "2026-11-01"),
            ("2026-11-22", "2026-11-22"),
            ("2026-11-22T10:00:00+01:00", "2026-11-22T09:00:00Z"),
            ("today", "2026-11-28"),
            ("yesterday", "2026-11-27"),
            ("7d", "2026-11-21T06:28:04Z"),
            ("12h", "2026-11-27T18:28:04Z"),
            ("now", "2026-11-28T06:28:04Z"),
        ] {
            assert_eq!(read(text, now), Some(at(meant)), "{text}");
        }
        for nonsense in ["", "someday", "2026-13", "2026-11-31", "-7d"] {
            assert_eq!(read(nonsense, now), None, "{nonsense}");
        }
    }
}
