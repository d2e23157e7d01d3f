//! What happens to the cluster: drawn from the dice alone, so that a seed repeats the plan. What the processes make of it
//! differs from run to run.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use super::dice::Dice;
use super::link::Mode;

/// One thing that happens. Nodes and links are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// SIGKILL, and started again after that long.
    Kill {
        node: usize,
        down: Duration,
    },
    /// SIGSTOP, and SIGCONT after that long.
    Pause {
        node: usize,
        lasts: Duration,
    },
    /// SIGTERM, and started again after that long.
    Leave {
        node: usize,
        down: Duration,
    },
    Link {
        link: usize,
        mode: Mode,
        lasts: Duration,
    },
    /// A node that owes nothing any more loses its disk.
    LoseDisk {
        node: usize,
    },
    /// The leader's SQLite is what it was that long before, while it had served nobody.
    Restore {
        node: usize,
        older: Duration,
    },
    RestartDatabase {
        crashes: bool,
    },
    StopDatabase {
        lasts: Duration,
    },
    /// A standby that lags that far behind takes the primary's place.
    FailOver {
        lag: Duration,
    },
}

/// Kinds of events, as they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// SIGKILL of a node
    Kill,
    /// SIGSTOP of a node
    Pause,
    /// SIGTERM of a node
    Leave,
    /// What links between nodes, and to the database, do
    Link,
    /// A synced node loses its disk
    Disk,
    /// The leader's SQLite is restored from a backup
    Restore,
    /// PostgreSQL is restarted or crashes
    Restart,
    /// PostgreSQL is away for a while
    Stop,
    /// PostgreSQL fails over to a standby that lags behind
    Failover,
}

impl Kind {
    /// Whether such events come at all.
    pub(super) fn comes(self, shape: &Shape) -> bool {
        match self {
            Self::Kill | Self::Pause | Self::Leave => true,
            Self::Link => !shape.links.is_empty(),
            Self::Disk => shape.is_on_postgres || shape.nodes > shape.leaders,
            Self::Restore => !shape.is_on_postgres,
            Self::Restart | Self::Stop | Self::Failover => shape.is_on_postgres,
        }
    }
}

/// What there is for events to happen to.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) nodes: usize,
    /// The first so many nodes lead.
    pub(super) leaders: usize,
    /// Whether each link leads to the database.
    pub(super) links: Vec<bool>,
    pub(super) is_on_postgres: bool,
}

impl Event {
    /// The next event of a kind that comes, and how long after the one before.
    pub(super) fn draw_only(only: Option<Kind>, dice: &mut Dice, shape: &Shape) -> (Duration, Self) {
        loop {
            let (pause, event) = Self::draw(dice, shape);
            if only.is_none_or(|kind| kind == event.asked_for_as()) {
                return (pause, event);
            }
        }
    }

    fn asked_for_as(&self) -> Kind {
        match self {
            Self::Kill { .. } => Kind::Kill,
            Self::Pause { .. } => Kind::Pause,
            Self::Leave { .. } => Kind::Leave,
            Self::Link { .. } => Kind::Link,
            Self::LoseDisk { .. } => Kind::Disk,
            Self::Restore { .. } => Kind::Restore,
            Self::RestartDatabase { .. } => Kind::Restart,
            Self::StopDatabase { .. } => Kind::Stop,
            Self::FailOver { .. } => Kind::Failover,
        }
    }

