//! What an earlier process of this node could not write.

use std::sync::Arc;

use crate::config::Config;
use crate::domain::usage::UsageRecord;
use crate::ledger::Emergency;
use crate::store::{Store, UsageRepo};

/// The file for what the database does not take. What an earlier process left there is booked before anything is
/// counted, or queued if that cannot be.
pub(super) async fn open(
    config: &Config,
    store: &Store,
    synced: bool,
) -> Option<(Emergency, Vec<UsageRecord>)> {
    let opened = Emergency::open(&config.node.data_dir).map_err(|error| {
        tracing::warn!(%error, "there is no emergency file: usage that cannot be written is held in memory alone");
    });
    let (mut file, left) = opened.ok()?;
    if left.is_empty() {
        return Some((file, left));
    }
    let left = Arc::new(left);
    match UsageRepo::on(store).insert_own_batch(&left, synced).await {
        Ok(inserted) => {
            let (records, new) = (left.len(), inserted.added());
            tracing::info!(records, new, "usage of an earlier process was booked from the emergency file");
            if let Err(error) = file.empty() {
                tracing::warn!(%error, "the emergency file is not emptied");
            }
            Some((file, Vec::new()))
        }
        Err(error) => {
            tracing::error!(%error, records = left.len(), "usage of an earlier process cannot be booked yet");
            Some((file, Arc::unwrap_or_clone(left)))
        }
    }
}
