//! A caller's own words inside ours: they cannot end a line of the log, steer a terminal, or go on for ever.

use std::fmt;

/// The most characters of a text that are shown.
const SHOWN_MAX: usize = 120;

/// A text that somebody else wrote, as it may stand in a message or a log: control characters and those that change
/// the direction of writing are escaped, and of a long text the beginning is shown.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'t>(pub &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut rest = self.0.chars();
        for char in rest.by_ref().take(SHOWN_MAX) {
            if steers(char) {
                write!(f, "{}", char.escape_unicode())?;
            } else {
                f.write_char(char)?;
            }
        }
        if rest.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

/// Line ends and controls, and Unicode's invisible marks and overrides.
fn steers(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_escaped_and_what_is_long_is_cut() {
        for (text, shown) in [
            ("gpt-5", "gpt-5"),
            ("modèle/日本", "modèle/日本"),
            ("a\nb\r\u{1b}[2J", "a\\u{a}b\\u{d}\\u{1b}[2J"),
            ("\u{9b}31m\u{202e}x\u{7f}", "\\u{9b}31m\\u{202e}x\\u{7f}"),
        ] {
            assert_eq!(Quoted(text).to_string(), shown);
        }
        assert_eq!(Quoted(&"x".repeat(5_000)).to_string().chars().count(), SHOWN_MAX + 1);
    }
}
