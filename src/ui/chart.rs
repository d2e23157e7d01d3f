//! Charts, drawn here: bars of days, stacked. Widths are shares of whatever there is, heights are pixels, so that letters
//! keep their size on a narrow screen.

use maud::{Markup, html};

/// Colours that are told apart; what has none is "other".
pub const COLOURS: usize = 6;
const OTHER: usize = COLOURS + 1;
const HEIGHT: f64 = 208.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 22.0;
/// Labels below the bars, so that they have room on a narrow screen.
const LABELS_MAX: usize = 6;

/// One day: what each colour has, in the order of the keys, and what all the others have.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Such as `2026-11-22`.
    pub label: String,
    /// One for each key, then one for the rest.
    pub parts: Vec<u64>,
    /// What is told about it.
    pub told: String,
}

/// The bars, oldest first.
#[must_use]
pub fn stacked(title: &str, bars: &[Bar], written: impl Fn(u64) -> String) -> Markup {
    let sum = |bar: &Bar| bar.parts.iter().fold(0_u64, |sum, part| sum.saturating_add(*part));
    let most = bars.iter().map(sum).max().unwrap_or_default();
    let ticks = ticks(most);
    let top = ticks.last().copied().unwrap_or(1).max(1);
    let height = |value: u64| ratio(value, top) * (HEIGHT - TOP - BOTTOM);
    let step = 100.0 / to_f64(bars.len().max(1) as u64);
    let every = bars.len().div_ceil(LABELS_MAX).max(1);
    html! {
        svg.chart width="100%" height=(HEIGHT) role="img" aria-label=(title) {
            @for tick in &ticks {
                @let y = HEIGHT - BOTTOM - height(*tick);
                @if *tick > 0 {
                    line.grid-line x1="0" x2="100%" y1=(px(y)) y2=(px(y)) {}
                    text x="0" y=(px(y - 4.0)) { (written(*tick)) }
                }
            }
            @for (at, bar) in bars.iter().enumerate() {
                @let x = step * to_f64(at as u64);
                g.day {
                    title { (bar.told) }
                    rect x=(percent(x)) y="0" width=(percent(step)) height=(px(HEIGHT - BOTTOM)) fill="transparent" {}
                    @for (colour, y, part) in pieces(bar, height) {
                        rect class=(format!("k{colour}")) x=(percent(x + step * 0.12)) y=(px(y))
                            width=(percent(step * 0.76)) height=(px(part)) {}
                    }
                }
                @if at % every == 0 && (at + every / 2 < bars.len() || at == 0) {
                    text x=(percent(x + step * 0.12)) y=(px(HEIGHT - 6.0)) { (short_day(&bar.label)) }
                }
            }
            line.base x1="0" x2="100%" y1=(px(HEIGHT - BOTTOM)) y2=(px(HEIGHT - BOTTOM)) {}
        }
    }
}

/// What the colours mean.
#[must_use]
pub fn key(names: &[String], has_other: bool) -> Markup {
    let names = names.iter().take(COLOURS).enumerate().map(|(at, name)| (at + 1, name.as_str()));
    let other = has_other.then_some((OTHER, "all others"));
    html! {
        ul.key {
            @for (colour, name) in names.chain(other) {
                li { svg aria-hidden="true" viewBox="0 0 10 10" { rect class=(format!("k{colour}")) width="10" height="10" rx="2" {} }
                    @if name.is_empty() { "(none)" } @else { (name) } }
            }
        }
    }
}

/// A bar of what is used of a limit.
#[must_use]
pub fn meter(label: &str, used: u64, limit: u64) -> Markup {
    let share = if limit == 0 { 1.0 } else { ratio(used, limit).min(1.0) };
    let state = if share >= 1.0 {
        "bad"
    } else if share >= 0.8 {
        "warn"
    } else {
        ""
    };
    html! {
        svg class=(format!("meter {state}")) role="img" aria-label=(label) height="10" {
            rect.track width="100%" height="10" rx="5" {}
            rect.fill width=(percent(share * 100.0)) height="10" rx="5" {}
        }
    }
}

/// The pieces of a bar from below: colour, where it begins from above, and how high it is.
fn pieces(bar: &Bar, height: impl Fn(u64) -> f64) -> Vec<(usize, f64, f64)> {
    let mut below = 0_u64;
    let mut pieces = Vec::new();
    let last = bar.parts.len().saturating_sub(1);
    for (at, part) in bar.parts.iter().enumerate().filter(|(_, part)| **part > 0) {
        let colour = if at == last { OTHER } else { at + 1 };
        let (from, to) = (height(below), height(below.saturating_add(*part)));
        // Something is seen, however little it is.
        pieces.push((colour, HEIGHT - BOTTOM - to.max(from + 1.0), (to - from).max(1.0)));
        below = below.saturating_add(*part);
    }
    pieces
}

/// Round numbers from 0 to at least `most`, four or five of them.
fn ticks(most: u64) -> Vec<u64> {
    let raw = (most / 4).max(1);
    let power = 10_u64.pow(raw.ilog10());
    let step = [1, 2, 5, 10].into_iter().map(|digit| power.saturating_mul(digit)).find(|step| *step >= raw);
    let step = step.unwrap_or(raw);
    let mut ticks = vec![0];
    while ticks.last().is_some_and(|last| *last < most) && ticks.len() < 7 {
        ticks.push(ticks.last().copied().unwrap_or_default().saturating_add(step));
    }
    ticks
}

fn ratio(part: u64, whole: u64) -> f64 {
    to_f64(part) / to_f64(whole.max(1))
}

#[allow(clippy::cast_precision_loss, reason = "for the eye")]
fn to_f64(value: u64) -> f64 {
    value as f64
}

fn px(value: f64) -> String {
    format!("{value:.1}")
}

fn percent(value: f64) -> String {
    format!("{value:.3}%")
}

/// `11-22` of `2026-11-22`.
fn short_day(label: &str) -> &str {
    label.get(5..).unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_top() {
        for (most, expected) in [
            (0, vec![0]),
            (1, vec![0, 1]),
            (7, vec![0, 1, 2, 3, 4, 5, 6]),
            (100, vec![0, 50, 100]),
            (950, vec![0, 500, 1_000]),
            (41_000, vec![0, 20_000, 40_000, 60_000]),
        ] {
            assert_eq!(ticks(most), expected, "{most}");
        }
        assert!(ticks(u64::MAX).len() < 8);
    }

    #[test]
    fn a_bar_is_as_high_as_its_parts_and_little_is_seen() {
        let bar = Bar { label: String::new(), parts: vec![0, 1, 999_999, 0], told: String::new() };
        let pieces = pieces(&bar, |value| ratio(value, 1_000_000) * 100.0);
        assert_eq!(pieces.iter().map(|piece| piece.0).collect::<Vec<_>>(), [2, 3]);
        assert!(pieces.iter().all(|piece| piece.2 >= 1.0));
    }
}
