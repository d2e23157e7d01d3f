//! What somebody who makes a change may change. Asked within the change's transaction: what holds then counts, whatever was
//! true when the request came.

use crate::accounts::Change;
use crate::accounts::audit::Actor;
use crate::accounts::error::Error;
use crate::domain::group::{Group, Limits};
use crate::domain::permission::{Permission, RoleNeeded, Scope};
use crate::domain::user::{Role, User};
use crate::store::UserRepo;

/// What an actor may change.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    role: Role,
    scope: Scope,
}

impl Change {
    /// What `actor` may change, as of now.
    ///
    /// # Errors
    /// [`Error::UnknownCredential`] and [`Error::Disabled`] for one who was removed or disabled meanwhile.
    pub(super) async fn authority(&self, actor: &Actor) -> Result<Authority, Error> {
        let Some(id) = actor.user else {
            return Ok(Authority::everything());
        };
        let user = UserRepo::on(&self.tx).get_by_id(id).await?.ok_or(Error::UnknownCredential)?;
        if !user.active {
            return Err(Error::Disabled(user.name));
        }
        let scope = Scope::of(user.role, || user.manages.iter().copied().collect());
        Ok(Authority { role: user.role, scope })
    }

    /// Refuses what only admins may do; `what` begins the sentence.
    pub(super) async fn demand_admin(&self, actor: &Actor, what: &str) -> Result<(), Error> {
        Ok(self.authority(actor).await?.demand_admin(what)?)
    }
}

impl Authority {
    /// That of whoever has the machine.
    pub(super) fn everything() -> Self {
        Self { role: Role::Admin, scope: Scope::Everybody }
    }

    pub(super) fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Refuses what only admins may do; `what` begins the sentence.
    pub(super) fn demand_admin(&self, what: impl Into<String>) -> Result<(), RoleNeeded> {
        if self.is_admin() { Ok(()) } else { Err(RoleNeeded::new(what, Permission::Administer, self.role)) }
    }

    /// Refuses to change a user, or what belongs to one. Whom a manager does not see is not there; managers change members
    /// of their groups who are no more than users.
    pub(super) fn demand_change_of(&self, user: &User, named: &str) -> Result<(), Error> {
        if !Permission::ManagePeople.roles().contains(&self.role) {
            return Err(RoleNeeded::new("changing people", Permission::ManagePeople, self.role).into());
        }
        if !self.scope.covers(user.group_id) {
            return Err(Error::NotFound { what: "user", name: named.to_owned() });
        }
        if user.role != Role::User {
            self.demand_admin(format!("changing {}, whose role is {},", user.name, user.role))?;
        }
        Ok(())
    }

    /// Refuses to put anybody into a group, whether or not it is there: managers see only their own.
    pub(super) fn demand_group(&self, group: Option<&Group>, named: &str) -> Result<(), RoleNeeded> {
        if self.is_admin() || group.is_some_and(|group| self.scope.covers(Some(group.id))) {
            return Ok(());
        }
        self.demand_admin(format!("putting anybody into {named}, a group that you do not manage,"))
    }

    /// Refuses limits of a member that a manager sets above those of the group. A limit that stays as it is may be above; one
    /// that is lifted is none of the member's own, and the group's holds. So it is for models, which both have to let pass.
    pub(super) fn demand_limits(
        &self,
        before: &Limits,
        after: &Limits,
        group: Option<&Group>,
    ) -> Result<(), RoleNeeded> {
        let Some(group) = group.filter(|_| !self.is_admin()) else { return Ok(()) };
        let numbers = |limits: &Limits| {
            [
                ("daily_tokens", limits.daily_tokens.map(i128::from)),
                ("monthly_tokens", limits.monthly_tokens.map(i128::from)),
                ("rpm", limits.rpm.map(i128::from)),
                ("monthly_usd", limits.monthly_nanousd.map(i128::from)),
                ("concurrent", limits.concurrent.map(i128::from)),
                ("max_tokens", limits.max_tokens.map(i128::from)),
            ]
        };
        let (most, before) = (numbers(&group.limits), numbers(before));
        let after = numbers(after).into_iter().zip(before).zip(most);
        for (((name, after), (_, before)), (_, most)) in after {
            let is_above = after.zip(most).is_some_and(|(after, most)| after > most);
            if is_above && after != before {
                self.demand_admin(format!("a {name} above that of the group {}", group.name))?;
            }
        }
        Ok(())
    }
}
