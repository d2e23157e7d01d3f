//! How numbers and times are written. Every number carries its exact value beside what is shown of it.

use maud::{Markup, html};

use crate::domain::clock::Timestamp;

/// A count, exactly: `1,234,567`.
#[must_use]
pub fn count(value: u64) -> Markup {
    html! { data value=(value) { (grouped(value)) } }
}

/// A count, as far as it matters at a glance: `1.23 M`.
#[must_use]
pub fn short(value: u64) -> Markup {
    html! { data value=(value) title=(grouped(value)) { (shortened(value)) } }
}

/// Money, with cents or, where it is little, with more; exact in nano-USD.
#[must_use]
pub fn money(nanousd: i64) -> Markup {
    let decimals = if nanousd.unsigned_abs() >= 100_000_000_000 || nanousd == 0 { 2 } else { 4 };
    html! { data value=(nanousd) { (usd(nanousd, decimals)) } }
}

/// Money in a column: the decimals are those of the column.
#[must_use]
pub fn money_in(nanousd: i64, decimals: usize) -> Markup {
    html! { data value=(nanousd) { (usd(nanousd, decimals)) } }
}

/// How many decimals a column needs in which this is the most money.
#[must_use]
pub fn decimals_for(values: impl Iterator<Item = i64>) -> usize {
    let most = values.map(i64::unsigned_abs).max().unwrap_or_default();
    match most {
        100_000_000_000.. => 2,
        10_000_000.. => 4,
        _ => 6,
    }
}

/// `$1,234.57`, rounded half up; what is more than nothing is not shown as nothing.
#[must_use]
pub fn usd(nanousd: i64, decimals: usize) -> String {
    let unit = 10_u64.pow(9 - u32::try_from(decimals.min(9)).unwrap_or(9));
    let value = nanousd.unsigned_abs();
    let rounded = (value + unit / 2) / unit;
    let sign = if nanousd < 0 { "−" } else { "" };
    if rounded == 0 && value > 0 {
        return format!("<{sign}${:.decimals$}", 10_f64.powi(-i32::try_from(decimals).unwrap_or(2)));
    }
    let scale = 10_u64.pow(u32::try_from(decimals.min(9)).unwrap_or(9));
    let (whole, rest) = (rounded / scale, rounded % scale);
    if decimals == 0 {
        return format!("{sign}${}", grouped(whole));
    }
    format!("{sign}${}.{rest:0decimals$}", grouped(whole))
}

/// `part` of `whole` in percent; none of nothing.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let permille = u128::from(part) * 1_000 / u128::from(whole);
    let (percent, tenth) = (permille / 10, permille % 10);
    if percent >= 10 || tenth == 0 { format!("{percent} %") } else { format!("{percent}.{tenth} %") }
}

/// Milliseconds: `850 ms`, `12.3 s`, `4 min`.
#[must_use]
pub fn duration_ms(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100),
        60_000..7_200_000 => format!("{} min", milliseconds / 60_000),
        _ => format!("{} h", milliseconds / 3_600_000),
    }
}

/// A moment to the minute, in UTC.
#[must_use]
pub fn minute(at: Timestamp) -> Markup {
    let text = at.to_string();
    html! { time.nowrap datetime=(text) { (text.get(..10).unwrap_or_default()) " " (text.get(11..16).unwrap_or_default()) } }
}

/// A moment to the second, in UTC.
#[must_use]
pub fn second(at: Timestamp) -> Markup {
    let text = at.to_string();
    html! { time.nowrap datetime=(text) { (text.get(..10).unwrap_or_default()) " " (text.get(11..19).unwrap_or_default()) } }
}

/// A moment that may not have been.
#[must_use]
pub fn minute_or(at: Option<Timestamp>, otherwise: &str) -> Markup {
    at.map_or_else(|| html! { span.muted { (otherwise) } }, minute)
}

/// A UTC day.
#[must_use]
pub fn day(at: Timestamp) -> String {
    at.to_string().get(..10).unwrap_or_default().to_owned()
}

/// How long it is until then: `in 3 h 20 min`.
#[must_use]
pub fn in_time(at: Timestamp, now: Timestamp) -> String {
    let minutes = at.since(now).as_secs().div_ceil(60);
    match minutes {
        0 => "now".to_owned(),
        1..120 => format!("in {minutes} min"),
        120..2_880 => format!("in {} h", minutes / 60),
        _ => format!("in {} days", minutes / 1_440),
    }
}

/// `1,234,567`
#[must_use]
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.23 M`: three digits that matter.
#[must_use]
pub fn shortened(value: u64) -> String {
    let units = [(1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k")];
    let Some((_, word)) = units.into_iter().find(|(least, _)| value >= *least) else { return grouped(value) };
    let unit: u64 = match word {
        "T" => 1_000_000_000_000,
        "B" => 1_000_000_000,
        "M" => 1_000_000,
        _ => 1_000,
    };
    let (whole, rest) = (value / unit, value % unit);
    match whole {
        0..10 => format!("{whole}.{:02} {word}", rest * 100 / unit),
        10..100 => format!("{whole}.{} {word}", rest * 10 / unit),
        _ => format!("{} {word}", grouped(whole)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_rounded_once_and_little_is_not_nothing() {
        for (nano, decimals, text) in [
            (0, 2, "$0.00"),
            (1_234_567_890_123, 2, "$1,234.57"),
            (-1_234_567_890_123, 2, "−$1,234.57"),
            (995_000_000, 2, "$1.00"),
            (4_999_999, 2, "<$0.01"),
            (5_000_000, 2, "$0.01"),
            (429_000, 6, "$0.000429"),
            (1, 6, "<$0.000001"),
            (12_500_000_000, 0, "$13"),
        ] {
            assert_eq!(usd(nano, decimals), text, "{nano} {decimals}");
        }
    }

    #[test]
    fn counts_are_grouped_or_shortened_and_never_rounded_up() {
        for (value, exact, glance) in [
            (0, "0", "0"),
            (999, "999", "999"),
            (9_999, "9,999", "9,999"),
            (12_345, "12,345", "12.3 k"),
            (999_999, "999,999", "999 k"),
            (1_234_567, "1,234,567", "1.23 M"),
            (12_345_678_901, "12,345,678,901", "12.3 B"),
            (u64::MAX, "18,446,744,073,709,551,615", "18,446,744 T"),
        ] {
            assert_eq!((grouped(value).as_str(), shortened(value).as_str()), (exact, glance));
        }
    }

    #[test]
    fn shares_and_durations_read_well() {
        assert_eq!(
            [share(0, 0), share(1, 3), share(1, 40), share(3, 3), share(1, 100)],
            ["–", "33 %", "2.5 %", "100 %", "1 %"]
        );
        assert_eq!([850, 12_345, 240_000, 9_000_000].map(duration_ms), ["850 ms", "12.3 s", "4 min", "2 h"]);
    }
}
