//! Whether a leader takes the state of a follower: only a leader that has lost its own. Pure.

use std::time::Duration;

use crate::cluster::state::{Origin, State};
use crate::domain::clock::Timestamp;
use crate::domain::ids::LedgerId;

/// So long after its creation a ledger that was changed already, because an admin was faster than the followers, still
/// takes followers' states, beside its own.
const YOUNG_FOR: Duration = Duration::from_hours(1);

/// How long a ledger has been there. What the clock said when the process started, and from there on what it went ahead
/// between two looks, as far as that can be true: a clock that is set while a leader waits for its followers neither ends
/// that time nor prolongs it.
#[derive(Clone, Copy, Debug)]
pub struct Age {
    age: Duration,
    looked: Timestamp,
}

impl Age {
    /// That of `ledger` at the start of a process.
    #[must_use]
    pub fn of(ledger: LedgerId, now: Timestamp) -> Self {
        Self { age: now.since(created_at(ledger)), looked: now }
    }

    /// Another look, not more than `longest` after the one before. Returns the age.
    pub fn look(&mut self, now: Timestamp, longest: Duration) -> Duration {
        self.age += now.since(self.looked).min(longest);
        self.looked = now;
        self.age
    }
}

/// What a leader's state goes back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it holds now.
    pub origin: Origin,
    /// The version that it had when it was created, or had just taken a follower's state in place of its own. Still
    /// the same: nobody has worked on it.
    pub untouched: u64,
    /// Whose state it took last, and of which version.
    pub adopted: Option<(LedgerId, u64)>,
}

/// How a follower's state is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// In place of one's own, which nobody has worked on.
    Replace,
    /// Beside one's own. Where both have a name, the follower's stays.
    Merge,
    /// Not at all, but it is of the same family: from now on the leader's own goes for its successor.
    Supersede,
}

impl Standing {
    /// Whether a leader of this standing, whose ledger is so old, takes what a follower offers, and how. `offered` need say
    /// no more than whose state it is, how new, and what it goes back to.
    #[must_use]
    pub fn adopts(&self, offered: &Origin, age: Duration) -> Option<Adoption> {
        let own = &self.origin;
        if offered.ledger == own.ledger || offered.version == 0 || offered.blank {
            return None;
        }
        let untouched = own.version == self.untouched;
        if own.lineage.contains(&offered.ledger) {
            // Another follower of the same lost leader may know more than the first one did.
            let (ledger, version) = self.adopted?;
            let newer = untouched && ledger == offered.ledger && offered.version > version;
            return newer.then_some(Adoption::Replace);
        }
        let descends = |(ledger, _): (LedgerId, u64)| offered.lineage.contains(&ledger);
        if untouched && (own.lineage.is_empty() || self.adopted.is_some_and(descends)) {
            return Some(Adoption::Replace);
        }
        if offered.lineage.iter().any(|ledger| own.lineage.contains(ledger) || *ledger == own.ledger) {
            return Some(Adoption::Supersede);
        }
        (age < YOUNG_FOR).then_some(Adoption::Merge)
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
    if how == Adoption::Supersede {
        return own.clone();
    }
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
        let lineage = adopted.iter().map(|(ledger, _)| *ledger).collect();
        let blank = adopted.is_none() && version == untouched;
        Standing { origin: Origin { ledger: LedgerId::new(), version, lineage, blank }, untouched, adopted }
    }

    fn offer(ledger: LedgerId, version: u64, lineage: &[LedgerId]) -> Origin {
        Origin { ledger, version, lineage: lineage.to_vec(), blank: false }
    }

    #[test]
    fn only_a_leader_without_a_past_takes_what_a_follower_offers() {
        let lost = offer(LedgerId::new(), 7, &[]);
        let fresh = standing(1, 1, None);
        let (now, later) = (Duration::ZERO, YOUNG_FOR);
        assert_eq!(fresh.adopts(&lost, later), Some(Adoption::Replace));
        assert_eq!(
            fresh.adopts(&Origin { blank: true, ..lost.clone() }, now),
            None,
            "the follower has nothing"
        );
        assert_eq!(fresh.adopts(&offer(fresh.origin.ledger, 7, &[]), now), None, "its own");
        let worked_on = standing(2, 1, None);
        assert_eq!(worked_on.adopts(&lost, now), Some(Adoption::Merge), "an admin was faster");
        assert_eq!(worked_on.adopts(&lost, later), None, "an established cluster takes no stranger's users");
    }

    #[test]
    fn the_newest_state_of_the_lost_leader_wins_until_somebody_works_on_it() {
        let (lost, child, foreign) = (LedgerId::new(), LedgerId::new(), LedgerId::new());
        let adopted = standing(8, 8, Some((lost, 7)));
        let later = YOUNG_FOR;
        assert_eq!(adopted.adopts(&offer(lost, 9, &[]), later), Some(Adoption::Replace));
        assert_eq!(adopted.adopts(&offer(lost, 7, &[]), later), None);
        assert_eq!(
            adopted.adopts(&offer(child, 2, &[lost]), later),
            Some(Adoption::Replace),
            "its successor"
        );
        assert_eq!(adopted.adopts(&offer(foreign, 9, &[]), later), None);
        let worked_on = standing(9, 8, Some((lost, 7)));
        assert_eq!(worked_on.adopts(&offer(lost, 9, &[]), later), None);
        assert_eq!(worked_on.adopts(&offer(child, 2, &[lost]), later), Some(Adoption::Supersede));
    }

    #[test]
    fn a_clock_that_is_set_makes_a_ledger_neither_old_nor_young() {
        let ledger = LedgerId::new();
        let start = created_at(ledger);
        let look = Duration::from_secs(15);
        let mut age = Age::of(ledger, start.plus(look));
        let ahead = start.plus(Duration::from_hours(48));
        assert_eq!(age.look(ahead, look), 2 * look, "it went no further than it can have");
        assert_eq!(age.look(start, look), 2 * look, "nor back");
        assert_eq!(age.look(start.plus(Duration::from_secs(5)), look), 2 * look + Duration::from_secs(5));
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
