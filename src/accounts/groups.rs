//! Changes to groups.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::accounts::audit::{Actor, of_group};
use crate::accounts::directory::Directory;
use crate::accounts::error::Error;
use crate::accounts::limits::LimitsChange;
use crate::accounts::{Accounts, Change, names};
use crate::domain::group::{Group, Limits};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::permission::Scope;
use crate::domain::user::User;
use crate::store::{Executor, GroupRepo, UserRepo, retried};

/// A group to be created.
#[derive(Clone, Debug, Default)]
pub struct NewGroup {
    /// Unique among groups.
    pub name: String,
    /// What the members may use together.
    pub limits: LimitsChange,
}

/// What to change of a group; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    pub name: Option<String>,
    pub limits: LimitsChange,
}

/// The effects of removing a group.
#[derive(Clone, Debug)]
pub struct RemovedGroup {
    pub group: Group,
    /// Users who are in no group now, and held to their own limits only.
    pub members: u64,
}

impl Accounts {
    /// Creates a group.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name or limit, [`Error::Conflict`] when the name is taken.
    pub async fn create_group(&self, actor: &Actor, new: NewGroup) -> Result<Group, Error> {
        names::check("group", &new.name)?;
        let limits = new.limits.apply(&Limits::default())?;
        retried(|| self.create_group_once(actor, new.name.clone(), limits.clone())).await
    }

    async fn create_group_once(&self, actor: &Actor, name: String, limits: Limits) -> Result<Group, Error> {
        let change = self.change().await?;
        change.demand_admin(actor, "making a group").await?;
        change.refuse_taken_group(&name).await?;
        let (created_at, updated_at) = (change.now, change.now);
        let group = Group { id: GroupId::new(), name, limits, created_at, updated_at };
        GroupRepo::on(&change.tx).create(&group).await?;
        change.audit(actor, "group.create", subject(&group), Value::Null, of_group(&group)).await?;
        change.commit(group, Directory::put_group).await
    }

    /// Changes a group, named by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`], [`Error::Conflict`] when the new name is taken.
    pub async fn change_group(
        &self,
        actor: &Actor,
        named: &str,
        wanted: GroupChange,
    ) -> Result<Group, Error> {
        if let Some(name) = &wanted.name {
            names::check("group", name)?;
        }
        retried(|| self.change_group_once(actor, named, wanted.clone())).await
    }

    async fn change_group_once(
        &self,
        actor: &Actor,
        named: &str,
        wanted: GroupChange,
    ) -> Result<Group, Error> {
        let change = self.change().await?;
        change.demand_admin(actor, "changing a group").await?;
        let before = change.group(named).await?;
        let mut after = Group { updated_at: change.now, ..before.clone() };
        if let Some(name) = wanted.name.filter(|name| *name != before.name) {
            change.refuse_taken_group(&name).await?;
            after.name = name;
        }
        after.limits = wanted.limits.apply(&before.limits)?;
        GroupRepo::on(&change.tx).update(&after).await?;
        change.audit(actor, "group.change", subject(&before), of_group(&before), of_group(&after)).await?;
        change.commit(after, Directory::put_group).await
    }

    /// Removes a group. With members only if `force` says so: they would be free of the group's limits.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] while it has members.
    pub async fn remove_group(&self, actor: &Actor, named: &str, force: bool) -> Result<RemovedGroup, Error> {
        retried(|| self.remove_group_once(actor, named, force)).await
    }

    async fn remove_group_once(
        &self,
        actor: &Actor,
        named: &str,
        force: bool,
    ) -> Result<RemovedGroup, Error> {
        let change = self.change().await?;
        change.demand_admin(actor, "removing a group").await?;
        let group = change.group(named).await?;
        let members = UserRepo::on(&change.tx).list_by_group(group.id).await?;
        if !members.is_empty() && !force {
            return Err(Error::Conflict(format!(
                "group {} has {} members, who would be free of its limits: move them first, or remove it with force",
                group.name,
                members.len()
            )));
        }
        let managers = UserRepo::on(&change.tx).list_by_managed(group.id).await?;
        GroupRepo::on(&change.tx).delete(group.id, force).await?;
        let listed = |users: &[User]| users.iter().map(|user| user.name.clone()).collect::<Vec<_>>();
        let gone = json!({"members_left": listed(&members), "managers": listed(&managers)});
        let count = u64::try_from(members.len()).unwrap_or(u64::MAX);
        let left = left_by(group.id, members, managers);
        change.audit(actor, "group.remove", subject(&group), of_group(&group), gone).await?;
        let follow = |directory: &Directory, (group, left): &(Group, Vec<User>)| {
            for user in left {
                directory.put_user(user);
            }
            directory.remove_group(group.id);
        };
        let (group, _) = change.commit((group, left), follow).await?;
        Ok(RemovedGroup { group, members: count })
    }

    /// A group, by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn group(&self, named: &str) -> Result<Group, Error> {
        group(&self.inner.store, named).await
    }

    /// A group that `scope` reaches, by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for one that it does not reach.
    pub async fn group_within(&self, scope: &Scope, named: &str) -> Result<Group, Error> {
        let group = self.group(named).await?;
        let missing = || Error::NotFound { what: "group", name: named.to_owned() };
        scope.covers(Some(group.id)).then_some(group).ok_or_else(missing)
    }
}

/// The members and the managers of a group that is gone, each once: a manager may be a member.
fn left_by(group: GroupId, members: Vec<User>, managers: Vec<User>) -> Vec<User> {
    let mut left: BTreeMap<UserId, User> =
        members.into_iter().chain(managers).map(|user| (user.id, user)).collect();
    for user in left.values_mut() {
        user.group_id = user.group_id.filter(|id| *id != group);
        user.manages.remove(&group);
    }
    left.into_values().collect()
}

impl Change {
    pub(super) async fn group(&self, named: &str) -> Result<Group, Error> {
        group(&self.tx, named).await
    }

    pub(super) async fn refuse_taken_group(&self, name: &str) -> Result<(), Error> {
        match GroupRepo::on(&self.tx).get_by_name(name).await? {
            Some(_) => Err(Error::Conflict(format!("group {name} exists already"))),
            None => Ok(()),
        }
    }
}

async fn group<G: Executor>(executor: &G, named: &str) -> Result<Group, Error> {
    let groups = GroupRepo::on(executor);
    let found = match named.parse() {
        Ok(id) => groups.get_by_id(id).await?,
        Err(_) if names::check("group", named).is_err() => None,
        Err(_) => groups.get_by_name(named).await?,
    };
    found.ok_or_else(|| Error::NotFound { what: "group", name: named.to_owned() })
}

fn subject(group: &Group) -> String {
    format!("group {}", group.name)
}
