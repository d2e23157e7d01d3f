//! How a leader that was restored from an older backup is noticed: it numbers the batches that it takes of each node,
//! and the node keeps the number with what the batch acknowledged.

use sea_orm::DbErr;

use crate::schema::{Schema, integer, integer_or_none, text};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // On a leader: how many batches it has taken of a node. Not in `peers`: it outlives a peer that is forgotten.
    schema.create_table("usage_batches", vec![text("node"), integer("taken")], &["node"], true).await?;
    // On a follower: the batch in which the leader acknowledged a log. None: it has not, or did not number them.
    // Read only after a leader was restored, so no index.
    let column = integer_or_none("batch");
    schema.add_column("usage_logs", column).await
}
