//! Times on the wire: `google.protobuf.Timestamp`, of which sproxy uses whole microseconds.

use prost_types::Timestamp as Moment;

use crate::domain::clock::Timestamp;
use crate::wire::malformed::Malformed;

const MICROS_PER_SECOND: i64 = 1_000_000;
const NANOS_PER_MICRO: i32 = 1_000;

/// A time as a protobuf message.
#[must_use]
pub fn to_wire(at: Timestamp) -> Moment {
    let micros = at.as_micros();
    let fraction = i32::try_from(micros.rem_euclid(MICROS_PER_SECOND)).unwrap_or_default();
    Moment { seconds: micros.div_euclid(MICROS_PER_SECOND), nanos: fraction * NANOS_PER_MICRO }
}

/// A time from the wire, rounded down to a microsecond and clamped to what RFC 3339 can say.
#[must_use]
pub fn from_wire(moment: Moment) -> Timestamp {
    let micros = moment.seconds.saturating_mul(MICROS_PER_SECOND);
    Timestamp::from_micros(micros.saturating_add(i64::from(moment.nanos / NANOS_PER_MICRO)))
}

/// A required time.
///
/// # Errors
/// [`Malformed`] when it is not.
pub fn required(field: &'static str, moment: Option<Moment>) -> Result<Timestamp, Malformed> {
    moment.map(from_wire).ok_or_else(|| Malformed::missing(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_as_it_went_before_the_epoch_too() {
        for text in ["2026-11-22T10:00:00.123456Z", "1969-12-31T23:59:59.999999Z", "0000-01-01"] {
            let at: Timestamp = text.parse().expect("a time");
            assert_eq!(from_wire(to_wire(at)), at, "{text}");
        }
    }
}
