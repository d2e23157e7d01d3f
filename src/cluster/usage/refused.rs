//! What a leader refused of a node's usage: offered again, or given up.

use crate::domain::clock::Timestamp;
use crate::domain::failure::Failure;
use crate::domain::summary::Dismissed;
use crate::ledger::Ledger;

/// Gives up what a leader refused. It hears of it in the next heartbeat, as of a debt that has become smaller. What is
/// given up is added to `sum`, also when the rest cannot be.
///
/// # Errors
/// What the node's own database says.
pub async fn dismiss(books: &Ledger, now: Timestamp, sum: &mut Dismissed) -> Result<(), Failure> {
    let done = books.dismiss_set_aside(now, sum).await;
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
