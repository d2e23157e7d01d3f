//! Sessions of programs: a password for two tokens, a refresh token for the next two, and their end.
//!
//! A refresh token is good for one use. Using it again means that two parties have it, one of them a thief; nobody can
//! tell which, so the whole family that descends from that login is revoked and both have to log in again.
//!
//! An answer may be lost on its way, or with the process that asked, before the new tokens are written down. Whoever asks
//! with an idempotency key, which it has written down before, may ask with both again and gets the next two tokens, until
//! one of them has been used: to have the token alone, as a thief has it, is not enough.
//!
//! An access token is checked by every node alone, so the end of a session is a change of the replicated state: the session
//! is in it until the last of its access tokens has expired, and an hour longer, for clocks differ. What that takes is
//! bounded by the passwords that leaders can check in that time, for a session begins with one, and for one user by
//! [`ENDED_MAX`]: whoever ends more of them in that time ends all that are left with the next.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::accounts::audit::Actor;
use crate::accounts::error::Error;
use crate::accounts::{Accounts, Change, detached, names};
use crate::crypto::secret_text::{self, CHARS_FOR_256_BITS, sha256};
use crate::crypto::token::Claims;
use crate::domain::clock::SKEW_MAX;
use crate::domain::ids::{Jti, UserId};
use crate::domain::share::client_prefix;
use crate::domain::user::User;
use crate::store::{
    BrowserSessionRepo, EndedSession, EndedSessionRepo, Executor, RefreshToken, RefreshTokenRepo, UserRepo,
    retried,
};

const REFRESH_PREFIX: &str = "sp-rt-";

/// Lost answers in a row that a session survives.
const REPEATS_MAX: usize = 8;

