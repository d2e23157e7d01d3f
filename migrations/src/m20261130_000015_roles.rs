//! Auditors, and managers of groups; and in the audit log what somebody has proved themselves with, and from where.

use sea_orm::DbErr;

use crate::schema::{Schema, text_or_none};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // Where `role` does not say it all. Leaders of an older sproxy on the same database read `role` alone, and know only
    // admin and user.
    schema.add_column("users", text_or_none("exact_role")).await?;
    let columns = vec![schema.uuid_required("user_id"), schema.uuid_required("group_id")];
    schema.create_table("group_managers", columns, &["user_id", "group_id"], true).await?;
    schema.create_index("group_managers", &["group_id"], false).await?; // the managers of a group
    // None: an older sproxy did not note it, or a node did it by itself.
    schema.add_column("audit", text_or_none("credential")).await?;
    schema.add_column("audit", text_or_none("address")).await
}
