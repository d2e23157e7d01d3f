//! What the directory that provisions people (SCIM) says of users and groups. Each request is one change.
//!
//! It names them by ids that it was told, or makes them. It changes names, its own ids, who may call and who is in which
//! group; never a role, a limit, a password or a key. Whom it removes is disabled, so that usage stays theirs, and is not
//! there for it until it makes them again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::accounts::audit::{Actor, of_group, of_user};
use crate::accounts::authority::Authority;
use crate::accounts::directory::Directory;
use crate::accounts::error::Error;
use crate::accounts::users::{CheckedUser, UserChange};
use crate::accounts::{Accounts, Change, names};
use crate::domain::group::{Group, Limits};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::user::{Role, User};
use crate::store::{
    GroupQuery, GroupRepo, ProviderSessionRepo, ProvisioningRepo, UserQuery, UserRepo, Window, retried,
};

/// The longest id of a directory.
const EXTERNAL_ID_MAX: usize = 256;

/// Somebody whom the directory makes.
#[derive(Clone, Debug)]
pub struct ProvisionedUser {
    pub name: String,
    /// The directory's own id.
    pub external_id: Option<String>,
    pub active: bool,
}

/// What the directory changes of a user; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvisionedUserChange {
    pub name: Option<String>,
    /// Another id, or `None` for none.
    pub external_id: Option<Option<String>>,
    pub active: Option<bool>,
}

/// A group as the directory knows it.
#[derive(Clone, Debug)]
pub struct ProvisionedGroup {
    pub group: Group,
    pub external_id: Option<String>,
    /// Users that the directory sees, in the order in which they were made.
    pub members: Vec<UserId>,
}

/// What the directory changes of a group; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvisionedGroupChange {
    pub name: Option<String>,
    /// Another id, or `None` for none.
    pub external_id: Option<Option<String>>,
    /// In this order.
    pub members: Vec<MembersChange>,
}

/// A change of who is in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembersChange {
    /// These leave the groups that they are in: everybody is in one.
    Add(Vec<UserId>),
    /// These are in no group then; whoever is not in this one stays where they are.
    Remove(Vec<UserId>),
    /// These, and nobody else.
    Replace(Vec<UserId>),
}

impl Accounts {
    /// Users that the directory sees, and how many there are beyond the window, too.
    ///
    /// # Errors
    /// The database's.
    pub async fn provisioned_users(
        &self,
        query: &UserQuery,
        window: Window,
    ) -> Result<(Vec<User>, u64), Error> {
        Ok(ProvisioningRepo::on(&self.inner.store).users(query, window).await?)
    }

    /// Groups, and how many there are beyond the window, too. Members are read only where they are asked for.
    ///
    /// # Errors
    /// The database's.
    pub async fn provisioned_groups(
        &self,
        query: &GroupQuery,
        window: Window,
        with_members: bool,
    ) -> Result<(Vec<ProvisionedGroup>, u64), Error> {
        let repo = ProvisioningRepo::on(&self.inner.store);
        let (groups, total) = repo.groups(query, window).await?;
        let ids: Vec<GroupId> = groups.iter().map(|group| group.id).collect();
        let mut members = if with_members { repo.members(&ids).await? } else { BTreeMap::new() };
        let mut external_ids = repo.group_ids(&ids).await?;
        let known = groups.into_iter().map(|group| ProvisionedGroup {
            external_id: external_ids.remove(&group.id),
            members: members.remove(&group.id).unwrap_or_default(),
            group,
        });
        Ok((known.collect(), total))
    }

    /// Makes a user, or enables the one of that name whom the directory has removed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name or id, [`Error::Conflict`] when the name is taken.
    pub async fn provision_user(&self, actor: &Actor, new: ProvisionedUser) -> Result<User, Error> {
        names::check("user", &new.name)?;
        check_external_id(new.external_id.as_deref())?;
        let new = &new;
        retried(|| async move { self.change().await?.provision_user(actor, new.clone()).await }).await
    }

    /// Changes a user that the directory sees.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`], [`Error::Conflict`] when the new name is taken, [`Error::LastAdmin`].
    pub async fn change_provisioned_user(
        &self,
        actor: &Actor,
        id: UserId,
        wanted: ProvisionedUserChange,
    ) -> Result<User, Error> {
        if let Some(name) = &wanted.name {
            names::check("user", name)?;
        }
        check_external_id(wanted.external_id.as_ref().and_then(Option::as_deref))?;
        let wanted = &wanted;
        retried(|| async move {
            let change = self.change().await?;
            let before = change.provisioned_user(id).await?;
            change.change_provisioned_user(actor, before, wanted.clone()).await
        })
        .await
    }

