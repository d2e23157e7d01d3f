//! What the leader refused of a follower's usage: offered again, or given up.

use super::FollowerService;
use crate::domain::failure::Failure;
use crate::domain::summary::Dismissed;

impl FollowerService {
    /// Offers the leader again what it refused; how many logs.
    pub async fn retry_rejected(&self) -> Result<u64, Failure> {
        Ok(self.inner.context.ledger.retry_set_aside().await?)
    }

    /// What the leader refused, added up.
    pub async fn rejected(&self) -> Result<Dismissed, Failure> {
        Ok(self.inner.context.ledger.sum_set_aside().await?)
    }

    /// Gives up what the leader refused. The leader hears of it in the next heartbeat, as of a debt that has become smaller.
    /// What is given up is added to `sum`, also when the rest cannot be.
    pub async fn dismiss_rejected(&self, sum: &mut Dismissed) -> Result<(), Failure> {
        let context = &self.inner.context;
        let done = context.ledger.dismiss_set_aside(context.clock.now(), sum).await;
        let Dismissed { logs, input_tokens, output_tokens, cost_nanousd } = *sum;
        if logs > 0 {
            tracing::warn!(
                logs,
                input_tokens,
                output_tokens,
                cost_nanousd,
                "an admin gave up usage logs that the leader refused: they are in no total"
            );
        }
        Ok(done?)
    }
}
