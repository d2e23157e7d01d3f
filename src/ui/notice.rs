//! What a page says after something was done: by codes, so that no address can put words into its mouth.

/// The sentence of a code.
#[must_use]
pub fn text(code: &str) -> Option<&'static str> {
    Some(match code {
        "signed-out" => "You are signed out.",
        "saved" => "Saved. It holds from the next call on.",
        "user-created" => "The user is created. Without a key nobody calls: create one below.",
        "user-disabled" => "The user is disabled, and signed out everywhere.",
        "user-enabled" => "The user is enabled again.",
        "user-signed-out" => "Every session of the user has ended. Keys stay.",
        "user-removed" => "The user is removed. What was used stays in the books.",
        "password-set" => "The password is set. Every session of the user has ended.",
        "group-created" => "The group is created. Users are put into it on their own page.",
        "group-removed" => "The group is removed. What it has used stays in the books.",
        "target-drain" => "The target gets no new calls from this node.",
        "target-undrain" => "The target gets calls again.",
        "peer-drain" => "The node is taken out of traffic.",
        "peer-undrain" => "The node gets traffic again.",
        "peer-forget" => "The node is forgotten.",
        "key-revoked" => "The key is revoked: it is refused from the next call on.",
        _ => return None,
    })
}
