//! Which registration of a node the batches that are counted belong to.

use sea_orm::DbErr;

use crate::schema::{Schema, integer_or_none};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // The node's registration that batches are taken of. None: by an older sproxy.
    let session = schema.uuid("session");
    schema.add_column("usage_batches", session).await?;
    // The node has not pushed in it yet, and was told that no more than so many of its batches are surely there.
    let resumes_after = integer_or_none("resumes_after");
    schema.add_column("usage_batches", resumes_after).await
}