/// Ended sessions of one user that are remembered one by one.
const ENDED_MAX: u64 = 10_000;

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
        let user = &self.check_password(name, password, from).await?;
        retried(|| async move {
            let (change, user) = (self.change().await?, user.clone());
            detached(async move { change.begin_session(&user).await }).await
        })
        .await
    }

    /// The user whose name and password these are.
    pub(super) async fn check_password(
        &self,
        name: &str,
        password: String,
        from: IpAddr,
    ) -> Result<User, Error> {
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
        let user = match hash {
            // Whoever has no password here may have one elsewhere.
            None if !name.is_empty() => {
                let user = self.user_of_directory(name, &password).await?;
                if user.is_none() {
                    // It takes as long as a wrong password.
                    self.inner.hasher.check(password, None, from).await?;
                }
                user
            }
            hash => {
                let right = self.inner.hasher.check(password, hash, from).await?;
                user.filter(|_| right)
            }
        };
        let now = self.now();
        let Some(user) = user else {
            tracing::info!(%from, "a login failed");
            self.inner.login_throttle.lock().failed(name, from, now).map_err(Error::TooManyLogins)?;
            return Err(Error::WrongLogin);
        };
        self.inner.login_throttle.lock().succeeded(name, from, now);
        Ok(user)
    }

    /// Continues a session: the refresh token is spent, and two new tokens take its place.
    ///
    /// # Errors
    /// [`Error::WrongRefreshToken`], also for one that was used before, which ends its session;
    /// [`Error::Disabled`], [`Error::NotLeader`].
    pub async fn refresh(&self, refresh_token: &str) -> Result<Session, Error> {
        self.refresh_by(refresh_token, None).await
    }

    /// The same, which may be repeated with the same key as long as none of its answers' refresh tokens has been used.
    ///
    /// # Errors
    /// See [`Accounts::refresh`].
    pub async fn refresh_idempotently(&self, refresh_token: &str, key: &str) -> Result<Session, Error> {
        self.refresh_by(refresh_token, Some(key)).await
    }

    async fn refresh_by(&self, refresh_token: &str, key: Option<&str>) -> Result<Session, Error> {
        if !self.inner.settings.is_leader {
            return Err(Error::NotLeader);
        }
        // Nobody waits for those who have none.
        known(&self.inner.store, refresh_token).await?;
        retried(|| async {
            let (change, token) = (self.change().await?, refresh_token.to_owned());
            let key = key.map(str::to_owned);
            detached(async move { change.exchange(&token, key.as_deref()).await }).await
        })
        .await
    }

    /// Whose refresh token this is. `None`: nobody's, as far as is known here.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn user_of_refresh_token(&self, refresh_token: &str) -> Result<Option<UserId>, Error> {
        match known(&self.inner.store, refresh_token).await {
            Ok(known) => Ok(Some(known.user_id)),
            Err(Error::WrongRefreshToken) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends a session: its refresh token is refused, and its access tokens, here at once and on every other node as soon as
    /// it hears of it. (A follower that has relayed this is told by [`Accounts::session_ended`].) A token that is not valid
    /// any more is no error: the session is over. Which session it was, if the token is known.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::NotLeader`].
    pub async fn logout(&self, refresh_token: &str) -> Result<Option<Jti>, Error> {
        if !self.inner.settings.is_leader {
            return Err(Error::NotLeader);
        }
        match known(&self.inner.store, refresh_token).await {
            Ok(known) => {
                let known = &known;
                retried(|| async move {
                    let (change, known) = (self.change().await?, known.clone());
                    detached(async move { change.end_session(&known).await }).await
                })
                .await?;
                Ok(Some(known.family))
            }
            Err(Error::WrongRefreshToken) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The leader has ended a session: its access tokens are refused here, too, before this node hears of it as of a change
    /// of the state, and also if it never does.
    pub async fn session_ended(&self, session: Jti) {
        let until = self.now().plus(self.inner.settings.access_token_ttl);
        let ended = EndedSession { session, until };
        self.inner.authenticator.end_sessions(&[ended]);
        let keep = || async {
            let tx = self.inner.store.begin().await?;
            EndedSessionRepo::on(&tx).add_of_another(&[ended]).await?;
            tx.commit().await
        };
        if let Err(error) = retried(keep).await {
            tracing::warn!(%error, "the end of a session is not written down: it is known until this node restarts");
        }
    }
}

impl Change {
    /// The user as it is now who was `checked` when the password was found right: what has changed meanwhile holds.
    pub(super) async fn still(&self, checked: &User) -> Result<User, Error> {
        let user = UserRepo::on(&self.tx).get_by_id(checked.id).await?;
        user.filter(|user| user.password_hash == checked.password_hash).ok_or(Error::WrongLogin)
    }

    async fn begin_session(self, checked: &User) -> Result<Session, Error> {
        let user = self.still(checked).await?;
        if !user.active {
            return Err(Error::Disabled(user.name));
        }
        let session = self.issue(&user, Jti::new(), Jti::new()).await?;
        UserRepo::on(&self.tx).set_last_login(user.id, self.now).await?;
        self.settle(|_| ()).await?;
        Ok(session)
    }

    async fn exchange(self, refresh_token: &str, key: Option<&str>) -> Result<Session, Error> {
        let mut known = known(&self.tx, refresh_token).await?;
        if let Some(key) = key {
            known = self.last_for(known, key).await?;
        }
        if known.expires_at <= self.now {
            return Err(Error::WrongRefreshToken);
        }
        let spent = known.revoked_at.is_some();
        if spent || !RefreshTokenRepo::on(&self.tx).revoke(known.jti, self.now).await? {
            if self.end_session(&known).await? > 0 {
                tracing::warn!(user = %known.user_id, "a refresh token was used twice: its session is revoked");
            }
            return Err(Error::WrongRefreshToken);
        }
        let user = UserRepo::on(&self.tx).get_by_id(known.user_id).await?;
        let user = user.ok_or(Error::WrongRefreshToken)?;
        if !user.active {
            return Err(Error::Disabled(user.name));
        }
        let next = key.map_or_else(Jti::new, |key| successor(known.jti, key));
        let session = self.issue(&user, known.family, next).await?;
        self.settle(|_| ()).await?;
        Ok(session)
    }

    /// The token that was issued last for `shown` and this key; `shown` itself if none was.
    async fn last_for(&self, shown: RefreshToken, key: &str) -> Result<RefreshToken, Error> {
        let mut last = shown;
        for _ in 0..REPEATS_MAX {
            if last.revoked_at.is_none() {
                break;
            }
            let next = RefreshTokenRepo::on(&self.tx).get_by_jti(successor(last.jti, key)).await?;
            let Some(next) = next.filter(|next| next.family == last.family) else { break };
            last = next;
        }
        Ok(last)
    }

    /// Ends the session that `known` is of; returns how many of its refresh tokens were still valid.
    async fn end_session(self, known: &RefreshToken) -> Result<u64, Error> {
        let tokens = RefreshTokenRepo::on(&self.tx);
        let revoked = tokens.revoke_family(known.family, self.now).await?;
        let ttl = self.accounts.inner.settings.access_token_ttl;
        let until = tokens.access_until(known.family, ttl).await?;
        let Some(until) = until.filter(|until| self.now < until.plus(SKEW_MAX)) else {
            // Its access tokens have expired, whose clock ever is right.
            self.settle(|_| ()).await?;
            return Ok(revoked);
        };
        let sessions = EndedSessionRepo::on(&self.tx);
        if sessions.count_of(known.user_id).await? >= ENDED_MAX {
            self.end_all_of(known.user_id).await?;
            return Ok(revoked);
        }
        let ended = EndedSession { session: known.family, until };
        sessions.add(ended, known.user_id).await?;
        self.settle(|authenticator| authenticator.end_sessions(&[ended])).await?;
        Ok(revoked)
    }

    /// Ends every session of a user who has ended more of them one by one than are remembered.
    async fn end_all_of(self, user: UserId) -> Result<(), Error> {
        let Some(before) = UserRepo::on(&self.tx).get_by_id(user).await? else {
            return self.settle(|_| ()).await;
        };
        tracing::warn!(user = %before.name, "more than {ENDED_MAX} sessions were ended one by one: all the others are, too");
        let after =
            User { tokens_valid_from: self.after_all_tokens(&before).await?, updated_at: self.now, ..before };
        let ended = self.end_sign_ins_of(user).await?;
        UserRepo::on(&self.tx).update(&after).await?;
        EndedSessionRepo::on(&self.tx).remove_all_of(user).await?;
        let subject = format!("user {}", after.name);
        let detail = json!({"sessions_ended": ended});
        self.audit(&Actor::system(), "user.revoke", subject, Value::Null, detail).await?;
        self.settle(|authenticator| authenticator.directory.put_user(&after)).await
    }

    /// Ends every session of a user, of programs and of browsers: what is left are access tokens, until they are refused by
    /// their date. How many there were.
    pub(super) async fn end_sign_ins_of(&self, user: UserId) -> Result<u64, Error> {
        let browsers = BrowserSessionRepo::on(&self.tx).delete_all_of(user).await?;
        Ok(RefreshTokenRepo::on(&self.tx).revoke_all_for_user(user, self.now).await? + browsers)
    }

    /// Two tokens of a session, new or of a refresh token that was just spent; `jti` is the refresh token's.
    pub(super) async fn issue(&self, user: &User, family: Jti, jti: Jti) -> Result<Session, Error> {
        let (settings, now) = (&self.accounts.inner.settings, self.now);
        let signer = self.accounts.inner.signer.load_full().ok_or(Error::NotLeader)?;
        let refresh_token =
            format!("{REFRESH_PREFIX}{}-{}", jti.0.simple(), secret_text::random(CHARS_FOR_256_BITS)?);
        let expires_at = now.plus(settings.access_token_ttl);
        let kept = RefreshToken {
            jti,
            family,
            user_id: user.id,
            digest: sha256(refresh_token.as_bytes()),
            created_at: now,
            expires_at: now.plus(settings.refresh_token_ttl),
            revoked_at: None,
            access_until: Some(expires_at),
        };
        RefreshTokenRepo::on(&self.tx).create(&kept).await?;
        // A session may begin in the very moment in which all earlier ones were revoked.
        let issued_at = now.max(user.tokens_valid_from);
        let claims = Claims { user: user.id, jti: Jti::new(), session: family, issued_at, expires_at };
        let access_token = signer.sign(&claims)?;
        Ok(Session { access_token, refresh_token, expires_in: settings.access_token_ttl })
    }
}

/// The name of the refresh token that is issued for another one and a key. Only who has the key can tell it.
fn successor(of: Jti, key: &str) -> Jti {
    let digest = sha256(&[&b"refresh"[..], of.0.as_bytes(), key.as_bytes()].concat());
    let mut name = [0; 16];
    name.copy_from_slice(&digest[..16]);
    Jti(uuid::Builder::from_random_bytes(name).into_uuid())
}

async fn known<G: Executor>(executor: &G, refresh_token: &str) -> Result<RefreshToken, Error> {
    let jti = refresh_token.strip_prefix(REFRESH_PREFIX).and_then(|rest| rest.split_once('-'));
    let jti: Jti = jti.and_then(|(jti, _)| jti.parse().ok()).ok_or(Error::WrongRefreshToken)?;
    let known = RefreshTokenRepo::on(executor).get_by_jti(jti).await?;
    let digest = sha256(refresh_token.as_bytes());
    known.filter(|known| known.digest.ct_eq(&digest).into()).ok_or(Error::WrongRefreshToken)
}