    /// The directory removes a user, who is disabled and not there for it from now on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::LastAdmin`].
    pub async fn deprovision_user(&self, actor: &Actor, id: UserId) -> Result<(), Error> {
        retried(|| async move {
            let change = self.change().await?;
            let before = change.provisioned_user(id).await?;
            ProvisioningRepo::on(&change.tx).remove_user(id, change.now).await?;
            let subject = format!("user {}", before.name);
            let was = json!({"external_id": before.external_id});
            change.audit(actor, "user.deprovision", subject, was, Value::Null).await?;
            let wanted = ProvisionedUserChange {
                external_id: Some(None),
                active: Some(false),
                ..ProvisionedUserChange::default()
            };
            change.change_provisioned_user(actor, before, wanted).await.map(drop)
        })
        .await
    }

    /// Makes a group, with members.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name or id or a member who is not there, [`Error::Conflict`] when the name is taken.
    pub async fn provision_group(
        &self,
        actor: &Actor,
        name: &str,
        external_id: Option<&str>,
        members: &[UserId],
    ) -> Result<ProvisionedGroup, Error> {
        names::check("group", name)?;
        check_external_id(external_id)?;
        retried(|| async move {
            let change = self.change().await?;
            change.refuse_taken_group(name).await?;
            let (created_at, updated_at) = (change.now, change.now);
            let (name, limits) = (name.to_owned(), Limits::default());
            let group = Group { id: GroupId::new(), name, limits, created_at, updated_at };
            GroupRepo::on(&change.tx).create(&group).await?;
            let is = shown(&group, external_id);
            change.audit(actor, "group.create", subject(&group), Value::Null, is).await?;
            ProvisioningRepo::on(&change.tx).set_group_id(group.id, external_id).await?;
            let moved = change.move_members(actor, &group, &[MembersChange::Add(members.to_vec())]).await?;
            change.commit_group(group, moved).await
        })
        .await
    }

    /// Changes a group.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`], [`Error::Conflict`] when the new name is taken.
    pub async fn change_provisioned_group(
        &self,
        actor: &Actor,
        id: GroupId,
        wanted: &ProvisionedGroupChange,
    ) -> Result<ProvisionedGroup, Error> {
        if let Some(name) = &wanted.name {
            names::check("group", name)?;
        }
        check_external_id(wanted.external_id.as_ref().and_then(Option::as_deref))?;
        retried(|| async move {
            let change = self.change().await?;
            let group = change.rename_group(actor, id, wanted).await?;
            let moved = change.move_members(actor, &group, &wanted.members).await?;
            change.commit_group(group, moved).await
        })
        .await
    }
}

impl Change {
    async fn provisioned_user(&self, id: UserId) -> Result<User, Error> {
        let found = ProvisioningRepo::on(&self.tx).user(id).await?;
        found.ok_or_else(|| Error::NotFound { what: "user", name: id.to_string() })
    }

    async fn provision_user(self, actor: &Actor, new: ProvisionedUser) -> Result<User, Error> {
        let namesake = UserRepo::on(&self.tx).get_by_name(&new.name).await?;
        if let Some(before) = namesake.filter(|user| !user.active)
            && ProvisioningRepo::on(&self.tx).forget_user(before.id).await?
        {
            let is = json!({"external_id": new.external_id});
            self.audit(actor, "user.provision", format!("user {}", before.name), Value::Null, is).await?;
            let wanted = ProvisionedUserChange {
                name: None,
                external_id: Some(new.external_id),
                active: Some(new.active),
            };
            return self.change_provisioned_user(actor, before, wanted).await;
        }
        let new = CheckedUser {
            name: new.name,
            group: None,
            role: Role::User,
            manages: Vec::new(),
            active: new.active,
            limits: Limits::default(),
            password_hash: None,
            identity: None,
            external_id: new.external_id,
        };
        let user = self.add_user(actor, &Authority::everything(), new).await?;
        self.commit(user, Directory::put_user).await
    }

    async fn change_provisioned_user(
        self,
        actor: &Actor,
        before: User,
        wanted: ProvisionedUserChange,
    ) -> Result<User, Error> {
        let ProvisionedUserChange { name, external_id, active } = wanted;
        let change = UserChange { name, active, ..UserChange::default() };
        let mut after = self.edited(&Authority::everything(), &before, change).await?;
        after.external_id = external_id.unwrap_or(after.external_id);
        if active == Some(false) {
            // Nobody is let in by an identity provider, who had refused them for a while, whom the directory refuses.
            ProviderSessionRepo::on(&self.tx).forget(before.id).await?;
        }
        let is_new = (User { updated_at: before.updated_at, ..after.clone() }) != before;
        let after = if is_new { self.write_user(actor, &before, after).await? } else { before };
        self.commit(after, Directory::put_user).await
    }

