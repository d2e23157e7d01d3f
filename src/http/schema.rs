//! Schemas of what has none of its own.

use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{Object, Type};

use crate::domain::provider::Provider;

/// A provider's name.
pub(super) fn provider() -> Object {
    let names = Provider::ALL.map(Provider::as_str).join("|");
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("The dialect."))
        .pattern(Some(format!("^({names})$")))
        .build()
}
