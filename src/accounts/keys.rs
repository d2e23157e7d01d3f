//! Changes to API keys.

use std::time::Duration;

use serde_json::{Value, json};

use crate::accounts::audit::{Actor, of_key};
use crate::accounts::directory::Directory;
use crate::accounts::error::Error;
use crate::accounts::users::user;
use crate::accounts::{Accounts, Change, names};
use crate::crypto::api_key;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{KeyId, UserId};
use crate::domain::user::{ApiKey, User};
use crate::store::{ApiKeyRepo, UserRepo, retried};

/// The most keys of one user.
const KEYS_MAX: u64 = 1_000;
/// The longest that a key and the one that takes its place both work.
const OVERLAP_MAX: Duration = Duration::from_hours(30 * 24);

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

/// A key that was reissued.
#[derive(Clone)]
pub struct ReissuedKey {
    /// The key that takes its place.
    pub new: CreatedKey,
    /// The old one, with the end that it has now.
    pub old: ApiKey,
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
        let named = owner;
        let owner = user(&change.tx, named).await?;
        change.demand_keys_of(actor, &owner, named).await?;
        change.refuse_too_many_keys(&owner).await?;
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

    /// Makes a key that takes the place of another: of the same user, under the same label, valid for as long as the other one
    /// was made for. Both work for `overlap`; then the old one is refused, or before, if it would have expired by then. With
    /// `owner`, only a key of that user is found.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] for an overlap that is too long, [`Error::Conflict`] for a key that has expired or
    /// when the user has as many keys as a user may have.
    pub async fn reissue_key(
        &self,
        actor: &Actor,
        id: &str,
        overlap: Duration,
        owner: Option<UserId>,
    ) -> Result<ReissuedKey, Error> {
        let missing = || Error::NotFound { what: "key", name: id.to_owned() };
        let id: KeyId = id.parse().map_err(|_| missing())?;
        if overlap > OVERLAP_MAX {
            let days = OVERLAP_MAX.as_secs() / (24 * 60 * 60);
            return Err(Error::Invalid(format!("the overlap has to be at most {days} days")));
        }
        let reissued = retried(|| self.reissue_key_once(actor, id, overlap, owner)).await?;
        reissued.ok_or_else(missing)
    }

    /// `None`: there is no such key.
    async fn reissue_key_once(
        &self,
        actor: &Actor,
        id: KeyId,
        overlap: Duration,
        owner: Option<UserId>,
    ) -> Result<Option<ReissuedKey>, Error> {
        let generated = api_key::generate()?;
        let change = self.change().await?;
        let Some((before, owner)) = change.key_to_change(actor, id, owner).await? else { return Ok(None) };
        if let Some(at) = before.expires_at.filter(|at| *at <= change.now) {
            return Err(Error::Conflict(format!("the key expired at {at}: create another one")));
        }
        change.refuse_too_many_keys(&owner).await?;
        let end = change.now.plus(overlap);
        let end = before.expires_at.map_or(end, |expires| expires.min(end));
        let new = ApiKey {
            id: KeyId::new(),
            prefix: generated.prefix,
            digest: generated.digest,
            created_at: change.now,
            last_used_at: None,
            expires_at: before.expires_at.map(|at| change.now.plus(at.since(before.created_at))),
            ..before.clone()
        };
        ApiKeyRepo::on(&change.tx).set_expiry(before.id, end).await?;
        ApiKeyRepo::on(&change.tx).create(&new).await?;
        let was = json!({"expires_at": before.expires_at});
        let is = json!({"expires_at": end, "new": of_key(&new, &owner.name)});
        change.audit(actor, "key.reissue", subject(&before), was, is).await?;
        let old = ApiKey { expires_at: Some(end), ..before };
        let follow = |directory: &Directory, (old, new): &(ApiKey, ApiKey)| {
            directory.put_key(old);
            directory.put_key(new);
        };
        let (old, new) = change.commit((old, new), follow).await?;
        let new = CreatedKey { key: new, user: owner, text: generated.text };
        Ok(Some(ReissuedKey { new, old }))
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
        let Some((key, owner)) = change.key_to_change(actor, id, owner).await? else { return Ok(false) };
        ApiKeyRepo::on(&change.tx).delete(id).await?;
        let was = of_key(&key, &owner.name);
        change.audit(actor, "key.revoke", subject(&key), was, Value::Null).await?;
        change.commit(id, |directory, id| directory.remove_key(*id)).await?;
        Ok(true)
    }
}

impl Change {
    /// A key and whose it is; with `owner`, only one of that user. `None`: there is none that the actor could know of.
    async fn key_to_change(
        &self,
        actor: &Actor,
        id: KeyId,
        owner: Option<UserId>,
    ) -> Result<Option<(ApiKey, User)>, Error> {
        let key = ApiKeyRepo::on(&self.tx).get_by_id(id).await?;
        let Some(key) = key.filter(|key| owner.is_none_or(|owner| key.user_id == owner)) else {
            return Ok(None);
        };
        let Some(owner) = UserRepo::on(&self.tx).get_by_id(key.user_id).await? else { return Ok(None) };
        match self.demand_keys_of(actor, &owner, &owner.name).await {
            Ok(()) => Ok(Some((key, owner))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn refuse_too_many_keys(&self, owner: &User) -> Result<(), Error> {
        if ApiKeyRepo::on(&self.tx).count_by_user(owner.id).await? < KEYS_MAX {
            return Ok(());
        }
        let message = format!("user {} has {KEYS_MAX} keys: revoke some first", owner.name);
        Err(Error::Conflict(message))
    }

    /// Refuses to touch the keys of somebody else whom the actor may not change.
    async fn demand_keys_of(&self, actor: &Actor, owner: &User, named: &str) -> Result<(), Error> {
        if actor.user == Some(owner.id) {
            return Ok(());
        }
        self.authority(actor).await?.demand_change_of(owner, named)
    }
}

fn subject(key: &ApiKey) -> String {
    format!("key {}", key.prefix)
}
