//! The steps that a provider bills one by one, and how many logs were priced by the default of the price list.

use sea_orm::DbErr;

use crate::schema::{Schema, integer, text_or_none};

const SUMS: [&str; 2] = ["usage_rollups", "usage_totals"];
const DEFAULT_PRICED: &str = "default_priced_count";

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // JSON of a list of domain::part::Part. None: there is only one.
    let parts = text_or_none("parts");
    schema.add_column("usage_logs", parts).await?;
    for table in SUMS {
        // What was booked before did not note its glob, so nothing is known of it.
        let count = integer(DEFAULT_PRICED).default(0).take();
        schema.add_column(table, count).await?;
    }
    Ok(())
}
