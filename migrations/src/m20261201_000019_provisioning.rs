//! What a directory that provisions people (SCIM) has said and no other table keeps. Leaders alone are told, and followers
//! have no need of it.

use sea_orm::DbErr;

use crate::schema::{Schema, integer, text};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // Users whom the directory has removed: they are disabled, and the directory does not see them any more.
    let columns = vec![schema.uuid_required("user_id"), integer("removed_at")];
    schema.create_table("deprovisioned_users", columns, &["user_id"], true).await?;
    // The ids by which the directory knows groups. Those of users are in `users`.
    let columns = vec![schema.uuid_required("group_id"), text("external_id")];
    schema.create_table("provisioned_groups", columns, &["group_id"], true).await?;
    schema.create_index("provisioned_groups", &["external_id"], false).await // ProvisioningRepo::groups
}
