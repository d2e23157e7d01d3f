//! What has to be done now and then: last uses written down, refresh tokens that are of no use removed.

use crate::accounts::Accounts;
use crate::accounts::error::Error;
use crate::store::{ApiKeyRepo, RefreshTokenRepo};

/// The most refresh tokens removed in one statement, so that the writer is never held for long.
const REMOVED_AT_ONCE: u64 = 1_000;

impl Accounts {
    /// Writes down when keys were last used, in one transaction, and removes expired refresh tokens. Safe at any time
    /// and any number of times; once a minute is right, and once more at the end.
    ///
    /// # Errors
    /// The database's; what could not be written is kept for the next time.
    pub async fn tidy(&self) -> Result<(), Error> {
        let uses = self.inner.authenticator.directory.take_used();
        if !uses.is_empty()
            && let Err(error) = ApiKeyRepo::on(&self.inner.store).set_last_used(&uses).await
        {
            self.inner.authenticator.directory.put_back_used(uses);
            return Err(error.into());
        }
        self.inner.authenticator.forget_ended(self.now());
        let tokens = RefreshTokenRepo::on(&self.inner.store);
        while tokens.delete_expired(self.now(), REMOVED_AT_ONCE).await? == REMOVED_AT_ONCE {}
        Ok(())
    }
}