    /// The next event, and how long after the one before.
    fn draw(dice: &mut Dice, shape: &Shape) -> (Duration, Self) {
        let pause = dice.pause(0, 1_500);
        let node = dice.throw(shape.nodes);
        let (short, long) = (dice.pause(0, 3_000), dice.pause(200, 6_000));
        let event = match dice.throw(100) {
            25..37 => Self::Pause { node, lasts: long },
            37..48 => Self::Leave { node, down: short },
            48..85 if !shape.links.is_empty() => {
                let link = dice.throw(shape.links.len());
                let modes = [
                    Mode::Cut,
                    Mode::Stalled,
                    Mode::AnswersLost,
                    Mode::AnswersLost,
                    Mode::RequestsLost,
                    Mode::AllLost,
                ];
                let mode = match modes.get(dice.throw(modes.len())) {
                    // To a database the answer that matters is that of a commit.
                    Some(Mode::AnswersLost) if shape.links.get(link) == Some(&true) => Mode::CommitAnswerLost,
                    Some(mode) => *mode,
                    None => Mode::Cut,
                };
                Self::Link { link, mode, lasts: long }
            }
            85..91 if shape.is_on_postgres => Self::LoseDisk { node },
            // On SQLite the leader's disk is the books; a lost one is a matter of backups.
            85..91 if shape.nodes > shape.leaders => {
                Self::LoseDisk { node: shape.leaders + dice.throw(shape.nodes - shape.leaders) }
            }
            91..94 if shape.is_on_postgres => Self::RestartDatabase { crashes: dice.throw(2) == 1 },
            94..96 if shape.is_on_postgres => Self::StopDatabase { lasts: long },
            96..100 if shape.is_on_postgres => Self::FailOver { lag: long },
            96..100 => Self::Restore { node: 0, older: long },
            // The first quarter, and what there is nothing for.
            _ => Self::Kill { node, down: short },
        };
        (pause, event)
    }

    /// What kind it is, for the count.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill -9 of a node",
            Self::Pause { .. } => "SIGSTOP, later SIGCONT",
            Self::Leave { .. } => "SIGTERM and restart",
            Self::Link { mode, .. } => match mode {
                Mode::Open => "link opened",
                Mode::Stalled => "link at a standstill",
                Mode::AnswersLost => "acknowledgements lost",
                Mode::CommitAnswerLost => "answer to a commit lost",
                Mode::RequestsLost => "link deaf one way",
                Mode::AllLost => "link that loses everything",
                Mode::Cut => "link cut",
            },
            Self::LoseDisk { .. } => "disk of a synced node lost",
            Self::Restore { .. } => "leader restored from a backup",
            Self::RestartDatabase { crashes: false } => "PostgreSQL restarted",
            Self::RestartDatabase { crashes: true } => "PostgreSQL crashed",
            Self::StopDatabase { .. } => "PostgreSQL stopped for a while",
            Self::FailOver { .. } => "PostgreSQL failed over to a lagging standby",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self:?}", self.kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(is_on_postgres: bool) -> Shape {
        let leaders = if is_on_postgres { 3 } else { 1 };
        Shape { nodes: leaders + 2, leaders, links: vec![false, true, false], is_on_postgres }
    }

    fn plan(seed: u64, shape: &Shape) -> Vec<(Duration, Event)> {
        let mut dice = Dice::new(seed);
        (0..500).map(|_| Event::draw(&mut dice, shape)).collect()
    }

    #[test]
    fn a_seed_is_one_plan_and_another_seed_is_another() {
        for shape in [shape(false), shape(true)] {
            assert_eq!(plan(7, &shape), plan(7, &shape));
            assert_ne!(plan(7, &shape), plan(8, &shape));
        }
    }

    #[test]
    fn one_kind_alone_comes_where_there_is_something_for_it() {
        for shape in [shape(false), shape(true)] {
            for kind in Kind::value_variants().iter().filter(|kind| kind.comes(&shape)) {
                let mut dice = Dice::new(1);
                for _ in 0..20 {
                    let (_, event) = Event::draw_only(Some(*kind), &mut dice, &shape);
                    assert_eq!(event.asked_for_as(), *kind);
                }
            }
        }
        assert!(!Kind::Failover.comes(&shape(false)) && !Kind::Restore.comes(&shape(true)));
    }

    #[test]
    fn every_kind_of_event_comes_and_a_leader_on_sqlite_does_not_lose_its_disk() {
        let kinds = |shape: &Shape| {
            let mut kinds: Vec<_> = plan(1, shape).iter().map(|(_, event)| event.kind()).collect();
            kinds.sort_unstable();
            kinds.dedup();
            kinds
        };
        assert_eq!(kinds(&shape(false)).len(), 11, "{:?}", kinds(&shape(false)));
        assert_eq!(kinds(&shape(true)).len(), 14, "{:?}", kinds(&shape(true)));
        let lost =
            plan(1, &shape(false)).into_iter().filter(|(_, event)| *event == Event::LoseDisk { node: 0 });
        assert_eq!(lost.count(), 0);
    }
}
