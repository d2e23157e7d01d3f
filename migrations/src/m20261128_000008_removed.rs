//! How what was removed is told from what a database never knew, when a leader adds to its own users, groups and keys what
//! a follower holds.

use sea_orm::DbErr;

use crate::schema::{Schema, integer};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // Ids of users, groups and API keys, with the version of the state that was the first without it.
    let columns = vec![schema.uuid_required("id"), integer("version")];
    schema.create_table("removed_accounts", columns, &["id"], true).await?;
    schema.create_index("removed_accounts", &["version"], false).await // forget the oldest
}
