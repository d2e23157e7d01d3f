//! Sessions: a password for two tokens, a refresh token for the next two, and their end.
//!
//! A refresh token is good for one use. Using it again means that two parties have it, one of them a thief; nobody can
//! tell which, so the whole family that descends from that login is revoked and both have to log in again.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::accounts::error::Error;
use crate::accounts::{Accounts, names};
use crate::crypto::secret_text::{self, CHARS_FOR_256_BITS, sha256};
use crate::crypto::token::Claims;
use crate::domain::ids::Jti;
use crate::domain::share::client_prefix;
use crate::domain::user::User;
use crate::store::{Executor, RefreshToken, RefreshTokenRepo, Tx, UserRepo};

const REFRESH_PREFIX: &str = "sp-rt-";

/// The tokens that a caller gets for a password or a refresh token.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    pub access_token: String,
    /// Valid for one use.
    pub refresh_token: String,
    /// Lifetime of the access token.
    pub expires_in: Duration,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(***)")
    }
}

impl Accounts {
    /// Begins a session. Unknown names, users without a password and wrong passwords cost the same time and get the
    /// same answer. See `login_throttle` for the limits of failures.
    ///
    /// # Errors
    /// [`Error::WrongLogin`], [`Error::Disabled`] only with the right password, [`Error::TooManyLogins`],
    /// [`Error::Busy`], [`Error::NotLeader`].
    pub async fn login(&self, name: &str, password: String, from: IpAddr) -> Result<Session, Error> {
        if !self.inner.settings.is_leader {
            return Err(Error::NotLeader);
        }
        // What cannot be a name is nobody's, and may be long: all of it counts as one.
        let name = if names::check("user", name).is_ok() { name } else { "" };
        let from = client_prefix(from);
        self.inner.login_throttle.lock().check(name, from, self.now()).map_err(Error::TooManyLogins)?;
        let user = match name {
            "" => None,
            name => UserRepo::on(&self.inner.store).get_by_name(name).await?,
        };
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let right = self.inner.hasher.check(password, hash, from).await?;
        let now = self.now();
        let Some(user) = user.filter(|_| right) else {
            tracing::info!(%from, "a login failed");
            self.inner.login_throttle.lock().failed(name, from, now).map_err(Error::TooManyLogins)?;
            return Err(Error::WrongLogin);
        };
        self.inner.login_throttle.lock().succeeded(name, from, now);
        self.serialized(move |accounts| async move { accounts.begin(&user).await }).await
    }

    /// Begins the session of `checked`, as it was when its password was found right: what has changed meanwhile holds.
    async fn begin(&self, checked: &User) -> Result<Session, Error> {
        let tx = self.session_change().await?;
        let user = UserRepo::on(&tx).get_by_id(checked.id).await?;
        let Some(user) = user.filter(|user| user.password_hash == checked.password_hash) else {
            return Err(Error::WrongLogin);
        };
        if !user.active {
            return Err(Error::Disabled(user.name));
        }
        let session = self.issue(&tx, &user, Jti::new()).await?;
        UserRepo::on(&tx).set_last_login(user.id, self.now()).await?;
        tx.commit().await?;
        Ok(session)
    }

    /// Continues a session: the refresh token is spent, and two new tokens take its place.
    ///
    /// # Errors
    /// [`Error::WrongRefreshToken`], also for one that was used before, which ends its session;
    /// [`Error::Disabled`], [`Error::NotLeader`].
    pub async fn refresh(&self, refresh_token: &str) -> Result<Session, Error> {
        if !self.inner.settings.is_leader {
            return Err(Error::NotLeader);
        }
        // Nobody waits for those who have none.
        self.known(&self.inner.store, refresh_token).await?;
        let token = refresh_token.to_owned();
        self.serialized(move |accounts| async move { accounts.exchange(&token).await }).await
    }

    async fn exchange(&self, refresh_token: &str) -> Result<Session, Error> {
        let tx = self.session_change().await?;
        let known = self.known(&tx, refresh_token).await?;
        let now = self.now();
        if known.expires_at <= now {
            return Err(Error::WrongRefreshToken);
        }
        if known.revoked_at.is_some() || !RefreshTokenRepo::on(&tx).revoke(known.jti, now).await? {
            if self.end(tx, known.family).await? > 0 {
                tracing::warn!(user = %known.user_id, "a refresh token was used twice: its session is revoked");
            }
            return Err(Error::WrongRefreshToken);
        }
        let user = UserRepo::on(&tx).get_by_id(known.user_id).await?;
        let user = user.ok_or(Error::WrongRefreshToken)?;
        if !user.active {
            return Err(Error::Disabled(user.name));
        }
        let session = self.issue(&tx, &user, known.family).await?;
        tx.commit().await?;
        Ok(session)
    }

