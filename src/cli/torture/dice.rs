//! Chance that a seed repeats.

/// A small generator (`SplitMix64`).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `sides`, from 0; 0 where there are none.
    pub(super) fn throw(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll() % sides.max(1) as u64).unwrap_or(0)
    }

    /// Milliseconds from `least` to below `most`, short ones more often than long ones.
    pub(super) fn pause(&mut self, least: u64, most: u64) -> std::time::Duration {
        let span = most.saturating_sub(least).max(1);
        let first = self.roll() % span;
        std::time::Duration::from_millis(least + first.min(self.roll() % span))
    }
}
