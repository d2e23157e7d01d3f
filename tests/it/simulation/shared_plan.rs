//! What is going to happen in a history of several leaders on one database.

use std::time::Duration;

use super::dice::Dice;

/// One thing that goes wrong, or right again. The first number names a follower, or a leader where the kind says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    KillFollower(usize),
    StopFollower(usize),
    StartFollower(usize),
    /// From all leaders.
    Cut(usize),
    /// From one of them.
    CutFrom(usize, usize),
    Mend(usize),
    MendAll,
    KillLeader(usize),
    StartLeader(usize),
    /// As `kill -STOP`.
    PauseLeader(usize),
    ResumeLeader(usize),
    /// A leader does not reach the database any more.
    CutFromDatabase(usize),
    MendDatabase,
    /// A standby takes the database's place that lacks so many commits.
    FailOver(usize),
    Administer(usize),
    Drain(usize, usize),
    Retention(usize),
    FollowerRetention(usize),
}

/// After a pause, an event.
pub type Step = (Duration, Event);

/// The longest between two events.
const PAUSE_MILLIS: u64 = 3_000;
/// How often each kind comes, in the order of the list.
const USUAL: [u64; 18] = [6, 4, 12, 5, 6, 7, 4, 7, 12, 5, 9, 5, 8, 5, 4, 2, 2, 2];
/// What brings nodes and lines back is always there.
const RECOVERIES: [usize; 6] = [2, 5, 6, 8, 10, 12];
/// The most commits that a standby lacks.
pub const BEHIND_MAX: u64 = 5;

/// What one seed decides beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    pub leaders: usize,
    pub followers: usize,
    pub steps: Vec<Step>,
}

impl Plan {
    pub fn new(seed: u64, lasts: Duration) -> Self {
        let mut dice = Dice::new(seed ^ 0x5A4E);
        let small = |number: u64| usize::try_from(number).expect("small");
        let (leaders, followers) = (small(dice.between(1, 5)), small(dice.between(1, 6)));
        let weights: Vec<u64> = USUAL
            .iter()
            .enumerate()
            .map(|(kind, usual)| {
                let drawn = usual * [0, 1, 2, 4][small(dice.between(0, 4))];
                if RECOVERIES.contains(&kind) { drawn.max(*usual) } else { drawn }
            })
            .collect();
        let mut steps = Vec::new();
        let mut passed = Duration::ZERO;
        while passed < lasts {
            let pause = Duration::from_millis(dice.between(1, PAUSE_MILLIS));
            passed += pause;
            let kind = dice.weighted(&weights);
            let follower = small(dice.between(0, followers as u64));
            let leader = small(dice.between(0, leaders as u64));
            let commits = small(dice.between(1, BEHIND_MAX + 1));
            steps.push((pause, event(kind, follower, leader, commits)));
        }
        Self { leaders, followers, steps }
    }

    /// The plan without the steps `from..to`.
    pub fn without(&self, from: usize, to: usize) -> Self {
        let steps = self.steps.iter().enumerate().filter(|(at, _)| !(from..to).contains(at));
        Self { steps: steps.map(|(_, step)| *step).collect(), ..self.clone() }
    }
}

fn event(kind: usize, follower: usize, leader: usize, commits: usize) -> Event {
    match kind {
        0 => Event::KillFollower(follower),
        1 => Event::StopFollower(follower),
        2 => Event::StartFollower(follower),
        3 => Event::Cut(follower),
        4 => Event::CutFrom(follower, leader),
        5 => Event::Mend(follower),
        6 => Event::MendAll,
        7 => Event::KillLeader(leader),
        8 => Event::StartLeader(leader),
        9 => Event::PauseLeader(leader),
        10 => Event::ResumeLeader(leader),
        11 => Event::CutFromDatabase(leader),
        12 => Event::MendDatabase,
        13 => Event::FailOver(commits),
        14 => Event::Administer(leader),
        15 => Event::Drain(follower, leader),
        16 => Event::Retention(leader),
        _ => Event::FollowerRetention(follower),
    }
}
