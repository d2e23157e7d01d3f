//! Signing in a program by a person at a browser (RFC 8628): the program gets two codes, shows the short one, and asks with
//! the long one until the person has typed the short one and agreed.
//!
//! They are rows of the leaders' database, for the person may be at one leader and the program at another. Whoever has no
//! credential can make rows, so there are few, of each address and of all, and they are gone after minutes.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::accounts::audit::Actor;
use crate::accounts::error::Error;
use crate::accounts::sessions::Session;
use crate::accounts::{Accounts, Change, detached};
use crate::crypto::secret_text::{self, CHARS_FOR_256_BITS, sha256};
use crate::domain::clock::Timestamp;
use crate::domain::ids::Jti;
use crate::domain::principal::Principal;
use crate::domain::share::client_prefix;
use crate::store::{DeviceLogin, DeviceLoginRepo, UserRepo, retried};

/// How long somebody has to agree.
pub const DEVICE_LOGIN_MAX: Duration = Duration::from_mins(10);
/// How often a program may ask.
pub const DEVICE_POLL: Duration = Duration::from_secs(5);
/// What a network may shorten between two of them.
const POLL_SLACK: Duration = Duration::from_secs(1);
/// Programs that wait at a time: from one address, and in all.
const OF_ADDRESS_MAX: u64 = 50;
const OF_ALL_MAX: u64 = 2_000;
/// What a program may say it is.
const CLIENT_MAX: usize = 64;
/// Without vowels no words, and nothing that looks like a digit (RFC 8628, section 6.1).
const CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LENGTH: usize = 8;
/// Longer than any device code; what is longer is refused unread.
const DEVICE_CODE_MAX: usize = 128;

/// A program that has just begun to wait. This is the only time its device code can be seen.
pub struct NewDeviceLogin {
    /// For the program.
    pub device_code: String,
    /// For the person, as it is shown: `WDJB-MJHT`.
    pub user_code: String,
}

impl fmt::Debug for NewDeviceLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewDeviceLogin(***)")
    }
}

/// A program that waits for somebody to agree.
#[derive(Clone, Debug)]
pub struct WaitingDevice {
    /// As it is shown.
    pub user_code: String,
    /// What it says it is. Anybody can say anything.
    pub client: String,
    /// Where it asked from.
    pub address: String,
    pub since: Timestamp,
}

