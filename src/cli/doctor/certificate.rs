//! When a server's certificate expires: the one date of X.509 (RFC 5280, 4.1) that somebody has to be told before.

use time::{Date, Month, PrimitiveDateTime, Time};

use crate::domain::clock::Timestamp;

/// The end of a certificate's validity.
pub fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = element(der, 0x30)?;
    let (body, _) = element(certificate, 0x30)?;
    // version [0], serialNumber, signature, issuer
    let rest = element(body, 0xa0).map_or(body, |(_, rest)| rest);
    let (_, rest) = element(rest, 0x02)?;
    let (_, rest) = element(rest, 0x30)?;
    let (_, rest) = element(rest, 0x30)?;
    let (validity, _) = element(rest, 0x30)?;
    let (_, rest) = time_at(validity)?;
    time_at(rest).map(|(until, _)| until)
}

/// The content of the element that begins here, if it has this tag, and what is behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) =
            rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length).filter(|_| found == tag)
}

/// `UTCTime` or `GeneralizedTime`, both in UTC and to the second.
fn time_at(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest, year_digits) = match element(der, 0x17) {
        Some((text, rest)) => (text, rest, 2),
        None => element(der, 0x18).map(|(text, rest)| (text, rest, 4))?,
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, others) = text.split_at_checked(year_digits)?;
    let year: i32 = year.parse().ok()?;
    let year = if year_digits == 4 { year } else { year + if year < 50 { 2_000 } else { 1_900 } };
    let number = |at: usize| others.get(at..at + 2)?.parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(number(0)?).ok()?, number(2)?).ok()?;
    let time = Time::from_hms(number(4)?, number(6)?, number(8)?).ok()?;
    let seconds = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp();
    Some((Timestamp::from_micros(seconds.saturating_mul(1_000_000)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_in_a_certificate_and_nowhere_else() {
        let validity = |until: &[u8]| {
            let begin = [&[0x17, 13][..], b"250101000000Z"].concat();
            let both = [&begin[..], until].concat();
            let of = |tag: u8, content: &[u8]| {
                [&[tag, u8::try_from(content.len()).expect("short")], content].concat()
            };
            let body =
                [of(0xa0, &[2, 1, 2]), of(2, &[7]), of(0x30, &[]), of(0x30, &[]), of(0x30, &both)].concat();
            of(0x30, &of(0x30, &body))
        };
        let short = validity(&[&[0x17, 13][..], b"270203040506Z"].concat());
        assert_eq!(not_after(&short).expect("a time").to_string(), "2027-02-03T04:05:06Z");
        let long = validity(&[&[0x18, 15][..], b"20510203040506Z"].concat());
        assert_eq!(not_after(&long).expect("a time").to_string(), "2051-02-03T04:05:06Z");
        for length in 0..long.len() {
            assert_eq!(not_after(&long[..length]), None);
        }
    }
}
