//! What the books hold, as counters: tokens by class and cost, by the model that used them; by option by user, too.

use std::fmt;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::domain::plain_name::plain_name;
use crate::domain::provider::Provider;
use crate::domain::tokens::Tokens;
use crate::domain::usage::UsageRecord;
use crate::telemetry::NamedCounters;

/// Models of one provider that are told apart; the rest is `other`.
const MODELS_MAX: usize = 100;
/// Users that are told apart.
const USERS_MAX: usize = 1_000;

/// Classes of tokens, none of which is part of another: together they are all.
const CLASSES: [&str; 5] = ["input", "cache_read", "cache_write", "output", "reasoning"];
/// The classes, and the cost in nano-USD.
const COUNTS: usize = CLASSES.len() + 1;
const COST: usize = CLASSES.len();

#[derive(Debug)]
pub(super) struct UsageMetrics {
    models: [NamedCounters<COUNTS>; Provider::ALL.len()],
    users: Option<NamedCounters<COUNTS>>,
}

impl UsageMetrics {
    pub(super) fn new(users: bool) -> Self {
        Self {
            models: Provider::ALL.map(|_| NamedCounters::of_at_most(MODELS_MAX)),
            users: users.then(|| NamedCounters::of_at_most(USERS_MAX)),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let of_models = |shown| OfModels { models: self.models.clone(), shown };
        registry.register(
            "sproxy_tokens",
            "Tokens in the books; classes do not overlap",
            of_models(Shown::Tokens),
        );
        registry.register("sproxy_cost_nanousd", "Cost in the books, in nano-USD", of_models(Shown::Cost));
        if let Some(users) = &self.users {
            let of_users = |shown| OfUsers { users: users.clone(), shown };
            registry.register("sproxy_user_tokens", "Tokens in the books, by user", of_users(Shown::Tokens));
            let help = "Cost in the books by user, in nano-USD";
            registry.register("sproxy_user_cost_nanousd", help, of_users(Shown::Cost));
        }
    }

    /// Counts what a record holds. Names of models that used nothing are not kept: any caller can make them up.
    pub(super) fn settled(&self, record: &UsageRecord) {
        let cost = nanousd(record.cost_nanousd);
        if cost == 0 && record.tokens.total() == 0 {
            return;
        }
        if let Some(of_provider) = self.models.get(record.provider as usize) {
            let mut own_cost = cost;
            for attempt in record.attempts.iter().filter(|attempt| attempt.cost_nanousd > 0) {
                let cost = nanousd(attempt.cost_nanousd);
                own_cost = own_cost.saturating_sub(cost);
                of_provider.add(plain_name(&attempt.model), counts(Tokens::default(), cost));
            }
            if record.parts.is_empty() {
                of_provider.add(plain_name(&record.actual_model), counts(record.tokens, own_cost));
            }
            for part in &record.parts {
                of_provider.add(plain_name(&part.model), counts(part.tokens(), nanousd(part.cost_nanousd)));
            }
        }
        if let Some(users) = &self.users {
            users.add(&record.user, counts(record.tokens, cost));
        }
    }
}

fn nanousd(cost: i64) -> u64 {
    u64::try_from(cost).unwrap_or(0)
}

fn counts(tokens: Tokens, cost: u64) -> [u64; COUNTS] {
    let cache_write = tokens.cache_write.saturating_add(tokens.cache_write_1h);
    [
        tokens.input.saturating_sub(tokens.cache_read.saturating_add(cache_write)),
        tokens.cache_read,
        cache_write,
        tokens.output.saturating_sub(tokens.reasoning),
        tokens.reasoning,
        cost,
    ]
}

#[derive(Clone, Copy, Debug)]
enum Shown {
    Tokens,
    Cost,
}

impl Shown {
    /// A sample for each class that was counted, or for the cost.
    fn encode(
        self,
        encoder: &mut MetricEncoder<'_>,
        labels: &[(&str, &str)],
        counts: &[u64; COUNTS],
    ) -> fmt::Result {
        let mut sample = |labels: &[(&str, &str)], count: u64| {
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
        };
        match self {
            Self::Cost => sample(labels, counts[COST]),
            Self::Tokens => {
                let counted = CLASSES.iter().zip(counts).filter(|(_, count)| **count > 0);
                counted.into_iter().try_for_each(|(class, count)| {
                    let mut labels = labels.to_vec();
                    labels.push(("class", class));
                    sample(&labels, *count)
                })
            }
        }
    }
}

#[derive(Debug)]
struct OfModels {
    models: [NamedCounters<COUNTS>; Provider::ALL.len()],
    shown: Shown,
}

impl EncodeMetric for OfModels {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (provider, models) in Provider::ALL.into_iter().zip(&self.models) {
            for (model, counts) in models.now() {
                let labels = [("provider", provider.as_str()), ("model", &*model)];
                self.shown.encode(&mut encoder, &labels, &counts)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

#[derive(Debug)]
struct OfUsers {
    users: NamedCounters<COUNTS>,
    shown: Shown,
}

impl EncodeMetric for OfUsers {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (user, counts) in self.users.now() {
            self.shown.encode(&mut encoder, &[("user", &*user)], &counts)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}
