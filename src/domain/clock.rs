//! Time: one type, one unit, one way to ask for it.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A clock that was set back by more than this is believed; less is jitter.
pub const JITTER: Duration = Duration::from_mins(1);

/// By how much the clocks of two nodes may differ: for so much longer is kept what one has written with a time at which it is
/// of no use any more.
pub const SKEW_MAX: Duration = Duration::from_hours(1);

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_HOUR: i64 = 3_600 * MICROS_PER_SECOND;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// A moment: microseconds since the Unix epoch, UTC. Text form is RFC 3339 with a `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest moment that the RFC 3339 form can express (year 0).
    pub const MIN: Self = Self(-62_167_219_200 * MICROS_PER_SECOND);
    /// The latest moment that the RFC 3339 form can express (end of year 9999).
    pub const MAX: Self = Self(253_402_300_800 * MICROS_PER_SECOND - 1);

    /// From microseconds since the epoch; clamped to what RFC 3339 can express.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub fn as_secs(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// The same moment, `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(micros(by)))
    }

    /// The same moment, `by` earlier.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(micros(by)))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The start of the UTC hour this moment lies in.
    #[must_use]
    pub fn hour_start(self) -> Self {
        Self(self.0.div_euclid(MICROS_PER_HOUR) * MICROS_PER_HOUR)
    }

    /// The start of the UTC day this moment lies in.
    #[must_use]
    pub fn day_start(self) -> Self {
        Self(self.0.div_euclid(MICROS_PER_DAY) * MICROS_PER_DAY)
    }

    /// The start of the UTC calendar month this moment lies in.
    #[must_use]
    pub fn month_start(self) -> Self {
        self.first_of_month(0)
    }

    /// The start of the UTC day after this moment's.
    #[must_use]
    pub fn next_day_start(self) -> Self {
        Self::from_micros(self.day_start().0 + MICROS_PER_DAY)
    }

    /// The start of the UTC calendar month after this moment's.
    #[must_use]
    pub fn next_month_start(self) -> Self {
        self.first_of_month(1)
    }

    fn first_of_month(self, months_later: i32) -> Self {
        let date = self.to_offset().date();
        let months = date.year() * 12 + i32::from(u8::from(date.month())) - 1 + months_later;
        let month = u8::try_from(months.rem_euclid(12) + 1)
            .ok()
            .and_then(|m| time::Month::try_from(m).ok())
            .unwrap_or(time::Month::January);
        time::Date::from_calendar_date(months.div_euclid(12), month, 1)
            .map_or(Self::MAX, |first| Self::from_seconds(first.midnight().assume_utc().unix_timestamp()))
    }

    fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    fn to_offset(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

fn micros(by: Duration) -> i64 {
    i64::try_from(by.as_micros()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_offset().format(&Rfc3339) {
            Ok(text) => f.write_str(&text),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// The text is not an RFC 3339 time.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a time: write RFC 3339 such as 2026-11-22T10:00:00Z, or a day such as 2026-11-22")]
pub struct NotATimestamp(pub String);

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    /// Reads RFC 3339 in any offset, or a bare UTC day (`2026-11-22`, its start).
    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
        let moment = OffsetDateTime::parse(&whole, &Rfc3339).map_err(|_| NotATimestamp(text.to_owned()))?;
        i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000))
            .map(Self::from_micros)
            .map_err(|_| NotATimestamp(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The present time on two clocks: the calendar, by which days and months begin, and the steady clock, which measures
/// durations.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall clock; it can be wrong and be corrected.
    pub at: Timestamp,
    /// Monotonic.
    pub steady: Instant,
}

/// Where the time comes from; rules and stores never ask the system themselves.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(micros(since))
    }
}

/// A clock that stands still until it is moved; for tests and the cluster simulation.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.0))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(micros(by), Ordering::SeqCst);
    }

    /// Sets the clock.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    #[test]
    fn windows_turn_at_utc_midnight_and_on_the_first_of_the_month() {
        for (moment, day, next_day, month, next_month) in [
            ("2026-12-31T23:59:59.999999Z", "2026-12-31", "2027-01-01", "2026-12-01", "2027-01-01"),
            ("2027-01-01T00:00:00Z", "2027-01-01", "2027-01-02", "2027-01-01", "2027-02-01"),
            ("2028-02-29T12:00:00Z", "2028-02-29", "2028-03-01", "2028-02-01", "2028-03-01"),
            ("2026-11-22T23:30:00-02:00", "2026-11-23", "2026-11-24", "2026-11-01", "2026-12-01"),
        ] {
            let now = at(moment);
            assert_eq!(now.day_start(), at(day), "{moment}");
            assert_eq!(now.next_day_start(), at(next_day), "{moment}");
            assert_eq!(now.month_start(), at(month), "{moment}");
            assert_eq!(now.next_month_start(), at(next_month), "{moment}");
        }
    }

    #[test]
    fn text_form_is_rfc_3339_in_utc_and_reads_back() {
        let moment = at("2026-11-22T10:00:00.25+02:00");
        assert_eq!(moment.to_string(), "2026-11-22T08:00:00.25Z");
        assert_eq!(at(&moment.to_string()), moment);
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
