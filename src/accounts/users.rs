//! Changes to users.

use serde_json::{Value, json};

use crate::accounts::audit::{Actor, of_user};
use crate::accounts::directory::Directory;
use crate::accounts::error::Error;
use crate::accounts::limits::LimitsChange;
use crate::accounts::{Accounts, Change, names};
use crate::domain::clock::Timestamp;
use crate::domain::group::Limits;
use crate::domain::ids::{GroupId, UserId};
use crate::domain::user::{Role, User};
use crate::store::{ApiKeyRepo, Executor, RefreshTokenRepo, UserRepo, retried};

/// The shortest password (NIST SP 800-63B).
const PASSWORD_MIN: usize = 8;
/// Longer passwords are no safer and cost more to hash.
const PASSWORD_MAX: usize = 256;

/// A user to be created.
#[derive(Clone, Default)]
pub struct NewUser {
    /// Unique among users.
    pub name: String,
    /// Without one the user can use API keys, but not log in.
    pub password: Option<String>,
    /// The group, by id or name.
    pub group: Option<String>,
    /// Whether the user is an admin.
    pub is_admin: bool,
    /// The user's own limits.
    pub limits: LimitsChange,
}

/// A user to be created that can be, as far as that can be said without the database.
#[derive(Clone)]
struct CheckedUser {
    name: String,
    group: Option<String>,
    role: Role,
    limits: Limits,
    password_hash: Option<String>,
}

/// What to change of a user; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub name: Option<String>,
    /// Another group, by id or name, or `None` to leave the group.
    pub group: Option<Option<String>>,
    pub role: Option<Role>,
    /// False: refused from the next request on, and every session ends.
    pub active: Option<bool>,
    pub limits: LimitsChange,
}

/// The effects of removing a user.
#[derive(Clone, Debug)]
pub struct RemovedUser {
    pub user: User,
    /// The user's API keys, which are refused from now on.
    pub keys: u64,
    pub sessions: u64,
}

impl Accounts {
    /// Creates a user.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name, password or limit or a group that does not exist, [`Error::Conflict`] when
    /// the name is taken.
    pub async fn create_user(&self, actor: &Actor, new: NewUser) -> Result<User, Error> {
        let new = &self.checked(new).await?;
        retried(|| async move { self.change().await?.create_user(actor, new.clone()).await }).await
    }

    /// Creates a user unless there is one already, whoever made it.
    pub(super) async fn create_first_user(&self, actor: &Actor, new: NewUser) -> Result<Option<User>, Error> {
        let new = &self.checked(new).await?;
        retried(|| async move {
            let change = self.change().await?;
            if UserRepo::on(&change.tx).count().await? > 0 {
                return Ok(None);
            }
            change.create_user(actor, new.clone()).await.map(Some)
        })
        .await
    }

    /// What can be checked, and what takes long, before a change begins.
    async fn checked(&self, new: NewUser) -> Result<CheckedUser, Error> {
        names::check("user", &new.name)?;
        let limits = new.limits.apply(&Limits::default())?;
        let password_hash = match new.password {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        let role = if new.is_admin { Role::Admin } else { Role::User };
        Ok(CheckedUser { name: new.name, group: new.group, role, limits, password_hash })
    }

    /// Changes a user, named by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`], [`Error::Conflict`] when the new name is taken or the last admin
    /// would be lost.
    pub async fn change_user(&self, actor: &Actor, named: &str, wanted: UserChange) -> Result<User, Error> {
        if let Some(name) = &wanted.name {
            names::check("user", name)?;
        }
        retried(|| self.change_user_once(actor, named, wanted.clone())).await
    }

    async fn change_user_once(&self, actor: &Actor, named: &str, wanted: UserChange) -> Result<User, Error> {
        let change = self.change().await?;
        let before = user(&change.tx, named).await?;
        let mut after = User { updated_at: change.now, ..before.clone() };
        if let Some(name) = wanted.name.filter(|name| *name != before.name) {
            change.refuse_taken_name(&name).await?;
            after.name = name;
        }
        after.group_id = match wanted.group {
            None => before.group_id,
            Some(None) => None,
            Some(Some(named)) => Some(change.group_to_join(&named).await?),
        };
        after.role = wanted.role.unwrap_or(before.role);
        after.active = wanted.active.unwrap_or(before.active);
        after.limits = wanted.limits.apply(&before.limits)?;
        if is_usable_admin(&before) && !is_usable_admin(&after) {
            change.refuse_losing_last_admin().await?;
        }
        if before.active && !after.active {
            // Enabling the user again must not bring old sessions back to life.
            after.tokens_valid_from = change.after_all_tokens(&before).await?;
            change.end_sign_ins_of(before.id).await?;
        }
        UserRepo::on(&change.tx).update(&after).await?;
        let action = match (before.active, after.active) {
            (true, false) => "user.disable",
            (false, true) => "user.enable",
            _ => "user.change",
        };
        change.audit(actor, action, subject(&before), of_user(&before), of_user(&after)).await?;
        change.commit(after, Directory::put_user).await
    }

    /// Removes a user with keys and sessions. Usage stays in the books, under the name it was booked on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] for the last admin.
    pub async fn remove_user(&self, actor: &Actor, named: &str) -> Result<RemovedUser, Error> {
        retried(|| self.remove_user_once(actor, named)).await
    }

    async fn remove_user_once(&self, actor: &Actor, named: &str) -> Result<RemovedUser, Error> {
        let change = self.change().await?;
        let user = user(&change.tx, named).await?;
        if is_usable_admin(&user) {
            change.refuse_losing_last_admin().await?;
        }
        let keys = ApiKeyRepo::on(&change.tx).delete_all_of(user.id).await?;
        let sessions = change.end_sign_ins_of(user.id).await?;
        UserRepo::on(&change.tx).delete(user.id).await?;
        let gone = json!({"keys": keys, "sessions": sessions});
        change.audit(actor, "user.remove", subject(&user), of_user(&user), gone).await?;
        let user = change.commit(user, |directory, user| directory.remove_user(user.id)).await?;
        Ok(RemovedUser { user, keys, sessions })
    }

    /// Sets a user's password. Every session of the user ends.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] for a password that is too short or too long, [`Error::Busy`].
    pub async fn set_password(&self, actor: &Actor, named: &str, password: String) -> Result<(), Error> {
        let hash = self.hash(password).await?;
        self.end_sessions(actor, named, "user.password", &|user| user.password_hash = Some(hash.clone()))
            .await?;
        Ok(())
    }

    /// Ends every session of a user: access and refresh tokens are refused from the next request on. API keys stay.
    /// The answer is how many there were.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_sessions(&self, actor: &Actor, named: &str) -> Result<u64, Error> {
        self.end_sessions(actor, named, "user.revoke", &|_| {}).await
    }

