//! Who has signed in on this machine, and at which servers: access tokens that are valid now, whoever asks and how many at
//! once.
//!
//! A refresh token is good for one use, and used twice it ends the session. So a process that refreshes holds the session's
//! lock, looks again what is kept once it has it, and writes what it is about to do before it does it: see
//! [`Saved::refreshing`]. New tokens are in the file, for good, before anybody uses them.

mod exchange;
mod saved;

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::error::Error;
use crate::cli::http_client;
use crate::crypto::secret_text::{self, CHARS_FOR_256_BITS};
use crate::domain::clock::{Clock, SystemClock, Timestamp};
use crate::domain::secret::Secret;

use exchange::Refusal;
pub use exchange::{DeviceAuthorization, Metadata, Poll, SignIn, Tokens};
pub use saved::config_dir;
use saved::{Saved, SessionFile};

/// How long another process may take to refresh: as long as its server has for the answer, and a bit.
const LOCK_WITHIN: Duration = Duration::from_secs(30);

/// A session at a server.
#[derive(Clone, Debug)]
pub struct Login {
    server: String,
    file: SessionFile,
}

/// What is known of a session without asking anybody.
pub struct Standing {
    pub user: String,
    /// When the access token expires.
    pub expires_at: Timestamp,
    pub ca_file: Option<PathBuf>,
}

impl Login {
    /// The login at `server`, or the last one; none if there is none.
    ///
    /// # Errors
    /// [`Error::Usage`] for a server that is no URL, and what keeps the files from being read.
    pub fn find(server: Option<&str>) -> Result<Option<Self>, Error> {
        let server = match server {
            Some(server) => server_name(server)?,
            None => match saved::last_server()? {
                Some(server) => server,
                None => return Ok(None),
            },
        };
        let login = Self { file: SessionFile::of(&server)?, server };
        Ok(login.file.read()?.map(|_| login))
    }

    /// The login at `server`, or the last one.
    ///
    /// # Errors
    /// Also that nobody has signed in, with what to do.
    pub fn required(server: Option<&str>) -> Result<Self, Error> {
        let found = Self::find(server)?;
        found.map_or_else(
            || Err(not_signed_in(server.map(server_name).transpose()?.or(saved::last_server()?))),
            Ok,
        )
    }

