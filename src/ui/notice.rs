//! What a page says after something was done: by codes, so that no address can put words into its mouth.

/// The sentence of a code.
#[must_use]
pub fn text(code: &str) -> Option<&'static str> {
    Some(match code {
        "signed-out" => "You are signed out.",
        _ => return None,
    })
}
