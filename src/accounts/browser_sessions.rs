//! Sessions of browsers: a cookie's token in, a principal out. They are rows of the leaders' database, so every leader
//! knows them, and the end of one is an end at once. On the data plane, and to programs, a cookie is nothing.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::accounts::error::Error;
use crate::accounts::{Accounts, Change, detached};
use crate::crypto::secret_text::{self, CHARS_FOR_256_BITS, sha256};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{Jti, UserId};
use crate::domain::principal::{Credential, Principal};
use crate::domain::user::User;
use crate::store::{BrowserSession, BrowserSessionRepo, UserRepo, retried};

/// A session that is not used for so long is over.
pub const BROWSER_IDLE_MAX: Duration = Duration::from_hours(12);
/// A session is over so long after its beginning, however much it is used.
pub const BROWSER_SESSION_MAX: Duration = Duration::from_hours(7 * 24);
/// Sessions of one user; of more, the one that was not used for the longest ends.
const SESSIONS_MAX: u64 = 20;
/// Resolution of the time at which a session was last seen.
const SEEN_GRAIN: Duration = Duration::from_mins(1);
/// Longer than any token; what is longer is refused unread.
const TOKEN_MAX: usize = 128;

/// How somebody has signed in at a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignIn {
    Password,
    /// At an identity provider.
    Oidc,
}

impl SignIn {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Oidc => "oidc",
        }
    }
}

/// A session that has just ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedBrowserSession {
    pub user: UserId,
    /// How it had begun, as [`SignIn::as_str`] says.
    pub how: String,
}

/// A session that has just begun. This is the only time its token can be seen.
pub struct NewBrowserSession {
    pub id: Jti,
    /// What the cookie holds.
    pub token: String,
    pub expires_at: Timestamp,
}

impl fmt::Debug for NewBrowserSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewBrowserSession").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Accounts {
    /// Signs somebody in at a browser by name and password; held to the same limits as [`Accounts::login`].
    ///
    /// # Errors
    /// As of [`Accounts::login`].
    pub async fn sign_in(
        &self,
        name: &str,
        password: String,
        from: IpAddr,
    ) -> Result<NewBrowserSession, Error> {
        let checked = &self.check_password(name, password, from).await?;
        retried(|| async move {
            let (change, checked) = (self.change().await?, checked.clone());
            detached(async move {
                let user = change.still(&checked).await?;
                change.begin_browser_session(&user, SignIn::Password, from).await
            })
            .await
        })
        .await
    }

    /// Begins a session of a user who has proved who it is by other means than a password.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Disabled`], [`Error::NotLeader`].
    pub async fn begin_browser_session(
        &self,
        user: UserId,
        how: SignIn,
        from: IpAddr,
    ) -> Result<NewBrowserSession, Error> {
        retried(|| async move {
            let change = self.change().await?;
            detached(async move {
                let found = UserRepo::on(&change.tx).get_by_id(user).await?;
                let found = found.ok_or_else(|| Error::NotFound { what: "user", name: user.to_string() })?;
                change.begin_browser_session(&found, how, from).await
            })
            .await
        })
        .await
    }

    /// Who is signed in with this token. Costs one look-up in the database, and a write in a minute.
    ///
    /// # Errors
    /// [`Error::SignedOut`], [`Error::Disabled`], [`Error::NotLeader`].
    pub async fn browser_session(&self, token: &str) -> Result<Principal, Error> {
        if !self.inner.settings.is_leader {
            return Err(Error::NotLeader);
        }
        if token.len() > TOKEN_MAX {
            return Err(Error::SignedOut);
        }
        let (sessions, now) = (BrowserSessionRepo::on(&self.inner.store), self.now());
        let found = sessions.get_by_digest(&sha256(token.as_bytes())).await?;
        let session = found.filter(|session| is_alive(session, now)).ok_or(Error::SignedOut)?;
        let credential = Credential::Browser(session.id);
        let directory = &self.inner.authenticator.directory;
        let principal = match directory.by_user(session.user_id, credential, session.created_at) {
            // Signed in a moment ago, through another leader, by somebody this one has not heard of yet.
            Err(Error::UnknownCredential) => {
                self.reload().await?;
                directory.by_user(session.user_id, credential, session.created_at)
            }
            known => known,
        };
        let principal = principal.map_err(|error| match error {
            Error::UnknownCredential | Error::Revoked => Error::SignedOut,
            other => other,
        })?;
        if session.last_seen_at.plus(SEEN_GRAIN) <= now {
            sessions.seen(session.id, now).await?;
        }
        Ok(principal)
    }

    /// Ends the session with this token. `None`: there was none, or it was over.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::NotLeader`].
    pub async fn end_browser_session(&self, token: &str) -> Result<Option<EndedBrowserSession>, Error> {
        if !self.inner.settings.is_leader {
            return Err(Error::NotLeader);
        }
        if token.len() > TOKEN_MAX {
            return Ok(None);
        }
        let (sessions, digest) = (BrowserSessionRepo::on(&self.inner.store), sha256(token.as_bytes()));
        let session = sessions.get_by_digest(&digest).await?;
        let ended = sessions.delete_by_digest(&digest).await?;
        let session = session.filter(|_| ended);
        Ok(session.map(|session| EndedBrowserSession { user: session.user_id, how: session.method }))
    }
}

impl Change {
    /// Begins a session of `user`, who was read in this change.
    async fn begin_browser_session(
        self,
        user: &User,
        how: SignIn,
        from: IpAddr,
    ) -> Result<NewBrowserSession, Error> {
        if !user.active {
            return Err(Error::Disabled(user.name.clone()));
        }
        let token = secret_text::random(CHARS_FOR_256_BITS)?;
        let sessions = BrowserSessionRepo::on(&self.tx);
        sessions.make_room(user.id, SESSIONS_MAX).await?;
        // It may begin in the very moment in which all earlier ones were ended.
        let created_at = self.now.max(user.tokens_valid_from);
        let session = BrowserSession {
            id: Jti::new(),
            user_id: user.id,
            digest: sha256(token.as_bytes()),
            method: how.as_str().to_owned(),
            address: from.to_string(),
            created_at,
            last_seen_at: self.now,
            expires_at: self.now.plus(BROWSER_SESSION_MAX),
        };
        sessions.create(&session).await?;
        UserRepo::on(&self.tx).set_last_login(user.id, self.now).await?;
        self.settle(|_| ()).await?;
        Ok(NewBrowserSession { id: session.id, token, expires_at: session.expires_at })
    }
}

fn is_alive(session: &BrowserSession, now: Timestamp) -> bool {
    now < session.expires_at && now < session.last_seen_at.plus(BROWSER_IDLE_MAX)
}