/// Why a program gets no tokens for its device code.
#[derive(Debug, thiserror::Error)]
pub enum DeviceRefusal {
    #[error("nobody has decided yet: ask again after the interval")]
    Pending,
    #[error("asked too often: wait five seconds longer between two times")]
    SlowDown,
    #[error("it was refused at the browser")]
    Denied,
    #[error("the code is not known, was used, or has expired: begin again")]
    Expired,
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Accounts {
    /// Lets a program begin to wait.
    ///
    /// # Errors
    /// [`Error::TooManyDevices`], [`Error::NotLeader`].
    pub async fn begin_device_login(&self, client: &str, from: IpAddr) -> Result<NewDeviceLogin, Error> {
        self.lead()?;
        let device_code = secret_text::random(CHARS_FOR_256_BITS)?;
        let user_code = secret_text::random_of(CODE_LETTERS, CODE_LENGTH)?;
        let now = self.now();
        let login = &DeviceLogin {
            digest: sha256(device_code.as_bytes()),
            user_code: user_code.clone(),
            client: printable(client),
            address: client_prefix(from).to_string(),
            created_at: now,
            expires_at: now.plus(DEVICE_LOGIN_MAX),
            polled_at: None,
            decided_at: None,
            user_id: None,
        };
        let waits = retried(|| async move {
            let tx = self.inner.store.begin().await?;
            let logins = DeviceLoginRepo::on(&tx);
            let (of_address, of_all) = logins.count(&login.address, now).await?;
            if of_address >= OF_ADDRESS_MAX || of_all >= OF_ALL_MAX {
                return Ok(false);
            }
            logins.create(login).await?;
            tx.commit().await?;
            Ok::<_, Error>(true)
        });
        match waits.await {
            Ok(true) => Ok(NewDeviceLogin { device_code, user_code: shown(&user_code) }),
            Ok(false) => Err(Error::TooManyDevices),
            Err(error) => Err(error),
        }
    }

    /// The program that waits with a code, for `who` to look at. Who types wrong ones has to wait, as at a login.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for one that was decided or has expired; [`Error::TooManyCodes`], [`Error::NotLeader`].
    pub async fn waiting_device(
        &self,
        who: &Principal,
        user_code: &str,
        from: IpAddr,
    ) -> Result<WaitingDevice, Error> {
        let login = self.find_waiting(who, user_code, from).await?;
        Ok(WaitingDevice {
            user_code: shown(&login.user_code),
            client: login.client,
            address: login.address,
            since: login.created_at,
        })
    }

    /// Lets the program that waits with a code in as `who`, or refuses it.
    ///
    /// # Errors
    /// As of [`Accounts::waiting_device`].
    pub async fn decide_device_login(
        &self,
        who: &Principal,
        user_code: &str,
        from: IpAddr,
        agrees: bool,
    ) -> Result<(), Error> {
        let login = &self.find_waiting(who, user_code, from).await?;
        let (user, actor) = (who.user_id, &Actor::from(who));
        let decided = retried(|| async move {
            let (change, login, actor) = (self.change().await?, login.clone(), actor.clone());
            detached(async move {
                let by = agrees.then_some(user);
                let is_first = DeviceLoginRepo::on(&change.tx).decide(&login.digest, by, change.now).await?;
                let action = if agrees { "device.approve" } else { "device.deny" };
                let detail = json!({"client": login.client, "address": login.address});
                if is_first {
                    change
                        .audit(
                            &actor,
                            action,
                            format!("device {}", shown(&login.user_code)),
                            Value::Null,
                            detail,
                        )
                        .await?;
                }
                change.settle(|_| ()).await?;
                Ok(is_first)
            })
            .await
        });
        if decided.await? { Ok(()) } else { Err(unknown_code()) }
    }

    /// The tokens of a session for a device code that somebody has agreed to; the code is spent.
    ///
    /// # Errors
    /// [`DeviceRefusal`].
    pub async fn redeem_device_code(&self, device_code: &str) -> Result<Session, DeviceRefusal> {
        self.lead()?;
        if device_code.len() > DEVICE_CODE_MAX {
            return Err(DeviceRefusal::Expired);
        }
        let (digest, now) = (sha256(device_code.as_bytes()), self.now());
        let logins = DeviceLoginRepo::on(&self.inner.store);
        let found = logins.get_by_digest(&digest).await.map_err(Error::from)?;
        let login = found.filter(|login| now < login.expires_at).ok_or(DeviceRefusal::Expired)?;
        if login.decided_at.is_none() {
            let is_early =
                login.polled_at.is_some_and(|last| now < last.plus(DEVICE_POLL.saturating_sub(POLL_SLACK)));
            if is_early {
                return Err(DeviceRefusal::SlowDown);
            }
            logins.polled(&digest, now).await.map_err(Error::from)?;
            return Err(DeviceRefusal::Pending);
        }
        let session = retried(|| async move {
            let change = self.change().await?;
            detached(async move { change.begin_device_session(digest).await }).await
        });
        session.await?.ok_or(DeviceRefusal::Denied)
    }

    async fn find_waiting(
        &self,
        who: &Principal,
        user_code: &str,
        from: IpAddr,
    ) -> Result<DeviceLogin, Error> {
        self.lead()?;
        let (name, from, now) = (who.user_id.to_string(), client_prefix(from), self.now());
        self.inner.code_throttle.lock().check(&name, from, now).map_err(Error::TooManyCodes)?;
        let code = typed(user_code).ok_or_else(unknown_code)?;
        let found = DeviceLoginRepo::on(&self.inner.store).get_by_user_code(&code).await?;
        if let Some(login) = found.filter(|login| login.decided_at.is_none() && now < login.expires_at) {
            return Ok(login);
        }
        self.inner.code_throttle.lock().failed(&name, from, now).map_err(Error::TooManyCodes)?;
        Err(unknown_code())
    }

    fn lead(&self) -> Result<(), Error> {
        if self.inner.settings.is_leader { Ok(()) } else { Err(Error::NotLeader) }
    }
}

impl Change {
    /// The session of a login that was decided. `None`: it was refused, or whoever agreed may not any more.
    async fn begin_device_session(self, digest: [u8; 32]) -> Result<Option<Session>, Error> {
        let logins = DeviceLoginRepo::on(&self.tx);
        let Some(login) = logins.get_by_digest(&digest).await? else { return Ok(None) };
        if !logins.delete(&digest).await? {
            return Ok(None);
        }
        let user = match login.user_id {
            Some(id) => UserRepo::on(&self.tx).get_by_id(id).await?,
            None => None,
        };
        // All that was agreed to before everything of the user was revoked is revoked, too.
        let user = user.filter(|user| user.active && login.decided_at >= Some(user.tokens_valid_from));
        let session = match &user {
            Some(user) => {
                UserRepo::on(&self.tx).set_last_login(user.id, self.now).await?;
                Some(self.issue(user, Jti::new(), Jti::new()).await?)
            }
            None => None,
        };
        self.settle(|_| ()).await?;
        Ok(session)
    }
}

fn unknown_code() -> Error {
    Error::Invalid(
        "no program waits with this code: it may have expired, or have been answered; look at what the program shows".to_owned(),
    )
}

/// As people read it.
fn shown(code: &str) -> String {
    match code.split_at_checked(CODE_LENGTH / 2) {
        Some((first, second)) => format!("{first}-{second}"),
        None => code.to_owned(),
    }
}

/// What a person meant by what was typed: small letters, spaces and dashes do not matter. `None`: no code of ours.
fn typed(text: &str) -> Option<String> {
    let code: String = text
        .chars()
        .filter(|letter| !matches!(letter, ' ' | '-'))
        .take(CODE_LENGTH + 1)
        .map(|letter| letter.to_ascii_uppercase())
        .collect();
    let is_code = code.len() == CODE_LENGTH && code.bytes().all(|letter| CODE_LETTERS.contains(&letter));
    is_code.then_some(code)
}

/// What a program says it is, as far as it can be shown.
fn printable(client: &str) -> String {
    client.chars().filter(|letter| letter.is_ascii_graphic() || *letter == ' ').take(CLIENT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        for text in ["WDJB-MJHT", "wdjbmjht", " wdjb mjht ", "WDJB--MJHT"] {
            assert_eq!(typed(text).as_deref(), Some("WDJBMJHT"), "{text}");
        }
        for text in ["", "WDJB", "WDJB-MJHTX", "WDJB-MJH1", "ADJB-MJHT", "WDJB_MJHT", "ﬀDJBMJHT"] {
            assert_eq!(typed(text), None, "{text}");
        }
        assert_eq!(shown("WDJBMJHT"), "WDJB-MJHT");
    }
}
