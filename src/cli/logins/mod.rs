//! Who has signed in on this machine, and at which servers: access tokens that are valid now, whoever asks and how many at
//! once.
//!
//! A refresh token is good for one use, and used twice it ends the session. So a process that refreshes holds the session's
//! lock, looks again what is kept once it has it, and writes what it is about to do before it does it: see
//! [`Saved::refreshing`]. New tokens are kept, for good, before anybody uses them.
//!
//! Where there is a keychain the refresh token is in it, under an id that the file names. A new one goes into the keychain
//! first, then its id into the file, then the old one out of the keychain: whoever is killed in between leaves a file that
//! names a token which is there. Either that is the new one, or the refresh that replaces it can be repeated.

mod exchange;
mod keychain;
mod saved;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::error::Error;
use crate::cli::http_client;
use crate::cli::output::note;
use crate::crypto::secret_text::{self, CHARS_FOR_256_BITS};
use crate::domain::clock::{Clock, SystemClock, Timestamp};
use crate::domain::secret::Secret;

use exchange::Refusal;
pub use exchange::{DeviceAuthorization, Metadata, Poll, SignIn, Tokens};
pub use keychain::Failure;
use keychain::Keychain;
pub use saved::{KeepIn, config_dir};
use saved::{Kept, Saved, SessionFile};

/// How long another process may take to refresh: as long as its server has for the answer, and its keychain to give one
/// token, take another and forget the first, and a bit.
const LOCK_WITHIN: Duration = Duration::from_secs(40);

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
    pub kept_in: KeptIn,
}

/// Where a session's refresh token is.
pub enum KeptIn {
    Keychain,
    File(PathBuf),
}

