//! How a record is not counted a second time once the leader's retention has removed its row: the leader remembers up to
//! where it has removed rows of each node, and a node what each of its leaders has acknowledged.

use sea_orm::DbErr;

use crate::schema::{Schema, integer, text};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // On a leader: the time of the youngest log of a node that retention has removed. Not in `peers`: it outlives a peer
    // that is forgotten.
    schema.create_table("usage_floors", vec![text("node"), integer("through")], &["node"], true)
        .await?;
    // On a follower: which of its logs a leader had acknowledged, in which batch, when it went to another leader. Empty
    // as long as there is only one.
    let columns = vec![schema.uuid_required("request_id"), text("ledger"), integer("batch")];
    schema.create_table("usage_acknowledged", columns, &["request_id", "ledger"], true).await?;
    // What a leader has lost of it is forgotten.
    schema.create_index("usage_acknowledged", &["ledger", "batch"], false).await
}