    /// Ends a session: its refresh token and, on this node at once, its access tokens are refused. (A follower that has
    /// relayed this is told by [`Accounts::session_ended`]; another one refuses the access token when it expires.) A
    /// token that is not valid any more is no error: the session is over. Which session it was, if the token is known.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::NotLeader`].
    pub async fn logout(&self, refresh_token: &str) -> Result<Option<Jti>, Error> {
        if !self.inner.settings.is_leader {
            return Err(Error::NotLeader);
        }
        match self.known(&self.inner.store, refresh_token).await {
            Ok(RefreshToken { family, .. }) => {
                let end = move |accounts: Self| async move {
                    let tx = accounts.session_change().await?;
                    accounts.end(tx, family).await
                };
                self.serialized(end).await.map(|_| Some(family))
            }
            Err(Error::WrongRefreshToken) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The leader has ended a session: its access tokens are refused here, too.
    pub fn session_ended(&self, session: Jti) {
        let until = self.now().plus(self.inner.settings.access_token_ttl);
        self.inner.authenticator.end_session(session, until);
    }

    /// Ends a session and its access tokens; returns how many of its refresh tokens were still valid.
    async fn end(&self, tx: Tx, family: Jti) -> Result<u64, Error> {
        let revoked = RefreshTokenRepo::on(&tx).revoke_family(family, self.now()).await?;
        tx.commit().await?;
        let until = self.now().plus(self.inner.settings.access_token_ttl);
        self.inner.authenticator.end_session(family, until);
        Ok(revoked)
    }

    /// Begins a change of sessions, which waits for changes of users and other sessions in any process on this
    /// database.
    async fn session_change(&self) -> Result<Tx, Error> {
        let tx = self.inner.store.begin().await?;
        tx.lock_state().await?;
        Ok(tx)
    }

    /// Does what changes sessions while nothing else changes them or their users: a token must not be given out for
    /// what is being revoked. In a task of its own, because a caller who hangs up takes the request's future down at
    /// any `await`, and a token that is spent must have a successor.
    async fn serialized<T, W>(&self, work: impl FnOnce(Self) -> W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let lock = Arc::clone(&self.inner.changing).lock_owned().await;
        let work = work(self.clone());
        #[allow(
            clippy::disallowed_methods,
            reason = "waited for below, unless the caller hangs up, which it has to outlive"
        )]
        let done = tokio::spawn(async move {
            let done = work.await;
            drop(lock);
            done
        });
        done.await.unwrap_or_else(|stopped| Err(Error::Interrupted(stopped.to_string())))
    }

    async fn issue(&self, tx: &Tx, user: &User, family: Jti) -> Result<Session, Error> {
        let (settings, now) = (&self.inner.settings, self.now());
        let signer = self.inner.signer.load_full().ok_or(Error::NotLeader)?;
        let jti = Jti::new();
        let refresh_token =
            format!("{REFRESH_PREFIX}{}-{}", jti.0.simple(), secret_text::random(CHARS_FOR_256_BITS)?);
        let kept = RefreshToken {
            jti,
            family,
            user_id: user.id,
            digest: sha256(refresh_token.as_bytes()),
            created_at: now,
            expires_at: now.plus(settings.refresh_token_ttl),
            revoked_at: None,
        };
        RefreshTokenRepo::on(tx).create(&kept).await?;
        // A session may begin in the very moment in which all earlier ones were revoked.
        let issued_at = now.max(user.tokens_valid_from);
        let expires_at = now.plus(settings.access_token_ttl);
        let claims = Claims { user: user.id, jti: Jti::new(), session: family, issued_at, expires_at };
        let access_token = signer.sign(&claims)?;
        Ok(Session { access_token, refresh_token, expires_in: settings.access_token_ttl })
    }

    async fn known<G: Executor>(&self, executor: &G, refresh_token: &str) -> Result<RefreshToken, Error> {
        let jti = refresh_token.strip_prefix(REFRESH_PREFIX).and_then(|rest| rest.split_once('-'));
        let jti: Jti = jti.and_then(|(jti, _)| jti.parse().ok()).ok_or(Error::WrongRefreshToken)?;
        let known = RefreshTokenRepo::on(executor).get_by_jti(jti).await?;
        let digest = sha256(refresh_token.as_bytes());
        known.filter(|known| known.digest.ct_eq(&digest).into()).ok_or(Error::WrongRefreshToken)
    }
}
