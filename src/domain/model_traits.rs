//! What a model can take and give, as far as a call has to be shaped for it.

use serde::{Deserialize, Serialize};

/// What is known of a model. What is not known is taken for possible: a provider's own refusal says more than a guess.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct ModelTraits {
    /// The most tokens of input and output together.
    pub context_tokens: Option<u64>,
    /// The most tokens of one answer, reasoning included.
    pub max_output_tokens: Option<u64>,
    pub tools: bool,
    pub images: bool,
    /// PDF files.
    pub documents: bool,
    pub reasoning: Reasoning,
    /// It cannot be told not to think, and so not which tool to call.
    pub always_thinks: bool,
    /// Whether `temperature` and `top_p` are taken.
    pub sampling: bool,
    /// Whether a request may say where a prompt cache is to end.
    pub cache_breakpoints: bool,
}

impl Default for ModelTraits {
    fn default() -> Self {
        Self {
            context_tokens: None,
            max_output_tokens: None,
            tools: true,
            images: true,
            documents: true,
            reasoning: Reasoning::Unknown,
            always_thinks: false,
            sampling: true,
            cache_breakpoints: false,
        }
    }
}

impl ModelTraits {
    /// What holds for both: a call under one name may come to either.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let fewer = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self {
            context_tokens: fewer(self.context_tokens, other.context_tokens),
            max_output_tokens: fewer(self.max_output_tokens, other.max_output_tokens),
            tools: self.tools && other.tools,
            images: self.images && other.images,
            documents: self.documents && other.documents,
            reasoning: self.reasoning.and(&other.reasoning),
            always_thinks: self.always_thinks || other.always_thinks,
            sampling: self.sampling && other.sampling,
            cache_breakpoints: self.cache_breakpoints && other.cache_breakpoints,
        }
    }
}

/// How a model is told how much to think.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reasoning {
    /// Nobody knows; what the caller asks for is passed on as it is.
    #[default]
    Unknown,
    /// It does not.
    None,
    /// By one of these words, in ascending order.
    Effort(Vec<Effort>),
    /// By a number of tokens.
    Budget,
}

/// How much a model is to think, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl Effort {
    pub const ALL: [Self; 7] =
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::Xhigh, Self::Max];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The effort of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.as_str() == name)
    }

    /// The effort that a budget of thinking tokens amounts to.
    #[must_use]
    pub fn of_budget(tokens: u64) -> Self {
        match tokens {
            0 => Self::None,
            1..4_000 => Self::Low,
            4_000..16_000 => Self::Medium,
            _ => Self::High,
        }
    }

    /// The budget of thinking tokens that the effort amounts to; 0 for none.
    #[must_use]
    pub fn budget(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 1_024,
            Self::Low => 2_048,
            Self::Medium => 8_192,
            Self::High => 24_576,
            Self::Xhigh | Self::Max => 32_768,
        }
    }
}

impl Reasoning {
    fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Effort(one), Self::Effort(other)) => {
                let both: Vec<_> = one.iter().copied().filter(|effort| other.contains(effort)).collect();
                if both.is_empty() { Self::Unknown } else { Self::Effort(both) }
            }
            (one, other) if one == other => one.clone(),
            _ => Self::Unknown,
        }
    }

    /// The effort that the model takes which is nearest to `asked`: the next lower one, else its lowest that is not
    /// less than asked. `None` where it takes no effort at all.
    #[must_use]
    pub fn nearest(&self, asked: Effort) -> Option<Effort> {
        match self {
            Self::Unknown => Some(asked),
            Self::None | Self::Budget => None,
            Self::Effort(taken) => {
                let lower = taken.iter().copied().filter(|effort| *effort <= asked).max();
                lower.or_else(|| taken.iter().copied().min())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effort_that_a_model_does_not_take_becomes_the_nearest_it_does() {
        let model = Reasoning::Effort(vec![Effort::Low, Effort::Medium, Effort::High]);
        for (asked, expected) in [
            (Effort::None, Effort::Low),
            (Effort::Minimal, Effort::Low),
            (Effort::Medium, Effort::Medium),
            (Effort::Max, Effort::High),
        ] {
            assert_eq!(model.nearest(asked), Some(expected), "{asked:?}");
        }
        assert_eq!(Reasoning::None.nearest(Effort::High), None);
        assert_eq!(Reasoning::Unknown.nearest(Effort::Xhigh), Some(Effort::Xhigh));
    }

    #[test]
    fn what_holds_for_two_models_is_what_both_can_do() {
        let one = ModelTraits {
            context_tokens: Some(200),
            reasoning: Reasoning::Effort(vec![Effort::Low, Effort::High, Effort::Max]),
            ..ModelTraits::default()
        };
        let other = ModelTraits {
            context_tokens: Some(100),
            max_output_tokens: Some(10),
            images: false,
            reasoning: Reasoning::Effort(vec![Effort::None, Effort::Low, Effort::High]),
            ..ModelTraits::default()
        };
        let both = one.and(&other);
        assert_eq!((both.context_tokens, both.max_output_tokens), (Some(100), Some(10)));
        assert!(both.tools && !both.images);
        assert_eq!(both.reasoning, Reasoning::Effort(vec![Effort::Low, Effort::High]));
        let third = ModelTraits { reasoning: Reasoning::Budget, ..ModelTraits::default() };
        assert_eq!(both.and(&third).reasoning, Reasoning::Unknown);
        assert_eq!(both.and(&both), both);
    }

    #[test]
    fn a_budget_made_of_an_effort_is_that_effort_again() {
        for effort in [Effort::None, Effort::Low, Effort::Medium, Effort::High] {
            assert_eq!(Effort::of_budget(effort.budget()), effort);
        }
    }
}
