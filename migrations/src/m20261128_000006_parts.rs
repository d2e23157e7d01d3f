//! The steps that a provider bills one by one, and how many logs were priced by the default of the price list.

use sea_orm_migration::prelude::*;

use crate::columns::{integer, text_or_none};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

const SUMS: [&str; 2] = ["usage_rollups", "usage_totals"];
const DEFAULT_PRICED: &str = "default_priced_count";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // JSON of a list of domain::part::Part. None: there is only one.
        let parts = text_or_none("parts");
        manager.alter_table(Table::alter().table("usage_logs").add_column(parts).take()).await?;
        for table in SUMS {
            // What was booked before did not note its glob, so nothing is known of it.
            let count = integer(DEFAULT_PRICED).default(0).take();
            manager.alter_table(Table::alter().table(table).add_column(count).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("usage_logs").drop_column("parts").take()).await?;
        for table in SUMS {
            manager.alter_table(Table::alter().table(table).drop_column(DEFAULT_PRICED).take()).await?;
        }
        Ok(())
    }
}