    /// Writes a group's new name and the directory's id of it, if they are new.
    async fn rename_group(
        &self,
        actor: &Actor,
        id: GroupId,
        wanted: &ProvisionedGroupChange,
    ) -> Result<Group, Error> {
        let repo = ProvisioningRepo::on(&self.tx);
        let before = self.group(&id.to_string()).await?;
        let known = repo.group_ids(&[id]).await?.remove(&id);
        let mut after = before.clone();
        if let Some(name) = wanted.name.as_ref().filter(|name| **name != before.name) {
            self.refuse_taken_group(name).await?;
            after = Group { name: name.clone(), updated_at: self.now, ..after };
            GroupRepo::on(&self.tx).update(&after).await?;
        }
        let external_id = wanted.external_id.clone().unwrap_or_else(|| known.clone());
        if external_id != known {
            repo.set_group_id(id, external_id.as_deref()).await?;
        }
        if after != before || external_id != known {
            let (was, is) = (shown(&before, known.as_deref()), shown(&after, external_id.as_deref()));
            self.audit(actor, "group.change", subject(&before), was, is).await?;
        }
        Ok(after)
    }

    /// Makes the members of a group what follows from `changes`; those who have moved.
    async fn move_members(
        &self,
        actor: &Actor,
        group: &Group,
        changes: &[MembersChange],
    ) -> Result<Vec<User>, Error> {
        let is_in = ProvisioningRepo::on(&self.tx).members(&[group.id]).await?.remove(&group.id);
        let before: BTreeSet<UserId> = is_in.unwrap_or_default().into_iter().collect();
        let mut after = before.clone();
        for change in changes {
            match change {
                MembersChange::Add(users) => after.extend(users),
                MembersChange::Remove(users) => after.retain(|user| !users.contains(user)),
                MembersChange::Replace(users) => after = users.iter().copied().collect(),
            }
        }
        let mut moved = Vec::new();
        for id in before.symmetric_difference(&after) {
            let to = after.contains(id).then_some(group);
            moved.push(self.move_member(actor, *id, to, group).await?);
        }
        Ok(moved)
    }

    /// Moves a user to a group, or from `group` to none.
    async fn move_member(
        &self,
        actor: &Actor,
        id: UserId,
        to: Option<&Group>,
        group: &Group,
    ) -> Result<User, Error> {
        let found = ProvisioningRepo::on(&self.tx).user(id).await?;
        let before = found.ok_or_else(|| Error::Invalid(format!("members: there is no user {id}")))?;
        let group_id = to.map(|group| group.id);
        let after = User { group_id, updated_at: self.now, ..before.clone() };
        UserRepo::on(&self.tx).update(&after).await?;
        let (mut was, mut is) = (of_user(&before, &self.accounts), of_user(&after, &self.accounts));
        // What accounts know in memory is the name that the group had before this change.
        for (user, shown) in [(&before, &mut was), (&after, &mut is)] {
            if user.group_id == Some(group.id) {
                shown["group"] = json!(group.name);
            }
        }
        self.audit(actor, "user.change", format!("user {}", before.name), was, is).await?;
        Ok(after)
    }

    async fn commit_group(self, group: Group, moved: Vec<User>) -> Result<ProvisionedGroup, Error> {
        let repo = ProvisioningRepo::on(&self.tx);
        let members = repo.members(&[group.id]).await?.remove(&group.id).unwrap_or_default();
        let external_id = repo.group_ids(&[group.id]).await?.remove(&group.id);
        let follow = |directory: &Directory, (group, moved): &(Group, Vec<User>)| {
            directory.put_group(group);
            for user in moved {
                directory.put_user(user);
            }
        };
        let (group, _) = self.commit((group, moved), follow).await?;
        Ok(ProvisionedGroup { group, external_id, members })
    }
}

/// Refuses what is no id.
fn check_external_id(id: Option<&str>) -> Result<(), Error> {
    let is_wrong =
        |id: &str| id.is_empty() || id.chars().count() > EXTERNAL_ID_MAX || id.chars().any(char::is_control);
    if id.is_some_and(is_wrong) {
        let message = format!(
            "externalId: use 1 to {EXTERNAL_ID_MAX} characters, none of them a control character; or leave it out"
        );
        return Err(Error::Invalid(message));
    }
    Ok(())
}

fn shown(group: &Group, external_id: Option<&str>) -> Value {
    let mut shown = of_group(group);
    if let Some(external_id) = external_id {
        shown["external_id"] = json!(external_id);
    }
    shown
}

fn subject(group: &Group) -> String {
    format!("group {}", group.name)
}
