//! What has to be done now and then: last uses written down, what is of no use any more removed.

use crate::accounts::error::Error;
use crate::accounts::{Accounts, BROWSER_IDLE_MAX};
use crate::domain::clock::{SKEW_MAX, Timestamp};
use crate::domain::ids::KeyId;
use crate::store::{ApiKeyRepo, BrowserSessionRepo, DeviceLoginRepo, EndedSessionRepo, RefreshTokenRepo};

/// The most rows written or removed in one transaction, so that the database's writer is never held for long.
const ROWS_AT_ONCE: usize = 500;

/// Ids of removed users, groups and keys that are kept.
const REMOVED_MAX: u64 = 100_000;

impl Accounts {
    /// Forgets sessions that are over and what was removed long ago, and removes expired refresh tokens. A leader also
    /// writes down when keys were last used, and sees to the keys that sign; a follower tells the leader instead ([`Accounts::take_key_uses`]). Safe at
    /// any time and any number of times; once a minute is right, and once more at the end.
    ///
    /// # Errors
    /// The database's; what could not be written is kept for the next time.
    pub async fn maintain(&self) -> Result<(), Error> {
        self.inner.authenticator.forget_ended(self.now());
        if self.inner.settings.is_leader {
            self.write_key_uses().await?;
            self.maintain_signing_keys().await?;
        }
        let (tokens, most) = (RefreshTokenRepo::on(&self.inner.store), ROWS_AT_ONCE as u64);
        let (ended, expired) = (EndedSessionRepo::on(&self.inner.store), self.now().minus(SKEW_MAX));
        while ended.delete_expired(expired, most).await? == most {}
        while tokens.delete_expired(self.now(), most).await? == most {}
        let (browsers, idle_since) =
            (BrowserSessionRepo::on(&self.inner.store), self.now().minus(BROWSER_IDLE_MAX));
        while browsers.delete_ended(self.now(), idle_since, most).await? == most {}
        let devices = DeviceLoginRepo::on(&self.inner.store);
        while devices.delete_expired(self.now(), most).await? == most {}
        while self.inner.store.forget_removed(REMOVED_MAX, most).await? == most {}
        Ok(())
    }

    /// At most `most` of the keys used on this node since this was last asked, with the time of use to within a minute.
    #[must_use]
    pub fn take_key_uses(&self, most: usize) -> Vec<(KeyId, Timestamp)> {
        self.inner.authenticator.directory.take_used(most)
    }

    /// Puts back what [`Accounts::take_key_uses`] returned and the leader did not receive.
    pub fn put_back_key_uses(&self, untold: &[(KeyId, Timestamp)]) {
        self.inner.authenticator.directory.put_back_used(untold);
    }

    /// Records uses that a follower reports; unknown keys and what is known already are ignored.
    pub fn note_key_uses(&self, uses: &[(KeyId, Timestamp)]) {
        self.inner.authenticator.directory.note_used(uses);
    }

    async fn write_key_uses(&self) -> Result<(), Error> {
        loop {
            let uses = self.take_key_uses(ROWS_AT_ONCE);
            if uses.is_empty() {
                return Ok(());
            }
            if let Err(error) = ApiKeyRepo::on(&self.inner.store).set_last_used(&uses).await {
                self.put_back_key_uses(&uses);
                return Err(error.into());
            }
        }
    }
}
