//! Asking for a password: on a terminal without showing it, else a line of standard input.

use std::io::{self, BufRead, IsTerminal};

use super::error::Error;

/// The longest line that is read as a password.
const LINE_MAX: u64 = 4_096;

/// Asks for a new password, on a terminal twice.
///
/// # Errors
/// [`Error::Usage`] when the two differ or nothing was given.
pub fn ask(user: &str) -> Result<String, Error> {
    if !io::stdin().is_terminal() {
        return from_stdin();
    }
    let read = |prompt: &str| rpassword::prompt_password(prompt).map_err(Error::io("the terminal"));
    let password = read(&format!("New password of {user}: "))?;
    if read("Again: ")? != password {
        return Err(Error::Usage("the two passwords differ; nothing was changed".to_owned()));
    }
    given(password)
}

/// Asks for the password that a user has.
///
/// # Errors
/// [`Error::Usage`] when nothing was given.
pub fn ask_present(user: &str, server: &str) -> Result<String, Error> {
    if !io::stdin().is_terminal() {
        return from_stdin();
    }
    let prompt = format!("Password of {user} at {server}: ");
    given(rpassword::prompt_password(prompt).map_err(Error::io("the terminal"))?)
}

/// Reads a password from the first line of standard input.
///
/// # Errors
/// [`Error::Usage`] when nothing was given.
pub fn from_stdin() -> Result<String, Error> {
    let mut line = String::new();
    let mut input = io::Read::take(io::stdin().lock(), LINE_MAX);
    input.read_line(&mut line).map_err(Error::io("standard input"))?;
    given(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn given(password: String) -> Result<String, Error> {
    if password.is_empty() { Err(Error::Usage("no password was given".to_owned())) } else { Ok(password) }
}
