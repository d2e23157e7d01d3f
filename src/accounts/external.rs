//! People whom an identity provider vouches for: which users they are here, and what the provider says of them.
//!
//! A person is known by who they are at the provider ([`Identity`]), never by a name or an address, which may be somebody
//! else's tomorrow. A name that is taken here is not taken over.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::accounts::audit::{Actor, of_user};
use crate::accounts::authority::Authority;
use crate::accounts::directory::Directory;
use crate::accounts::error::Error;
use crate::accounts::users::{CheckedUser, UserChange, is_usable_admin};
use crate::accounts::{Accounts, Change, names};
use crate::config::WhenRefused;
use crate::domain::clock::Timestamp;
use crate::domain::group::Limits;
use crate::domain::ids::UserId;
use crate::domain::user::{Identity, Role, User};
use crate::store::{ProviderSession, ProviderSessionRepo, UserRepo, retried};

/// Somebody at an identity provider, and what it says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalPerson {
    pub identity: Identity,
    /// What a new user is called.
    pub name: String,
    /// The group that they are in, by name, or `None` for no group. `None` of all: the provider does not decide it.
    pub group: Option<Option<String>>,
    /// Whether they are an admin. `None`: the provider does not decide it.
    pub is_admin: Option<bool>,
}

/// What becomes of people whom nobody has seen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalRules {
    /// They become users.
    pub create: bool,
    /// A user of their name who is at no provider yet is theirs: for companies that had users before. Whoever gives names
    /// at the provider is then trusted with every user here.
    pub link_by_name: bool,
}

impl From<WhenRefused> for Refused {
    fn from(when: WhenRefused) -> Self {
        match when {
            WhenRefused::SignOut => Self::SignOut,
            WhenRefused::Disable => Self::Disable,
        }
    }
}

/// What a user's refusal by the provider leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Sessions end; keys work on.
    SignOut,
    /// Nothing works until the provider lets them in again.
    Disable,
}

/// A directory whose passwords are good here, too.
pub trait PasswordDirectory: Send + Sync {
    /// Who somebody is whose name and password these are. `None`: nobody, or the password is wrong.
    ///
    /// # Errors
    /// In words: the directory does not say.
    fn check<'a>(
        &'a self,
        name: &'a str,
        password: &'a str,
    ) -> BoxFuture<'a, Result<Option<ExternalPerson>, String>>;

    /// What becomes of people whom nobody has seen here.
    fn rules(&self) -> ExternalRules;
}

impl Accounts {
    /// Asks a directory about whoever has no password here. Once, before anybody signs in.
    pub fn set_password_directory(&self, directory: Arc<dyn PasswordDirectory>) {
        // The first one stays.
        let _set_before = self.inner.password_directory.set(directory);
    }

    /// The user whom a directory lets in with this password. `None`: nobody, or there is no directory.
    pub(super) async fn user_of_directory(&self, name: &str, password: &str) -> Result<Option<User>, Error> {
        let Some(directory) = self.inner.password_directory.get() else { return Ok(None) };
        let found = directory.check(name, password).await.map_err(|reason| {
            tracing::warn!(%reason, "the directory of passwords does not answer");
            Error::DirectoryAway
        });
        let Some(person) = found? else { return Ok(None) };
        let user = self.external_user(&person, directory.rules()).await?;
        // There are no tokens; from now on it is asked about again.
        self.keep_provider_session(user.id, Vec::new()).await?;
        Ok(Some(user))
    }

    /// The user whom an identity provider knows so.
    ///
    /// # Errors
    /// The database's.
    pub async fn user_of(&self, identity: &Identity) -> Result<Option<User>, Error> {
        Ok(UserRepo::on(&self.inner.store).get_by_identity(identity).await?)
    }

    /// What is kept of a user's session at the provider.
    ///
    /// # Errors
    /// The database's.
    pub async fn provider_session(&self, user: UserId) -> Result<Option<ProviderSession>, Error> {
        Ok(ProviderSessionRepo::on(&self.inner.store).get(user).await?)
    }

    /// Sessions about which the provider was not asked since `before`, at most `most`: those with tokens of it, or those
    /// without.
    ///
    /// # Errors
    /// The database's.
    pub async fn provider_sessions_due(
        &self,
        before: Timestamp,
        most: u64,
        with_tokens: bool,
    ) -> Result<Vec<ProviderSession>, Error> {
        Ok(ProviderSessionRepo::on(&self.inner.store).due(before, most, with_tokens).await?)
    }

    /// Keeps the provider's tokens of a user, encrypted, in place of any before.
    ///
    /// # Errors
    /// The database's.
    pub async fn keep_provider_session(&self, user: UserId, tokens: Vec<u8>) -> Result<(), Error> {
        let session = ProviderSession { user_id: user, tokens, asked_at: self.now() };
        Ok(ProviderSessionRepo::on(&self.inner.store).keep(&session).await?)
    }

