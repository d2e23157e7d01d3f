//! Whether a leader takes the state of a follower: only a leader that has lost its own. Pure.

use std::time::Duration;

use crate::cluster::state::{Origin, State};
use crate::domain::clock::Timestamp;
use crate::domain::ids::LedgerId;

/// So long after its creation a ledger that was changed already, because an admin was faster than the followers, still
/// takes a follower's state, beside its own.
const YOUNG_FOR: Duration = Duration::from_hours(1);

/// What a leader's state goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it holds now.
    pub origin: Origin,
    /// The version that it had when it was created, or had just adopted. Still the same: nobody has changed anything.
    pub untouched: u64,
    /// The version of what was adopted, within `origin.adopted`.
    pub adopted_version: u64,
}

/// How a follower's state is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// In place of one's own, which nobody has worked on.
    Replace,
    /// Beside one's own. Where both have a name, the follower's stays.
    Merge,
}

impl Standing {
    /// Whether a leader of this standing takes what a follower offers, and how.
    #[must_use]
    pub fn adopts(&self, ledger: LedgerId, version: u64, now: Timestamp) -> Option<Adoption> {
        if ledger == self.origin.ledger || version == 0 {
            return None;
        }
        let untouched = self.origin.version == self.untouched;
        match self.origin.adopted {
            // Another follower of the same lost leader knows more than the first one did.
            Some(adopted) if adopted == ledger && untouched && version > self.adopted_version => {
                Some(Adoption::Replace)
            }
            None if untouched => Some(Adoption::Replace),
            None if now.since(created_at(self.origin.ledger)) < YOUNG_FOR => Some(Adoption::Merge),
            Some(_) | None => None,
        }
    }
}

/// When a ledger was created: its id is a UUIDv7.
fn created_at(ledger: LedgerId) -> Timestamp {
    let (seconds, nanos) = ledger.0.get_timestamp().map_or((0, 0), |at| at.to_unix());
    let micros = i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000);
    Timestamp::from_micros(micros.saturating_add(i64::from(nanos / 1_000)))
}

/// What a leader holds after the adoption of `offered`.
#[must_use]
pub fn adopted(own: &State, offered: State, how: Adoption) -> State {
    let mut result = offered;
    // Tokens that the leader has signed since it started stay valid, and so do those of the lost leader.
    result.token_keys.extend(&own.token_keys);
    if how == Adoption::Replace {
        return result;
    }
    for (id, group) in &own.groups {
        if result.groups.values().all(|other| other.name != group.name) {
            result.groups.entry(*id).or_insert_with(|| group.clone());
        }
    }
    for (id, user) in &own.users {
        if result.users.values().all(|other| other.name != user.name) {
            let mut user = user.clone();
            user.group_id = user.group_id.filter(|group| result.groups.contains_key(group));
            result.users.entry(*id).or_insert(user);
        }
    }
    for (id, key) in &own.keys {
        if result.users.contains_key(&key.user_id) {
            result.keys.entry(*id).or_insert_with(|| key.clone());
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::group::{Group, Limits};
    use crate::domain::ids::GroupId;

    fn standing(version: u64, untouched: u64, adopted: Option<(LedgerId, u64)>) -> Standing {
        let ledger = LedgerId::new();
        let origin = Origin { ledger, version, adopted: adopted.map(|(ledger, _)| ledger) };
        Standing { origin, untouched, adopted_version: adopted.map_or(0, |(_, version)| version) }
    }

    #[test]
    fn only_a_leader_without_a_past_takes_what_a_follower_offers() {
        let lost = LedgerId::new();
        let fresh = standing(1, 1, None);
        let now = created_at(fresh.origin.ledger);
        let later = now.plus(YOUNG_FOR);
        assert_eq!(fresh.adopts(lost, 7, later), Some(Adoption::Replace));
        assert_eq!(fresh.adopts(lost, 0, now), None, "the follower has nothing");
        assert_eq!(fresh.adopts(fresh.origin.ledger, 7, now), None, "its own");
        let worked_on = standing(2, 1, None);
        assert_eq!(worked_on.adopts(lost, 7, now), Some(Adoption::Merge), "an admin was faster");
        assert_eq!(
            worked_on.adopts(lost, 7, later),
            None,
            "an established cluster takes no stranger's users"
        );
    }

    #[test]
    fn the_newest_state_of_the_lost_leader_wins_until_somebody_works_on_it() {
        let (lost, foreign) = (LedgerId::new(), LedgerId::new());
        let adopted = standing(8, 8, Some((lost, 7)));
        let now = created_at(adopted.origin.ledger);
        assert_eq!(adopted.adopts(lost, 9, now), Some(Adoption::Replace));
        assert_eq!(adopted.adopts(lost, 7, now), None);
        assert_eq!(adopted.adopts(foreign, 9, now), None);
        assert_eq!(standing(9, 8, Some((lost, 7))).adopts(lost, 9, now), None);
    }

    #[test]
    fn a_merge_keeps_both_and_the_followers_where_names_clash() {
        let at = Timestamp::from_micros(1);
        let group = |name: &str| {
            let id = GroupId::new();
            (
                id,
                Group {
                    id,
                    name: name.to_owned(),
                    limits: Limits::default(),
                    created_at: at,
                    updated_at: at,
                },
            )
        };
        let (theirs, ours, only_ours) = (group("research"), group("research"), group("new"));
        let offered =
            State { groups: [theirs.clone()].into(), token_keys: [[1; 32]].into(), ..State::default() };
        let own = State {
            groups: [ours, only_ours.clone()].into(),
            token_keys: [[2; 32]].into(),
            ..State::default()
        };
        let merged = adopted(&own, offered.clone(), Adoption::Merge);
        assert_eq!(merged.groups, [theirs.clone(), only_ours].into());
        assert_eq!(merged.token_keys.len(), 2);
        assert_eq!(adopted(&own, offered, Adoption::Replace).groups, [theirs].into());
    }
}