impl fmt::Display for KeptIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keychain => f.write_str("your keychain"),
            Self::File(path) => write!(f, "{}, which only you can read", path.display()),
        }
    }
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

    /// Keeps a new session, and ends the one at the same server before; also why it is not in the keychain, if it could be.
    ///
    /// # Errors
    /// When it cannot be written, or shall be in the keychain alone and that does not take it: then it is ended again.
    pub async fn keep(
        server: &str,
        user: String,
        tokens: Tokens,
        asked_at: Timestamp,
        ca_file: Option<PathBuf>,
        keep_in: KeepIn,
    ) -> Result<(Self, Option<Failure>), Error> {
        let server = server_name(server)?;
        let login = Self { file: SessionFile::of(&server)?, server };
        let lock = login.file.lock(LOCK_WITHIN).await?.ok_or_else(|| login.is_locked())?;
        let before = login.file.read().ok().flatten();
        let spent = match &before {
            Some(before) => login.refresh_token(before).await.ok(),
            None => None,
        };
        let (kept, failure) = match login.put_away(&tokens.refresh_token, keep_in).await {
            Ok(kept) => (kept, None),
            Err(failure) if keep_in == KeepIn::Keychain => {
                login.tell_of_the_end(ca_file.as_deref(), &Secret::new(tokens.refresh_token)).await;
                return Err(login.is_not_to_be_had(&failure));
            }
            Err(failure) => (Kept::RefreshToken(tokens.refresh_token), Some(failure)),
        };
        let saved = Saved {
            server: login.server.clone(),
            user,
            received_at: asked_at,
            expires_at: asked_at.plus(Duration::from_secs(tokens.expires_in)),
            access_token: tokens.access_token,
            kept,
            keep_in,
            ca_file,
            refreshing: None,
        };
        login.file.write(&saved)?;
        if let Some(before) = &before {
            login.forget(&before.kept).await;
        }
        drop(lock);
        saved::set_last_server(&login.server)?;
        if let (Some(before), Some(spent)) = (before, spent) {
            login.tell_of_the_end(before.ca_file.as_deref(), &spent).await;
        }
        Ok((login, failure))
    }

    /// Whether a keychain would take a login at a server.
    ///
    /// # Errors
    /// That it would not, and why.
    pub async fn check_keychain(server: &str) -> Result<(), Error> {
        let server = server_name(server)?;
        let login = Self { file: SessionFile::of(&server)?, server };
        login.keychain().check().await.map_err(|failure| login.is_not_to_be_had(&failure))
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
        let kept_in = match saved.kept {
            Kept::RefreshToken(_) => KeptIn::File(self.file.path().to_owned()),
            Kept::InKeychain(_) => KeptIn::Keychain,
        };
        Ok(Standing { user: saved.user, expires_at: saved.expires_at, ca_file: saved.ca_file, kept_in })
    }

    /// Whether the session can be refreshed, as far as this machine is concerned.
    ///
    /// # Errors
    /// What keeps the refresh token from being read, and what to do.
    pub async fn check(&self) -> Result<(), Error> {
        let found = self.refresh_token(&self.saved()?).await;
        found.map(drop).map_err(|failure| self.is_not_to_be_had(&failure))
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
        let refresh_token = self.refresh_token(&saved).await;
        self.remove(&saved).await?;
        drop(lock);
        let refresh_token = refresh_token.map_err(|failure| Error::Refused(failure.to_string()))?;
        SignIn::at(&self.server, saved.ca_file.as_deref())?.logout(refresh_token.expose()).await
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
        let refresh_token = match self.refresh_token(&saved).await {
            Ok(refresh_token) => refresh_token,
            Err(failure) => return while_it_lives(&saved, &is_good, self.is_not_to_be_had(&failure)),
        };
        let key = match &saved.refreshing {
            Some(key) => key.clone(),
            None => secret_text::random(CHARS_FOR_256_BITS)
                .map_err(|reason| Error::Refused(reason.to_string()))?,
        };
        saved.refreshing = Some(key.clone());
        self.file.write(&saved)?;
        let asked_at = SystemClock.now();
        let sign_in = SignIn::at(&self.server, saved.ca_file.as_deref())?;
        match sign_in.refresh(refresh_token.expose(), &key).await {
            Ok(tokens) => self.replace(saved, tokens, asked_at).await,
            Err(Refusal::Over) => {
                self.remove(&saved).await?;
                Err(Error::Refused(format!(
                    "the session at {server} has ended: run `sproxy login --server {server}`",
                    server = self.server
                )))
            }
            Err(Refusal::Failed(error)) => while_it_lives(&saved, &is_good, error),
        }
    }

    /// Keeps the next tokens of a session; the access token among them.
    async fn replace(&self, before: Saved, tokens: Tokens, asked_at: Timestamp) -> Result<Secret, Error> {
        let (kept, refreshing) = match self.put_away(&tokens.refresh_token, before.keep_in).await {
            Ok(kept) => (kept, None),
            // Then it stays nowhere, and is asked for again when the access token is at its end.
            Err(failure) if before.keep_in == KeepIn::Keychain => {
                note(&format!("{failure}: it still has the refresh token before"));
                (before.kept.clone(), before.refreshing.clone())
            }
            Err(_) => (Kept::RefreshToken(tokens.refresh_token), None),
        };
        let has_changed = kept.id() != before.kept.id();
        let saved = Saved {
            received_at: asked_at,
            expires_at: asked_at.plus(Duration::from_secs(tokens.expires_in)),
            access_token: tokens.access_token,
            kept,
            refreshing,
            ..before.clone()
        };
        self.file.write(&saved)?;
        if has_changed {
            self.forget(&before.kept).await;
        }
        Ok(Secret::new(saved.access_token))
    }

    fn keychain(&self) -> Keychain {
        Keychain::of(self.file.path(), &self.server)
    }

    async fn refresh_token(&self, saved: &Saved) -> Result<Secret, Failure> {
        match &saved.kept {
            Kept::RefreshToken(token) => Ok(Secret::new(token.as_str())),
            Kept::InKeychain(id) => self.keychain().get(id).await,
        }
    }

    /// Puts a refresh token where it shall be, before the file names the place.
    async fn put_away(&self, refresh_token: &str, keep_in: KeepIn) -> Result<Kept, Failure> {
        match keep_in {
            KeepIn::File => Ok(Kept::RefreshToken(refresh_token.to_owned())),
            KeepIn::Auto | KeepIn::Keychain => self.keychain().put(refresh_token).await.map(Kept::InKeychain),
        }
    }

    /// Removes what no file names any more. It is spent: where it stays, it is of no use, and goes with the session.
    async fn forget(&self, kept: &Kept) {
        if let Some(id) = kept.id() {
            let _ = self.keychain().remove(Some(id)).await;
        }
    }

    /// Removes everything of the session here.
    async fn remove(&self, saved: &Saved) -> Result<(), Error> {
        if saved.kept.id().is_some() || saved.keep_in != KeepIn::File {
            // A keychain that is away keeps it; without the file nothing here finds it.
            let _ = self.keychain().remove(None).await;
        }
        self.file.remove()
    }

    /// Nobody has the token any more; a server that cannot be asked forgets it by itself.
    async fn tell_of_the_end(&self, ca_file: Option<&Path>, refresh_token: &Secret) {
        if let Ok(sign_in) = SignIn::at(&self.server, ca_file) {
            let _ = sign_in.logout(refresh_token.expose()).await;
        }
    }

    fn is_not_to_be_had(&self, failure: &Failure) -> Error {
        let server = &self.server;
        let advice = match failure {
            Failure::Locked => "unlock it at your desktop, or keep the login in a file: ",
            Failure::Missing => "sign in again: ",
            Failure::Absent(_) | Failure::Silent | Failure::Failed(_) => {
                "try it in a session of your desktop, or keep the login in a file: "
            }
        };
        let flag = if matches!(failure, Failure::Missing) { "" } else { " --keep-in file" };
        Error::Refused(format!(
            "the login at {server} belongs into the keychain, but {failure}: {advice}`sproxy login --server {server}{flag}`"
        ))
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
