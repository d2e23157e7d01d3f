//! What taking over another configuration comes to, for the handlers; the node does it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::failure::Failure;

/// What came of reading the configuration again.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reloaded {
    /// The targets that are in effect now.
    pub targets: Vec<String>,
    /// Settings that have changed and take effect only when the node starts again.
    pub needs_restart: Vec<String>,
}

/// Reads the configuration again.
pub trait Reload: Send + Sync {
    /// Takes over all of what can be, or nothing.
    fn reload(self: Arc<Self>) -> BoxFuture<'static, Result<Reloaded, Failure>>;
}
