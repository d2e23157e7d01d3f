//! Changes to users.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::accounts::audit::{Actor, of_user};
use crate::accounts::authority::Authority;
use crate::accounts::directory::Directory;
use crate::accounts::error::Error;
use crate::accounts::limits::LimitsChange;
use crate::accounts::{Accounts, Change, names};
use crate::domain::clock::Timestamp;
use crate::domain::group::{Group, Limits};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::permission::Scope;
use crate::domain::user::{Identity, Role, User};
use crate::store::{
    ApiKeyRepo, Executor, GroupRepo, ProviderSessionRepo, ProvisioningRepo, RefreshTokenRepo, UserRepo,
    retried,
};

/// The shortest password (NIST SP 800-63B).
const PASSWORD_MIN: usize = 8;
/// Longer passwords are no safer and cost more to hash.
const PASSWORD_MAX: usize = 256;
/// The most groups of one manager.
const MANAGED_MAX: usize = 1_000;

/// A user to be created.
#[derive(Clone, Default)]
pub struct NewUser {
    /// Unique among users.
    pub name: String,
    /// Without one the user can use API keys, but not log in.
    pub password: Option<String>,
    /// The group, by id or name.
    pub group: Option<String>,
    pub role: Role,
    /// The groups that a manager manages, by id or name.
    pub manages: Vec<String>,
    /// The user's own limits.
    pub limits: LimitsChange,
}

/// A user to be created that can be, as far as that can be said without the database.
#[derive(Clone)]
pub(super) struct CheckedUser {
    pub name: String,
    pub group: Option<String>,
    pub role: Role,
    pub manages: Vec<String>,
    pub active: bool,
    pub limits: Limits,
    pub password_hash: Option<String>,
    pub identity: Option<Identity>,
    pub external_id: Option<String>,
}

