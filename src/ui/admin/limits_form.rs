//! Limits in a form: an empty field is no limit, and 0 is nothing.

use maud::{Markup, html};

use crate::accounts::LimitsChange;
use crate::domain::group::Limits;
use crate::http::limits::{LimitsView, checked};
use crate::http::problem::{ApiError, ApiResult};
use crate::ui::form::Form;
use crate::ui::format;

/// The fields, filled with what holds, or with what was just sent.
#[must_use]
pub fn fields(limits: &Limits, sent: Option<&Form>) -> Markup {
    let number = |value: Option<u64>| value.map(format::grouped).unwrap_or_default();
    let texts = [
        ("daily_tokens", "Tokens a day", number(limits.daily_tokens), "2,000,000 or 2M"),
        ("monthly_tokens", "Tokens a month", number(limits.monthly_tokens), ""),
        ("monthly_usd", "USD a month", limits.monthly_nanousd.map(plain_usd).unwrap_or_default(), "200"),
        ("rpm", "Requests a minute", number(limits.rpm.map(u64::from)), ""),
        ("concurrent", "Calls in flight", number(limits.concurrent.map(u64::from)), ""),
        ("max_tokens", "Longest answer, in tokens", number(limits.max_tokens), ""),
    ];
    let models = limits.models.as_ref().map(|models| models.join(", ")).unwrap_or_default();
    html! {
        fieldset.wide {
            legend { "Limits " span.hint { "Empty: no limit. 0: nothing. Days and months are UTC." } }
            div.fields {
                @for (name, label, value, example) in texts {
                    @let value = sent.map_or(value, |form| form.raw(name).to_owned());
                    div.field { label for=(name) { (label) }
                        input id=(name) name=(name) value=(value) inputmode="decimal" autocomplete="off" placeholder=(example); }
                }
                div.field.wide { label for="models" { "Models" }
                    input id="models" name="models" value=(sent.map_or(models, |form| form.raw("models").to_owned())) placeholder="claude-*, gpt-5*" autocomplete="off" spellcheck="false";
                    p.hint { "Globs, separated by commas. Empty: every model." } }
            }
        }
    }
}

/// What was sent, all of it to be set.
///
/// # Errors
/// 400 with the field that is no number.
pub fn read(form: &Form) -> ApiResult<LimitsChange> {
    let models = form.filled("models").map(|text| {
        let globs = text.split([',', '\n', ' ']).map(str::trim).filter(|glob| !glob.is_empty());
        globs.map(str::to_owned).collect::<Vec<_>>()
    });
    let narrow = |name| -> ApiResult<Option<u32>> {
        let wide = count(form, name)?.map(u32::try_from).transpose();
        wide.map_err(|_| ApiError::invalid(format!("{name} has to be at most {}", u32::MAX)))
    };
    checked(LimitsChange {
        daily_tokens: Some(count(form, "daily_tokens")?),
        monthly_tokens: Some(count(form, "monthly_tokens")?),
        rpm: Some(narrow("rpm")?),
        monthly_nanousd: Some(nanousd(form)?),
        concurrent: Some(narrow("concurrent")?),
        max_tokens: Some(count(form, "max_tokens")?),
        models: Some(models),
    })
}

/// A count as people write it: `2000000`, `2,000,000`, `2M`, `500k`.
fn count(form: &Form, name: &str) -> ApiResult<Option<u64>> {
    let Some(text) = form.filled(name) else { return Ok(None) };
    let bad = || ApiError::invalid(format!("{name}: `{text}` is no number; write 2000000, 2,000,000 or 2M"));
    let plain: String = text.chars().filter(|c| !matches!(c, ',' | '_' | ' ' | '\u{a0}')).collect();
    let (digits, unit) = match plain.char_indices().last().ok_or_else(bad)? {
        (at, 'k' | 'K') => (&plain[..at], 1_000),
        (at, 'm' | 'M') => (&plain[..at], 1_000_000),
        (at, 'b' | 'B') => (&plain[..at], 1_000_000_000),
        _ => (plain.as_str(), 1),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_mul(unit).map(Some).ok_or_else(bad)
}

/// USD, exactly.
fn nanousd(form: &Form) -> ApiResult<Option<i64>> {
    let Some(text) = form.filled("monthly_usd") else { return Ok(None) };
    let bad = || ApiError::invalid(format!("monthly_usd: `{text}` is no amount; write 200 or 49.50"));
    let plain: String = text.trim_start_matches('$').chars().filter(|c| !matches!(c, ',' | ' ')).collect();
    let (whole, rest) = plain.split_once('.').unwrap_or((&plain, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || rest.len() > 9 || !is_digits(whole) || !is_digits(rest) {
        return Err(bad());
    }
    let whole: i64 = whole.parse().map_err(|_| bad())?;
    let rest: i64 = format!("{rest:0<9}").parse().map_err(|_| bad())?;
    Ok(Some(whole * 1_000_000_000 + rest))
}

/// `49.5` as it would be typed.
fn plain_usd(nanousd: i64) -> String {
    let text = crate::domain::price::usd_text(nanousd);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Limits in a few words.
#[must_use]
pub fn words(limits: &LimitsView) -> String {
    let mut words = Vec::new();
    words.extend(limits.monthly_usd.map(|usd| format!("${usd:.2} a month")));
    words.extend(limits.daily_tokens.map(|count| format!("{} tokens a day", format::shortened(count))));
    words.extend(limits.monthly_tokens.map(|count| format!("{} tokens a month", format::shortened(count))));
    words.extend(limits.rpm.map(|count| format!("{count} a minute")));
    words.extend(limits.concurrent.map(|count| format!("{count} in flight")));
    words.extend(limits.max_tokens.map(|count| format!("answers of {}", format::shortened(count))));
    words.extend(limits.models.as_ref().map(|models| format!("{} models", models.len())));
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Form {
        Form::of(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, expected) in [
            ("", Some(None)),
            ("0", Some(Some(0))),
            ("2,000,000", Some(Some(2_000_000))),
            ("2M", Some(Some(2_000_000))),
            (" 500 k", Some(Some(500_000))),
            ("1e6", None),
            ("-1", None),
            ("M", None),
            ("99999999999999999999", None),
        ] {
            let read = read(&form(&[("daily_tokens", text)])).ok();
            assert_eq!(read.map(|change| change.daily_tokens.expect("set")), expected, "{text}");
        }
    }

    #[test]
    fn money_is_read_to_the_nano_usd() {
        for (text, expected) in [
            ("200", Some(200_000_000_000)),
            ("$1,200.50", Some(1_200_500_000_000)),
            ("0.000000001", Some(1)),
            ("0", Some(0)),
            ("1.", Some(1_000_000_000)),
        ] {
            let read = read(&form(&[("monthly_usd", text)])).expect("an amount");
            assert_eq!(read.monthly_nanousd, Some(expected), "{text}");
        }
        for bad in ["-5", "1e3", ".", "abc", "1.0000000001", "1234567890"] {
            assert!(read(&form(&[("monthly_usd", bad)])).is_err(), "{bad}");
        }
        assert_eq!(
            [plain_usd(200_000_000_000), plain_usd(49_500_000_000), plain_usd(1)],
            ["200", "49.5", "0.000000001"]
        );
    }
}
