//! Who users are at an identity provider, and what is kept to ask it about them again.

use sea_orm::DbErr;
use sea_orm::sea_query::ColumnDef;

use crate::schema::{Schema, integer, integer_or_none, text_or_none};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    for column in ["identity_issuer", "identity_subject", "external_id"] {
        schema.add_column("users", text_or_none(column)).await?;
    }
    // UserRepo::get_by_identity. Not unique: leaders that were apart may have made two users of one identity.
    schema.create_index("users", &["identity_issuer", "identity_subject"], false).await?;
    schema.create_index("users", &["external_id"], false).await?; // users as SCIM asks for them
    let columns = vec![
        schema.uuid_required("user_id"),
        // The provider's tokens, encrypted. None: it gave none, so it is not asked.
        ColumnDef::new("tokens").blob().take(),
        // When it was asked last, or is being asked.
        integer("asked_at"),
        // When it refused the user, who was disabled for that. None: it did not.
        integer_or_none("refused_at"),
    ];
    schema.create_table("provider_sessions", columns, &["user_id"], true).await?;
    schema.create_index("provider_sessions", &["asked_at"], false).await // who is to be asked about next
}
