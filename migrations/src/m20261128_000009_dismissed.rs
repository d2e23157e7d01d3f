//! What a leader refused can be given up: such a log stays, and is owed no more.

use sea_orm_migration::prelude::*;

use crate::columns::integer_or_none;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

const DROP: &str = "DROP INDEX index_usage_logs_set_aside";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // When an admin gave it up. `set_aside` keeps the reason.
        let dismissed = integer_or_none("dismissed_at");
        manager.alter_table(Table::alter().table("usage_logs").add_column(dismissed).take()).await?;
        // what the leader refused and is owed all the same: normally empty, also after years of dismissing
        let refused = "CREATE INDEX index_usage_logs_set_aside ON usage_logs (created_at, request_id) \
                       WHERE set_aside IS NOT NULL AND dismissed_at IS NULL";
        let database = manager.get_connection();
        database.execute_unprepared(DROP).await?;
        database.execute_unprepared(refused).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let refused =
            "CREATE INDEX index_usage_logs_set_aside ON usage_logs (created_at) WHERE set_aside IS NOT NULL";
        let database = manager.get_connection();
        database.execute_unprepared(DROP).await?;
        database.execute_unprepared(refused).await?;
        manager.alter_table(Table::alter().table("usage_logs").drop_column("dismissed_at").take()).await
    }
}
