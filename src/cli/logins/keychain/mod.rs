//! The keychain of whoever is signed in at this machine: a place for a login's refresh token that is no file.
//!
//! On Linux that is the Secret Service, which GNOME Keyring, `KWallet` and `KeePassXC` are. It is spoken to over the session's
//! bus, by `zbus`: no C, a few seconds of a build. `secret-tool` would do without, but most desktops do not have it, and it
//! asks for passwords on screens at which nobody may be; over the bus it can be seen that a keychain is locked. The crate
//! `keyring` and its stores would add cryptography of their own, for a secret on a socket of the same user.
//!
//! On macOS it is the system's own program, `security`: a keychain lets in the program that has put something into it, and
//! that one is the same after every update of sproxy, which an unsigned program is not.
//!
//! A keychain may be away, locked, or wait for somebody. So everything here ends in time, and nobody is asked for anything.

mod failure;
#[cfg(any(target_os = "macos", all(unix, test)))]
mod macos;
#[cfg(not(unix))]
mod none;
#[cfg(all(unix, not(target_os = "macos")))]
mod secret_service;

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use crate::crypto::digest::sha256_hex;
use crate::crypto::secret_text;
use crate::domain::secret::Secret;

pub use failure::Failure;
#[cfg(target_os = "macos")]
use macos::Store;
#[cfg(not(unix))]
use none::Store;
#[cfg(all(unix, not(target_os = "macos")))]
use secret_service::Store;

/// How long a keychain has for each thing that it is asked.
const WITHIN: Duration = Duration::from_secs(5);
/// The length of an id; it only has to be another one than those before.
const ID_CHARS: usize = 16;

/// What a keychain has of one session. Several secrets, each with its own id, so that a new one is there before the old one
/// goes.
pub struct Keychain {
    /// Stands for the session's file: several users, or directories, may have one keychain.
    owner: String,
    /// What people see of it.
    label: String,
}

impl Keychain {
    pub fn of(file: &Path, server: &str) -> Self {
        let owner = sha256_hex(file.as_os_str().as_encoded_bytes());
        Self { owner, label: format!("sproxy: {server}") }
    }

    /// Whether it would take something now.
    pub async fn check(&self) -> Result<(), Failure> {
        in_time(async { Store::open().await?.check().await }).await
    }

    /// Puts a secret into it; the id to find it by.
    pub async fn put(&self, secret: &str) -> Result<String, Failure> {
        let id = secret_text::random(ID_CHARS).map_err(|reason| Failure::Failed(reason.to_string()))?;
        in_time(async { Store::open().await?.put(&self.owner, &id, &self.label, secret).await }).await?;
        Ok(id)
    }

    pub async fn get(&self, id: &str) -> Result<Secret, Failure> {
        in_time(async { Store::open().await?.get(&self.owner, id).await }).await
    }

    /// Removes the secret of an id, or all that are the session's.
    pub async fn remove(&self, id: Option<&str>) -> Result<(), Failure> {
        in_time(async { Store::open().await?.remove(&self.owner, id).await }).await
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(WITHIN, asked).await.unwrap_or(Err(Failure::Silent))
}