    /// Keeps a new session, and ends the one at the same server before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn keep(
        server: &str,
        user: String,
        tokens: Tokens,
        asked_at: Timestamp,
        ca_file: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let server = server_name(server)?;
        let login = Self { file: SessionFile::of(&server)?, server };
        let lock = login.file.lock(LOCK_WITHIN).await?.ok_or_else(|| login.is_locked())?;
        let before = login.file.read().ok().flatten();
        let saved = Saved {
            server: login.server.clone(),
            user,
            received_at: asked_at,
            expires_at: asked_at.plus(Duration::from_secs(tokens.expires_in)),
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            ca_file,
            refreshing: None,
        };
        login.file.write(&saved)?;
        drop(lock);
        saved::set_last_server(&login.server)?;
        if let Some(before) = before {
            // Nobody has its tokens any more; a server that cannot be asked forgets it by itself.
            if let Ok(sign_in) = SignIn::at(&login.server, before.ca_file.as_deref()) {
                let _ = sign_in.logout(&before.refresh_token).await;
            }
        }
        Ok(login)
    }

    /// The address of the server.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What is known without asking anybody.
    ///
    /// # Errors
    /// That nobody is signed in any more.
    pub fn standing(&self) -> Result<Standing, Error> {
        let saved = self.saved()?;
        Ok(Standing { user: saved.user, expires_at: saved.expires_at, ca_file: saved.ca_file })
    }

    /// An access token that is valid for a while.
    ///
    /// # Errors
    /// That nobody is signed in any more, or that there is no valid token and the server gives no new one.
    pub async fn access_token(&self) -> Result<Secret, Error> {
        let now = SystemClock.now();
        let saved = self.saved()?;
        if saved.is_fresh(now) {
            return Ok(Secret::new(saved.access_token));
        }
        self.renew(|saved| saved.is_fresh(SystemClock.now())).await
    }

    /// Another access token than one that was refused.
    ///
    /// # Errors
    /// See [`Login::access_token`].
    pub async fn instead_of(&self, refused: &Secret) -> Result<Secret, Error> {
        let is_other = |saved: &Saved| {
            saved.access_token != refused.expose() && saved.left(SystemClock.now()) > Duration::ZERO
        };
        self.renew(is_other).await
    }

    /// Ends the session, here and at its server.
    ///
    /// # Errors
    /// What the server says; here it is over all the same.
    pub async fn end(&self) -> Result<(), Error> {
        let lock = self.file.lock(LOCK_WITHIN).await?;
        let saved = self.saved()?;
        self.file.remove()?;
        drop(lock);
        SignIn::at(&self.server, saved.ca_file.as_deref())?.logout(&saved.refresh_token).await
    }

    async fn renew(&self, is_good: impl Fn(&Saved) -> bool) -> Result<Secret, Error> {
        let Some(_lock) = self.file.lock(LOCK_WITHIN).await? else {
            return while_it_lives(&self.saved()?, &is_good, self.is_locked());
        };
        // Whoever had the lock has refreshed.
        let mut saved = self.saved()?;
        if is_good(&saved) {
            return Ok(Secret::new(saved.access_token));
        }
        let key = match &saved.refreshing {
            Some(key) => key.clone(),
            None => secret_text::random(CHARS_FOR_256_BITS)
                .map_err(|reason| Error::Refused(reason.to_string()))?,
        };
        saved.refreshing = Some(key.clone());
        self.file.write(&saved)?;
        let asked_at = SystemClock.now();
        let sign_in = SignIn::at(&self.server, saved.ca_file.as_deref())?;
        match sign_in.refresh(&saved.refresh_token, &key).await {
            Ok(tokens) => {
                let saved = Saved {
                    received_at: asked_at,
                    expires_at: asked_at.plus(Duration::from_secs(tokens.expires_in)),
                    access_token: tokens.access_token,
                    refresh_token: tokens.refresh_token,
                    refreshing: None,
                    ..saved
                };
                self.file.write(&saved)?;
                Ok(Secret::new(saved.access_token))
            }
            Err(Refusal::Over) => {
                self.file.remove()?;
                Err(Error::Refused(format!(
                    "the session at {server} has ended: run `sproxy login --server {server}`",
                    server = self.server
                )))
            }
            Err(Refusal::Failed(error)) => while_it_lives(&saved, &is_good, error),
        }
    }

    fn saved(&self) -> Result<Saved, Error> {
        self.file.read()?.ok_or_else(|| not_signed_in(Some(self.server.clone())))
    }

    fn is_locked(&self) -> Error {
        Error::Refused(format!(
            "another process keeps the login at {} locked: end it, or try again in a moment",
            self.server
        ))
    }
}

/// A token that was good enough a while ago and has not expired is better than none.
fn while_it_lives(saved: &Saved, is_good: &impl Fn(&Saved) -> bool, error: Error) -> Result<Secret, Error> {
    let now = SystemClock.now();
    let fresh = Saved { expires_at: now.plus(Duration::from_hours(1)), received_at: now, ..saved.clone() };
    if saved.left(now) > Duration::ZERO && is_good(&fresh) {
        return Ok(Secret::new(saved.access_token.as_str()));
    }
    Err(error)
}

fn not_signed_in(server: Option<String>) -> Error {
    Error::Refused(match server {
        Some(server) => format!("not signed in to {server}: run `sproxy login --server {server}`"),
        None => "not signed in: run `sproxy login --server URL` with the address of your gateway".to_owned(),
    })
}

/// One way of writing an address.
///
/// # Errors
/// [`Error::Usage`] when it is no URL.
pub fn server_name(server: &str) -> Result<String, Error> {
    let mut url = http_client::parse(server)?;
    url.set_query(None);
    url.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Usage("--server: leave name and password out of the address".to_owned()));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}