    async fn end_sessions(
        &self,
        actor: &Actor,
        named: &str,
        action: &str,
        edit: &(impl Fn(&mut User) + Sync),
    ) -> Result<u64, Error> {
        retried(|| self.end_sessions_once(actor, named, action, edit)).await
    }

    async fn end_sessions_once(
        &self,
        actor: &Actor,
        named: &str,
        action: &str,
        edit: &(impl Fn(&mut User) + Sync),
    ) -> Result<u64, Error> {
        let change = self.change().await?;
        let before = user(&change.tx, named).await?;
        let mut after = before.clone();
        edit(&mut after);
        after.updated_at = change.now;
        after.tokens_valid_from = change.after_all_tokens(&before).await?;
        let sessions = change.end_sign_ins_of(before.id).await?;
        UserRepo::on(&change.tx).update(&after).await?;
        change
            .audit(actor, action, subject(&before), Value::Null, json!({"sessions_ended": sessions}))
            .await?;
        change.commit(after, Directory::put_user).await?;
        Ok(sessions)
    }

    /// A user, by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn user(&self, named: &str) -> Result<User, Error> {
        user(&self.inner.store, named).await
    }

    async fn hash(&self, password: String) -> Result<String, Error> {
        let length = password.chars().count();
        if !(PASSWORD_MIN..=PASSWORD_MAX).contains(&length) {
            let message = format!("password: use {PASSWORD_MIN} to {PASSWORD_MAX} characters");
            return Err(Error::Invalid(message));
        }
        Ok(self.inner.hasher.hash(password).await?)
    }
}

impl Change {
    /// A time after every token that was issued to `user` until now, by a leader whose clock is ahead of this one's, too.
    pub(super) async fn after_all_tokens(&self, user: &User) -> Result<Timestamp, Error> {
        let latest = RefreshTokenRepo::on(&self.tx).latest_of(user.id).await?;
        let issued = latest.map_or(user.tokens_valid_from, |latest| latest.max(user.tokens_valid_from));
        Ok(self.now.max(issued).plus(std::time::Duration::from_micros(1)))
    }

    async fn create_user(self, actor: &Actor, new: CheckedUser) -> Result<User, Error> {
        let group_id = match &new.group {
            Some(named) => Some(self.group_to_join(named).await?),
            None => None,
        };
        let user = User {
            id: UserId::new(),
            name: new.name,
            group_id,
            role: new.role,
            active: true,
            password_hash: new.password_hash,
            limits: new.limits,
            tokens_valid_from: self.now,
            created_at: self.now,
            updated_at: self.now,
            last_login_at: None,
        };
        self.refuse_taken_name(&user.name).await?;
        UserRepo::on(&self.tx).create(&user).await?;
        self.audit(actor, "user.create", subject(&user), Value::Null, of_user(&user)).await?;
        self.commit(user, Directory::put_user).await
    }

    /// A group that does not exist is a mistake in the request here, not a resource that is missing.
    async fn group_to_join(&self, named: &str) -> Result<GroupId, Error> {
        match self.group(named).await {
            Ok(group) => Ok(group.id),
            Err(Error::NotFound { .. }) => Err(Error::Invalid(format!("group: there is no group {named}"))),
            Err(error) => Err(error),
        }
    }

    async fn refuse_taken_name(&self, name: &str) -> Result<(), Error> {
        match UserRepo::on(&self.tx).get_by_name(name).await? {
            Some(_) => Err(Error::Conflict(format!("user {name} exists already"))),
            None => Ok(()),
        }
    }

    async fn refuse_losing_last_admin(&self) -> Result<(), Error> {
        if UserRepo::on(&self.tx).count_active_admins().await? > 1 {
            return Ok(());
        }
        Err(Error::Conflict("this is the last active admin: make somebody else admin first".to_owned()))
    }
}

/// A user, by id or name.
pub(super) async fn user<G: Executor>(executor: &G, named: &str) -> Result<User, Error> {
    let users = UserRepo::on(executor);
    let found = match named.parse() {
        Ok(id) => users.get_by_id(id).await?,
        Err(_) if names::check("user", named).is_err() => None,
        Err(_) => users.get_by_name(named).await?,
    };
    found.ok_or_else(|| Error::NotFound { what: "user", name: named.to_owned() })
}

fn is_usable_admin(user: &User) -> bool {
    user.role == Role::Admin && user.active
}

fn subject(user: &User) -> String {
    format!("user {}", user.name)
}
