//! What is going to happen in a history, drawn from its seed before it begins: so that a history which fails can be
//! played again with some of it left out.

use std::time::Duration;

use super::dice::Dice;

/// One thing that goes wrong, or right again. A number names a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    KillFollower(usize),
    StopFollower(usize),
    StartFollower(usize),
    Cut(usize),
    Mend(usize),
    CutAll,
    MendAll,
    KillLeader,
    StartLeader,
    LoseLeadersDisk,
    Backup,
    Restore,
    Administer,
    Drain(usize),
    Forget(usize),
    LeaderRetention,
    FollowerRetention(usize),
    LeaderLosesPower(usize),
    FollowerLosesPower(usize, usize),
    /// None: the leader's. Seconds.
    SetClock(Option<usize>, i64),
}

/// After a pause, an event.
pub type Step = (Duration, Event);

/// The longest between two events.
const PAUSE_MILLIS: u64 = 3_000;
/// So much of it with an even choice of kinds; more for what ends soon otherwise.
const KINDS: u64 = 20;

/// What one seed decides beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    pub followers: usize,
    pub steps: Vec<Step>,
}

impl Plan {
    /// `real`: a few followers, since each has a database of its own.
    pub fn new(seed: u64, lasts: Duration, real: bool) -> Self {
        let mut dice = Dice::new(seed ^ 0x91A4);
        let followers = match dice.between(0, 100) {
            _ if real => dice.between(1, 4),
            0..3 => dice.between(10, 31),
            _ => dice.between(1, 6),
        };
        let followers = usize::try_from(followers).expect("small");
        let weights: Vec<u64> = (0..KINDS).map(|kind| weight(kind, &mut dice)).collect();
        let mut steps = Vec::new();
        let mut passed = Duration::ZERO;
        while passed < lasts {
            let pause = Duration::from_millis(dice.between(1, PAUSE_MILLIS));
            passed += pause;
            let kind = dice.weighted(&weights);
            let n = usize::try_from(dice.between(0, followers as u64)).expect("small");
            steps.push((pause, event(kind, n, &mut dice)));
        }
        Self { followers, steps }
    }

    /// The plan without the steps `from..to`.
    pub fn without(&self, from: usize, to: usize) -> Self {
        let steps = self.steps.iter().enumerate().filter(|(at, _)| !(from..to).contains(at));
        Self { steps: steps.map(|(_, step)| *step).collect(), ..self.clone() }
    }
}

/// Each seed likes some kinds of events more than others, and some not at all.
fn weight(kind: u64, dice: &mut Dice) -> u64 {
    let usual = [8, 5, 14, 6, 8, 2, 3, 6, 8, 1, 2, 2, 5, 3, 2, 3, 2, 2, 2, 4];
    let usual = usual[usize::try_from(kind).expect("small")];
    // What brings nodes and lines back is always there.
    let least = u64::from(matches!(kind, 2 | 4 | 6 | 8));
    (usual * [0, 1, 2, 4][usize::try_from(dice.between(0, 4)).expect("small")]).max(least * usual)
}

fn event(kind: usize, n: usize, dice: &mut Dice) -> Event {
    let commits = usize::try_from(dice.between(1, 5)).expect("small");
    match kind {
        0 => Event::KillFollower(n),
        1 => Event::StopFollower(n),
        2 => Event::StartFollower(n),
        3 => Event::Cut(n),
        4 => Event::Mend(n),
        5 => Event::CutAll,
        6 => Event::MendAll,
        7 => Event::KillLeader,
        8 => Event::StartLeader,
        9 => Event::LoseLeadersDisk,
        10 => Event::Backup,
        11 => Event::Restore,
        12 => Event::Administer,
        13 => Event::Drain(n),
        14 => Event::Forget(n),
        15 => Event::LeaderRetention,
        16 => Event::FollowerRetention(n),
        17 => Event::LeaderLosesPower(commits),
        18 => Event::FollowerLosesPower(n, commits),
        _ => {
            let seconds = [0, 0, 30, -30, 3_600, -3_600, 2 * 86_400, 40 * 86_400];
            let seconds = seconds[usize::try_from(dice.between(0, seconds.len() as u64)).expect("small")];
            let whose = (dice.between(0, 3) > 0).then_some(n);
            Event::SetClock(whose, seconds)
        }
    }
}
