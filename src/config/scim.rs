//! `[auth.scim]`: the directory that says who may call.

use figment::value::Value;

use super::sections::ScimConfig;
use super::table::{Reading, Table};

const TOKEN: &str = "token";
const SETTINGS: [&str; 3] = [TOKEN, "token_env", "token_file"];
/// Whoever has it makes users and groups: nobody guesses one of that length.
const TOKEN_MIN: usize = 32;

pub(super) fn read(written: Option<&Value>, reading: &Reading<'_>) -> Option<ScimConfig> {
    let path = "auth.scim";
    let (tag, settings) = match written? {
        Value::Dict(tag, settings) => (*tag, settings),
        other => {
            reading.wrong(path, other.tag(), "has to be a table: write [auth.scim]");
            return None;
        }
    };
    let table = Table::new(reading, path, settings, tag);
    table.check_keys(&SETTINGS);
    let given = match table.secret(TOKEN) {
        Ok(Some(given)) => given,
        Ok(None) => {
            table.wrong(TOKEN, "has to be set, as token, token_env or token_file");
            return None;
        }
        Err(_) => return None,
    };
    let text = given.secret.expose();
    if text.chars().count() < TOKEN_MIN {
        table.wrong(
            &given.key,
            format!("has to have at least {TOKEN_MIN} characters, such as from `openssl rand -hex 32`"),
        );
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        table.wrong(
            &given.key,
            "cannot be sent as a bearer token: use visible ASCII characters without spaces",
        );
    }
    Some(ScimConfig { token: given.secret })
}
