//! Names that people type: of users, groups and keys.

use crate::accounts::error::Error;

const NAME_MAX: usize = 128;

/// Refuses what cannot be typed, shown or told from an id.
pub(super) fn check(what: &str, name: &str) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::Invalid(format!("{what} name: {why}")));
    if name.is_empty() || name.chars().count() > NAME_MAX {
        return refuse("use 1 to 128 characters");
    }
    if name.chars().any(|c| c.is_control() || c == '/' || c == '\u{fffd}') {
        return refuse("control characters and slashes are not allowed");
    }
    if name.trim() != name {
        return refuse("spaces at the start or end are not allowed");
    }
    if uuid::Uuid::try_parse(name).is_ok() {
        return refuse("it must not look like an id");
    }
    Ok(())
}

/// Like [`check`], for labels, which may be anything readable or empty.
pub(super) fn check_label(name: &str) -> Result<(), Error> {
    if name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(Error::Invalid(
            "key name: use at most 128 characters, none of them a control character".into(),
        ));
    }
    Ok(())
}