    /// Notes that the provider is asked about a user now. False: another leader does.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin_asking(&self, session: &ProviderSession) -> Result<bool, Error> {
        Ok(ProviderSessionRepo::on(&self.inner.store).begin_asking(session, self.now()).await?)
    }

    /// The user that a person is, who has just proved it: found, linked or made, and brought up to date.
    ///
    /// # Errors
    /// [`Error::NoUser`] if nobody is made, [`Error::Conflict`] for a name that is taken, [`Error::Invalid`] for one that
    /// cannot be used or a group that does not exist, [`Error::Disabled`], [`Error::NotLeader`].
    pub async fn external_user(&self, person: &ExternalPerson, rules: ExternalRules) -> Result<User, Error> {
        retried(|| async move { self.change().await?.external_user(person, rules).await }).await
    }

    /// Brings a user up to date with what the provider says; who is no user of that identity any more is left alone.
    ///
    /// # Errors
    /// As of [`Accounts::external_user`].
    pub async fn update_external_user(&self, user: UserId, person: &ExternalPerson) -> Result<(), Error> {
        retried(|| async move {
            let change = self.change().await?;
            let found = UserRepo::on(&change.tx).get_by_id(user).await?;
            match found.filter(|user| user.identity.as_ref() == Some(&person.identity)) {
                Some(user) => change.update_external(user, person).await.map(drop),
                None => Ok(()),
            }
        })
        .await
    }

    /// The provider does not let a user in any more.
    ///
    /// # Errors
    /// The database's, [`Error::NotLeader`].
    pub async fn external_user_refused(
        &self,
        user: UserId,
        refused: Refused,
        reason: &str,
    ) -> Result<(), Error> {
        retried(|| async move {
            let change = self.change().await?;
            match UserRepo::on(&change.tx).get_by_id(user).await? {
                Some(user) => change.refused(user, refused, reason).await,
                None => Ok(()),
            }
        })
        .await
    }
}

impl Change {
    async fn external_user(self, person: &ExternalPerson, rules: ExternalRules) -> Result<User, Error> {
        let users = UserRepo::on(&self.tx);
        if let Some(user) = users.get_by_identity(&person.identity).await? {
            return self.update_external(user, person).await;
        }
        names::check("user", &person.name)?;
        let Some(namesake) = users.get_by_name(&person.name).await? else {
            if rules.create {
                return self.create_external(person).await;
            }
            return Err(Error::NoUser(person.name.clone()));
        };
        // A directory that provisions users has made this one for whoever has this name at the company's provider.
        let is_theirs = namesake.external_id.is_some() || rules.link_by_name;
        if namesake.identity.is_some() || !is_theirs {
            let text = format!(
                "there is a user {} here already, who is not you as far as this gateway knows: an admin renames or removes that \
                 one, or lets the gateway link users by name",
                person.name
            );
            return Err(Error::Conflict(text));
        }
        let identity = json!({"issuer": person.identity.issuer, "subject": person.identity.subject});
        let subject = format!("user {}", namesake.name);
        self.audit(&Actor::provider(), "user.link", subject, Value::Null, identity).await?;
        self.update_external(namesake, person).await
    }

    async fn create_external(self, person: &ExternalPerson) -> Result<User, Error> {
        let new = CheckedUser {
            name: person.name.clone(),
            group: person.group.clone().flatten(),
            role: if person.is_admin == Some(true) { Role::Admin } else { Role::User },
            manages: Vec::new(),
            active: true,
            limits: Limits::default(),
            password_hash: None,
            identity: Some(person.identity.clone()),
            external_id: None,
        };
        let user = self.add_user(&Actor::provider(), &Authority::everything(), new).await?;
        self.commit(user, Directory::put_user).await
    }

    /// What the provider says of a user, and who they are there, is written, if it is anything new.
    async fn update_external(self, before: User, person: &ExternalPerson) -> Result<User, Error> {
        let was_refused = ProviderSessionRepo::on(&self.tx).let_in(before.id).await?;
        if !before.active && !was_refused {
            return Err(Error::Disabled(before.name));
        }
        let role = match person.is_admin {
            Some(true) => Role::Admin,
            Some(false) if before.role == Role::Admin => Role::User,
            _ => before.role,
        };
        let wanted = UserChange {
            group: person.group.clone(),
            role: Some(role),
            active: Some(true),
            ..UserChange::default()
        };
        let everything = Authority::everything();
        let mut after = match self.edited(&everything, &before, wanted.clone()).await {
            // Nobody could administer any more: that is not for a provider to decide.
            Err(Error::LastAdmin) if role != before.role => {
                tracing::warn!(user = %before.name, "the last admin stays one, whatever the identity provider says");
                self.edited(&everything, &before, UserChange { role: None, ..wanted }).await?
            }
            edited => edited?,
        };
        after.identity = Some(person.identity.clone());
        if (User { updated_at: before.updated_at, ..after.clone() }) == before {
            return self.commit(before, Directory::put_user).await;
        }
        let after = self.write_user(&Actor::provider(), &before, after).await?;
        self.commit(after, Directory::put_user).await
    }

    async fn refused(self, before: User, refused: Refused, reason: &str) -> Result<(), Error> {
        let (actor, subject) = (Actor::provider(), format!("user {}", before.name));
        let mut after = User { updated_at: self.now, ..before.clone() };
        after.tokens_valid_from = self.after_all_tokens(&before).await?;
        let ended = self.end_sign_ins_of(before.id).await?;
        let sessions = ProviderSessionRepo::on(&self.tx);
        if refused == Refused::Disable && before.active && self.can_do_without(&before).await? {
            after.active = false;
            sessions.refuse(before.id, self.now).await?;
            let (was, is) = (of_user(&before, &self.accounts), of_user(&after, &self.accounts));
            self.audit(&actor, "user.disable", subject.clone(), was, is).await?;
        } else {
            sessions.forget(before.id).await?;
        }
        UserRepo::on(&self.tx).update(&after).await?;
        let is = json!({"sessions_ended": ended, "reason": reason});
        self.audit(&actor, "user.refused", subject, Value::Null, is).await?;
        self.commit(after, Directory::put_user).await.map(drop)
    }

    /// Whether somebody could still administer without this user.
    async fn can_do_without(&self, user: &User) -> Result<bool, Error> {
        if !is_usable_admin(user) {
            return Ok(true);
        }
        match self.refuse_losing_last_admin().await {
            Err(Error::LastAdmin) => {
                tracing::warn!(user = %user.name, "the last admin is not disabled, whatever the identity provider says");
                Ok(false)
            }
            allowed => allowed.map(|()| true),
        }
    }
}