/// What to change of a user; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub name: Option<String>,
    /// Another group, by id or name, or `None` to leave the group.
    pub group: Option<Option<String>>,
    pub role: Option<Role>,
    /// The groups that a manager manages, by id or name: these, and no others. Of another role than manager none are left.
    pub manages: Option<Vec<String>>,
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
        let NewUser { name, group, role, manages, .. } = new;
        let (identity, external_id) = (None, None);
        Ok(CheckedUser {
            name,
            group,
            role,
            manages,
            active: true,
            limits,
            password_hash,
            identity,
            external_id,
        })
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
        let authority = change.authority(actor).await?;
        let before = user(&change.tx, named).await?;
        authority.demand_change_of(&before, named)?;
        if wanted.active == Some(false) {
            // Nobody is let in by an identity provider, who had refused them for a while, whom somebody here refuses.
            ProviderSessionRepo::on(&change.tx).forget(before.id).await?;
        }
        let after = change.edited(&authority, &before, wanted).await?;
        let after = change.write_user(actor, &before, after).await?;
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
        change.demand_admin(actor, "removing anybody").await?;
        let user = user(&change.tx, named).await?;
        if is_usable_admin(&user) {
            change.refuse_losing_last_admin().await?;
        }
        let keys = ApiKeyRepo::on(&change.tx).delete_all_of(user.id).await?;
        let sessions = change.end_sign_ins_of(user.id).await?;
        UserRepo::on(&change.tx).delete(user.id).await?;
        let gone = json!({"keys": keys, "sessions": sessions});
        change.audit(actor, "user.remove", subject(&user), of_user(&user, self), gone).await?;
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
        change.authority(actor).await?.demand_change_of(&before, named)?;
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

    /// A user that `scope` reaches, by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for one whom it does not reach.
    pub async fn user_within(&self, scope: &Scope, named: &str) -> Result<User, Error> {
        let user = self.user(named).await?;
        let missing = || Error::NotFound { what: "user", name: named.to_owned() };
        scope.covers(user.group_id).then_some(user).ok_or_else(missing)
    }

    pub(super) async fn hash(&self, password: String) -> Result<String, Error> {
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

    /// What a user is to become.
    pub(super) async fn edited(
        &self,
        authority: &Authority,
        before: &User,
        wanted: UserChange,
    ) -> Result<User, Error> {
        let mut after = User { updated_at: self.now, ..before.clone() };
        if let Some(name) = wanted.name.filter(|name| *name != before.name) {
            self.refuse_taken_name(&name).await?;
            after.name = name;
        }
        let group = match wanted.group {
            None => self.group_of(before).await?,
            Some(None) => None,
            Some(Some(named)) => Some(self.group_to_join(authority, &named).await?),
        };
        after.group_id = group.as_ref().map(|group| group.id);
        if after.group_id.is_none() && before.group_id.is_some() {
            authority.demand_admin("taking anybody out of all groups")?;
        }
        after.role = wanted.role.unwrap_or(before.role);
        after.manages = match wanted.manages {
            Some(named) => self.groups_to_manage(after.role, &named).await?,
            None if after.role == Role::Manager => before.manages.clone(),
            None => BTreeSet::new(),
        };
        if (after.role, &after.manages) != (before.role, &before.manages) {
            authority.demand_admin("giving a role")?;
        }
        after.active = wanted.active.unwrap_or(before.active);
        after.limits = wanted.limits.apply(&before.limits)?;
        let moved = after.group_id != before.group_id;
        let held = if moved { &Limits::default() } else { &before.limits };
        authority.demand_limits(held, &after.limits, group.as_ref())?;
        if is_usable_admin(before) && !is_usable_admin(&after) {
            self.refuse_losing_last_admin().await?;
        }
        Ok(after)
    }

    /// Writes what [`Change::edited`] gave, with its entry in the audit log.
    pub(super) async fn write_user(
        &self,
        actor: &Actor,
        before: &User,
        mut after: User,
    ) -> Result<User, Error> {
        if before.active && !after.active {
            // Enabling the user again must not bring old sessions back to life.
            after.tokens_valid_from = self.after_all_tokens(before).await?;
            self.end_sign_ins_of(before.id).await?;
        }
        if !before.active && after.active {
            ProvisioningRepo::on(&self.tx).forget_user(before.id).await?;
        }
        UserRepo::on(&self.tx).update(&after).await?;
        let action = match (before.active, after.active) {
            (true, false) => "user.disable",
            (false, true) => "user.enable",
            _ => "user.change",
        };
        let (was, is) = (of_user(before, &self.accounts), of_user(&after, &self.accounts));
        self.audit(actor, action, subject(before), was, is).await?;
        Ok(after)
    }

    async fn create_user(self, actor: &Actor, new: CheckedUser) -> Result<User, Error> {
        let authority = self.authority(actor).await?;
        let user = self.add_user(actor, &authority, new).await?;
        self.commit(user, Directory::put_user).await
    }

    /// Writes a new user, with the entry in the audit log.
    pub(super) async fn add_user(
        &self,
        actor: &Actor,
        authority: &Authority,
        new: CheckedUser,
    ) -> Result<User, Error> {
        let group = match &new.group {
            Some(named) => Some(self.group_to_join(authority, named).await?),
            None => None,
        };
        if group.is_none() {
            authority.demand_admin("making a user who is in no group that you manage")?;
        }
        if new.role != Role::User {
            authority.demand_admin("giving a role")?;
        }
        authority.demand_limits(&Limits::default(), &new.limits, group.as_ref())?;
        let manages = self.groups_to_manage(new.role, &new.manages).await?;
        let user = User {
            id: UserId::new(),
            name: new.name,
            group_id: group.map(|group| group.id),
            role: new.role,
            manages,
            active: new.active,
            password_hash: new.password_hash,
            limits: new.limits,
            tokens_valid_from: self.now,
            created_at: self.now,
            updated_at: self.now,
            last_login_at: None,
            identity: new.identity,
            external_id: new.external_id,
        };
        self.refuse_taken_name(&user.name).await?;
        UserRepo::on(&self.tx).create(&user).await?;
        self.audit(actor, "user.create", subject(&user), Value::Null, of_user(&user, &self.accounts)).await?;
        Ok(user)
    }

    async fn group_of(&self, user: &User) -> Result<Option<Group>, Error> {
        match user.group_id {
            Some(id) => Ok(GroupRepo::on(&self.tx).get_by_id(id).await?),
            None => Ok(None),
        }
    }

    async fn group_to_join(&self, authority: &Authority, named: &str) -> Result<Group, Error> {
        match self.given_group("group", named).await {
            Err(error @ Error::Invalid(_)) => {
                authority.demand_group(None, named)?;
                Err(error)
            }
            found => {
                let group = found?;
                authority.demand_group(Some(&group), named)?;
                Ok(group)
            }
        }
    }

    /// The groups that are given to somebody of this role.
    async fn groups_to_manage(&self, role: Role, named: &[String]) -> Result<BTreeSet<GroupId>, Error> {
        if role != Role::Manager && !named.is_empty() {
            return Err(Error::Invalid(format!("manages: only the role manager manages groups, not {role}")));
        }
        if named.len() > MANAGED_MAX {
            return Err(Error::Invalid(format!("manages: at most {MANAGED_MAX} groups")));
        }
        let mut groups = BTreeSet::new();
        for named in named {
            groups.insert(self.given_group("manages", named).await?.id);
        }
        Ok(groups)
    }

    /// A group that does not exist is a mistake in the request here, not a resource that is missing.
    async fn given_group(&self, field: &str, named: &str) -> Result<Group, Error> {
        match self.group(named).await {
            Err(Error::NotFound { .. }) => Err(Error::Invalid(format!("{field}: there is no group {named}"))),
            found => found,
        }
    }

    pub(super) async fn refuse_taken_name(&self, name: &str) -> Result<(), Error> {
        match UserRepo::on(&self.tx).get_by_name(name).await? {
            Some(_) => Err(Error::Conflict(format!("user {name} exists already"))),
            None => Ok(()),
        }
    }

    pub(super) async fn refuse_losing_last_admin(&self) -> Result<(), Error> {
        if UserRepo::on(&self.tx).count_active_admins().await? > 1 {
            return Ok(());
        }
        Err(Error::LastAdmin)
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

pub(super) fn is_usable_admin(user: &User) -> bool {
    user.role == Role::Admin && user.active
}

fn subject(user: &User) -> String {
    format!("user {}", user.name)
}
