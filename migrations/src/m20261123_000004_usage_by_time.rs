//! One index over usage logs by time instead of two. The one by user put every user's newest log on a page of its own:
//! a transaction of 15 logs wrote 15 pages more, about as much as everything else in it. Which hours to look into for
//! a user's logs is what the sums say.

use sea_orm::DbErr;

use crate::schema::Schema;

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    schema.run("DROP INDEX index_usage_logs_user_id_created_at_request_id").await?;
    schema.run("DROP INDEX index_usage_logs_created_at_request_id").await?;
    // pages newest first, the ragged edges of a window, retention; with the user, so that others' rows are not read
    schema.create_index("usage_logs", &["created_at", "request_id", "user_id"], false).await
}
