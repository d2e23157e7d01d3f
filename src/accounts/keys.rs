//! Changes to API keys.

use serde_json::Value;

use crate::accounts::audit::{Actor, of_key};
use crate::accounts::directory::Directory;
use crate::accounts::error::Error;
use crate::accounts::users::user;
use crate::accounts::{Accounts, names};
use crate::crypto::api_key;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{KeyId, UserId};
use crate::domain::user::{ApiKey, User};
use crate::store::{ApiKeyRepo, UserRepo, retried};

/// The most keys of one user.
const KEYS_MAX: u64 = 1_000;

/// A key to be created.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// A label for people.
    pub name: String,
    /// Refused from this moment on; `None` if it never expires.
    pub expires_at: Option<Timestamp>,
}

/// A key that was just created. This is the only time its text can be seen.
#[derive(Clone)]
pub struct CreatedKey {
    /// The stored part.
    pub key: ApiKey,
    pub user: User,
    /// The key itself.
    pub text: String,
}

impl Accounts {
    /// Creates a key for a user, named by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] for a label or an expiry that cannot be, [`Error::Conflict`] when
    /// the user has as many keys as a user may have.
    pub async fn create_key(&self, actor: &Actor, owner: &str, new: NewKey) -> Result<CreatedKey, Error> {
        names::check_label(&new.name)?;
        retried(|| self.create_key_once(actor, owner, new.clone())).await
    }

    async fn create_key_once(&self, actor: &Actor, owner: &str, new: NewKey) -> Result<CreatedKey, Error> {
        let generated = api_key::generate()?;
        let change = self.change().await?;
        if new.expires_at.is_some_and(|at| at <= change.now) {
            return Err(Error::Invalid("expires_at has to be in the future".to_owned()));
        }
        let owner = user(&change.tx, owner).await?;
        if ApiKeyRepo::on(&change.tx).count_by_user(owner.id).await? >= KEYS_MAX {
            return Err(Error::Conflict(format!(
                "user {} has {KEYS_MAX} keys: revoke some first",
                owner.name
            )));
        }
        let key = ApiKey {
            id: KeyId::new(),
            user_id: owner.id,
            name: new.name,
            prefix: generated.prefix,
            digest: generated.digest,
            created_at: change.now,
            last_used_at: None,
            expires_at: new.expires_at,
        };
        ApiKeyRepo::on(&change.tx).create(&key).await?;
        change.audit(actor, "key.create", subject(&key), Value::Null, of_key(&key, &owner.name)).await?;
        let key = change.commit(key, Directory::put_key).await?;
        Ok(CreatedKey { key, user: owner, text: generated.text })
    }

    /// Revokes a key: it is refused from the next request on. With `owner`, only a key of that user is found.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_key(&self, actor: &Actor, id: &str, owner: Option<UserId>) -> Result<(), Error> {
        let missing = || Error::NotFound { what: "key", name: id.to_owned() };
        let id: KeyId = id.parse().map_err(|_| missing())?;
        let revoked = retried(|| self.revoke_key_once(actor, id, owner)).await?;
        revoked.then_some(()).ok_or_else(missing)
    }

    /// False: there is no such key.
    async fn revoke_key_once(&self, actor: &Actor, id: KeyId, owner: Option<UserId>) -> Result<bool, Error> {
        let change = self.change().await?;
        let key = ApiKeyRepo::on(&change.tx).get_by_id(id).await?;
        let Some(key) = key.filter(|key| owner.is_none_or(|owner| key.user_id == owner)) else {
            return Ok(false);
        };
        let owner = UserRepo::on(&change.tx).get_by_id(key.user_id).await?.map(|user| user.name);
        ApiKeyRepo::on(&change.tx).delete(id).await?;
        let was = of_key(&key, owner.as_deref().unwrap_or_default());
        change.audit(actor, "key.revoke", subject(&key), was, Value::Null).await?;
        change.commit(id, |directory, id| directory.remove_key(*id)).await?;
        Ok(true)
    }
}

fn subject(key: &ApiKey) -> String {
    format!("key {}", key.prefix)
}
