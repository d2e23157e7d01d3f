//! Dice that fall the same way for the same seed.

/// xorshift64*.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // Neighbouring seeds begin alike; a few throws later they do not.
        for _ in 0..4 {
            dice.random();
        }
        dice
    }

    pub fn random(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `from..to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + (self.random() >> 8) % (to - from)
    }

    /// The place of one of `weights`, each as often as it weighs.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut at = self.between(0, weights.iter().sum());
        let chosen = weights.iter().position(|weight| match at.checked_sub(*weight) {
            Some(left) => {
                at = left;
                false
            }
            None => true,
        });
        chosen.unwrap_or_default()
    }
}
