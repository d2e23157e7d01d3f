//! The names that were given to nodes without one, until these register by them. Pure.
//!
//! Giving a name makes no peer. A node asks over a network that may bring its question twice, or long after it has its
//! name and runs anew; such a copy costs a number, and numbers there are enough of.

use std::time::Duration;

use crate::cluster::leader::registry::{Error, Registry, UNCLAIMED_MAX};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{InstanceId, NodeId};

/// So long a given name counts among [`UNCLAIMED_MAX`]. A node that comes later still has it: it is nobody else's.
pub const NAME_RESERVATION_TTL: Duration = Duration::from_mins(1);

/// A node that wants a name.
#[derive(Clone, Debug)]
pub struct UnnamedNode {
    /// This run of its process.
    pub instance: InstanceId,
    /// Earlier runs on the same data directory.
    pub former: Vec<InstanceId>,
}

impl UnnamedNode {
    /// Whether `instance` is this run of the node or an earlier one.
    #[must_use]
    pub fn is_or_was(&self, instance: InstanceId) -> bool {
        self.instance == instance || self.former.contains(&instance)
    }
}

/// The names that were given and are still to be registered.
#[derive(Debug, Default)]
pub struct NameReservations {
    reserved: Vec<Reservation>,
}

#[derive(Debug)]
struct Reservation {
    instance: InstanceId,
    id: NodeId,
    at: Timestamp,
}

impl NameReservations {
    /// The name that the node has or was given already: an answer that got lost costs no second one.
    #[must_use]
    pub fn find(&self, node: &UnnamedNode, registry: &Registry) -> Option<NodeId> {
        let reserved = || self.reserved.iter().find(|name| node.is_or_was(name.instance));
        registry
            .find_by_instance(|instance| node.is_or_was(instance))
            .or_else(|| reserved().map(|name| name.id.clone()))
    }

    /// Whether one more name may be given now.
    ///
    /// # Errors
    /// As [`Registry::may_assign_name`]; [`Error::Unclaimed`] while too many wait for their nodes.
    pub fn check_room(&mut self, registry: &Registry, now: Timestamp) -> Result<(), Error> {
        registry.may_assign_name(now)?;
        self.reserved.retain_mut(|name| {
            // Nothing was given later than now: the clock was ahead.
            name.at = name.at.min(now);
            now.since(name.at) < NAME_RESERVATION_TTL && !registry.knows(&name.id)
        });
        if self.reserved.len() < UNCLAIMED_MAX { Ok(()) } else { Err(Error::Unclaimed) }
    }

    /// Notes that the node was given a name.
    pub fn reserve(&mut self, node: &UnnamedNode, id: NodeId, now: Timestamp) {
        self.reserved.push(Reservation { instance: node.instance, id, at: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::leader::registry::SETTLING;
    use crate::cluster::registration::Registration;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
    }

    fn id(number: usize) -> NodeId {
        format!("sp-{number}").parse().expect("a node id")
    }

    fn nameless() -> UnnamedNode {
        UnnamedNode { instance: InstanceId::new(), former: Vec::new() }
    }

    fn comes(registry: &mut Registry, id: NodeId, instance: InstanceId, former: &[InstanceId], second: i64) {
        let node = Registration {
            node_id: id,
            instance,
            former: former.to_vec(),
            former_names: Vec::new(),
            led_ledger: None,
            addr: "http://elsewhere:9000".to_owned(),
            weight: 50,
            version: "1.0.0".to_owned(),
            leads_at: None,
        };
        registry.register(node, at(second)).expect("its own name");
    }

    fn registry() -> Registry {
        Registry::new(id(1), Duration::from_secs(5), Vec::new(), at(0))
    }

    #[test]
    fn a_node_is_given_the_same_name_again_when_the_answer_got_lost_or_it_was_killed() {
        let (mut registry, mut names) = (registry(), NameReservations::default());
        let node = nameless();
        names.check_room(&registry, at(10)).expect("room");
        names.reserve(&node, id(2), at(10));
        assert_eq!(names.find(&node, &registry), Some(id(2)));
        let restarted = UnnamedNode { former: vec![node.instance], ..nameless() };
        assert_eq!(names.find(&restarted, &registry), Some(id(2)));
        assert_eq!(names.find(&nameless(), &registry), None);
        comes(&mut registry, id(2), node.instance, &[], 11);
        names.check_room(&registry, at(12)).expect("room");
        assert_eq!(names.find(&node, &registry), Some(id(2)), "asked twice, and it has come since");
    }

    #[test]
    fn a_question_that_comes_after_its_run_was_replaced_makes_no_peer() {
        let (mut registry, mut names) = (registry(), NameReservations::default());
        let (node, second) = (nameless(), InstanceId::new());
        names.reserve(&node, id(2), at(10));
        comes(&mut registry, id(2), node.instance, &[], 11);
        comes(&mut registry, id(2), second, &[node.instance], 30);
        names.check_room(&registry, at(40)).expect("room");
        assert_eq!(names.find(&node, &registry), None, "nobody knows it any more");
        names.reserve(&node, id(3), at(40));
        let peers: Vec<_> = registry.peers().into_iter().map(|peer| (peer.id, peer.instance_id)).collect();
        assert_eq!(peers, [(id(2), Some(second))]);
    }

    #[test]
    fn so_many_names_wait_for_their_nodes_and_no_more_until_one_comes_or_a_minute_is_over() {
        let (mut registry, mut names) = (registry(), NameReservations::default());
        let mut first = None;
        for number in 2..2 + UNCLAIMED_MAX {
            let node = nameless();
            first.get_or_insert(node.instance);
            names.check_room(&registry, at(10)).expect("room");
            names.reserve(&node, id(number), at(10));
        }
        assert_eq!(names.check_room(&registry, at(10)), Err(Error::Unclaimed));
        comes(&mut registry, id(2), first.expect("many"), &[], 11);
        names.check_room(&registry, at(12)).expect("one came");
        names.reserve(&nameless(), id(100), at(12));
        assert_eq!(names.check_room(&registry, at(69)), Err(Error::Unclaimed));
        names.check_room(&registry, at(70)).expect("a minute is over");
    }

    #[test]
    fn a_clock_that_was_ahead_lets_no_name_wait_for_longer() {
        let (registry, mut names) = (registry(), NameReservations::default());
        for number in 2..2 + UNCLAIMED_MAX {
            names.reserve(&nameless(), id(number), at(86_400));
        }
        assert_eq!(names.check_room(&registry, at(10)), Err(Error::Unclaimed));
        names.check_room(&registry, at(70)).expect("a minute is over");
    }

    #[test]
    fn a_leader_that_may_have_lost_its_disk_gives_no_name_before_its_owner_could_come_back() {
        let mut fresh = registry();
        assert_eq!(
            NameReservations::default().check_room(&fresh, at(4)),
            Err(Error::Settling(at(0).plus(SETTLING)))
        );
        comes(&mut fresh, id(7), InstanceId::new(), &[], 4);
        NameReservations::default().check_room(&fresh, at(5)).expect("settled");
        assert_eq!(fresh.highest_number(), 7);
        let restarted = Registry::new(id(1), Duration::from_secs(5), fresh.kept(), at(100));
        NameReservations::default().check_room(&restarted, at(100)).expect("it has a past");
        assert_eq!(restarted.highest_number(), 7);
        let ahead = Registry::new(id(1), Duration::from_secs(5), Vec::new(), at(86_400));
        NameReservations::default().check_room(&ahead, at(0)).expect("its clock was ahead");
    }
}
