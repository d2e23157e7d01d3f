//! What a machine says of itself, where clouds' own tools look for credentials: variables and files. Given by whoever
//! asks, so that tests need no environment of their own.

use std::io;
use std::path::{Path, PathBuf};

/// The environment, and how files are read.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    pub file: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// Credentials that are there and cannot be used. Says where they are, and nothing of their secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {reason}")]
pub struct BadCredentials {
    /// A file, a variable or an address.
    pub origin: String,
    pub reason: String,
}

impl BadCredentials {
    pub(super) fn new(origin: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { origin: origin.into(), reason: reason.into() }
    }
}

impl Machine<'_> {
    /// A variable; one that is set to nothing is not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// The first of these variables that is set.
    #[must_use]
    pub fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.get(name))
    }

    /// A path below the home directory.
    #[must_use]
    pub fn in_home(&self, path: &str) -> Option<PathBuf> {
        Some(PathBuf::from(self.first(&["HOME", "USERPROFILE"])?).join(path))
    }

    /// A file that has to be there.
    ///
    /// # Errors
    /// [`BadCredentials`]: it cannot be read.
    pub fn read(&self, path: &Path) -> Result<String, BadCredentials> {
        (self.file)(path).map_err(|error| BadCredentials::new(path.display().to_string(), error.to_string()))
    }

    /// A file that may be there.
    ///
    /// # Errors
    /// [`BadCredentials`]: it is there and cannot be read.
    pub fn read_if_there(&self, path: &Path) -> Result<Option<String>, BadCredentials> {
        match (self.file)(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BadCredentials::new(path.display().to_string(), error.to_string())),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Runs `f` on a machine with these variables and files.
    pub(in crate::cloud) fn on<T>(
        variables: &[(&str, &str)],
        files: &[(&str, &str)],
        f: impl FnOnce(Machine<'_>) -> T,
    ) -> T {
        let find = |all: &[(&str, &str)], name: &str| {
            all.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        f(Machine {
            variable: &|name| find(variables, name),
            file: &|path| find(files, path.to_str().expect("text")).ok_or(io::ErrorKind::NotFound.into()),
        })
    }

    #[test]
    fn what_is_set_to_nothing_is_not_set_and_only_a_missing_file_may_be_missing() {
        on(&[("A", ""), ("B", "b"), ("HOME", "/h")], &[("/h/f", "text")], |machine| {
            assert_eq!((machine.get("A"), machine.first(&["A", "B"])), (None, Some("b".to_owned())));
            let there = machine.in_home("f").expect("a home");
            assert_eq!(machine.read_if_there(&there), Ok(Some("text".to_owned())));
            assert_eq!(machine.read_if_there(Path::new("/none")), Ok(None));
            assert_eq!(machine.read(Path::new("/none")).expect_err("no file").origin, "/none");
        });
        let denied = Machine { variable: &|_| None, file: &|_| Err(io::ErrorKind::PermissionDenied.into()) };
        assert!(denied.read_if_there(Path::new("/f")).is_err());
    }
}
