//! A condition that holds on, as a pure rule: it is told when it has held for some time, and told to be over when it has been
//! otherwise for some time. What flaps in between is told once.

use std::time::{Duration, Instant};

/// What is known of one condition.
#[derive(Clone, Debug, Default)]
pub(super) struct Episode {
    /// What was told when it began; `None`: it is not known to hold.
    told: Option<String>,
    /// Since when it is otherwise than was told.
    otherwise_since: Option<Instant>,
    /// When it was last otherwise than was told.
    last_otherwise: Option<Instant>,
}

/// What is to be told now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Began,
    /// It is over; this was told when it began.
    Ended(String),
}

/// What has changed is still taken for changed if it was back for no longer than this: a target that cools down is tried now
/// and then.
const GAP_MAX: Duration = Duration::from_secs(5);

impl Episode {
    /// One that an earlier process told of.
    pub(super) fn told_before(key: String) -> Self {
        Self { told: Some(key), ..Self::default() }
    }

    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// The condition holds now, or does not; says whether that is to be told, since it has been so for `after`. Whoever has
    /// told it says so by [`Self::began`] or [`Self::ended`]; until then it is said again.
    pub(super) fn step(&mut self, holds: bool, after: Duration, now: Instant) -> Option<Turn> {
        let is_otherwise = holds != self.told.is_some();
        if !is_otherwise {
            let gap = self.last_otherwise.map(|last| now.saturating_duration_since(last));
            if gap.is_none_or(|gap| gap >= GAP_MAX.min(after)) {
                self.otherwise_since = None;
            }
            return None;
        }
        self.last_otherwise = Some(now);
        let since = *self.otherwise_since.get_or_insert(now);
        if now.saturating_duration_since(since) < after {
            return None;
        }
        Some(self.told.clone().map_or(Turn::Began, Turn::Ended))
    }

    /// It was told, by this key, that it began.
    pub(super) fn began(&mut self, key: String) {
        *self = Self::told_before(key);
    }

    /// It was told that it is over.
    pub(super) fn ended(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(30);

    #[test]
    fn what_holds_long_enough_is_told_once_and_so_is_its_end() {
        let (start, mut episode) = (Instant::now(), Episode::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(episode.step(true, AFTER, at(0)), None);
        assert_eq!(episode.step(true, AFTER, at(29)), None);
        assert_eq!(episode.step(true, AFTER, at(30)), Some(Turn::Began));
        assert_eq!(episode.step(true, AFTER, at(31)), Some(Turn::Began), "nobody could be told");
        episode.began("key".to_owned());
        assert_eq!(episode.step(true, AFTER, at(90)), None);
        assert_eq!(episode.step(false, AFTER, at(100)), None);
        assert_eq!(episode.step(false, AFTER, at(130)), Some(Turn::Ended("key".to_owned())));
        episode.ended();
        assert_eq!(episode.step(false, AFTER, at(500)), None);
    }

    #[test]
    fn what_flaps_is_not_told_and_a_short_gap_is_no_recovery() {
        let (start, mut episode) = (Instant::now(), Episode::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..100 {
            let holds = second % 20 < 10;
            assert_eq!(episode.step(holds, AFTER, at(second)), None, "ten seconds on, ten off");
        }
        let mut told = None;
        for second in 100..140 {
            told = told.or(episode.step(second % 10 != 5, AFTER, at(second)));
        }
        assert_eq!(told, Some(Turn::Began), "one good second in ten");
    }

    #[test]
    fn without_patience_every_turn_is_told() {
        let (now, mut episode) = (Instant::now(), Episode::default());
        assert_eq!(episode.step(true, Duration::ZERO, now), Some(Turn::Began));
        episode.began("k".to_owned());
        assert_eq!(episode.step(false, Duration::ZERO, now), Some(Turn::Ended("k".to_owned())));
    }
}
