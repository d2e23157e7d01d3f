//! Names of the operator's own, and the models behind them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::ModelConfig;

/// The models behind each name, in the order in which they are tried.
#[derive(Debug, Default)]
pub(super) struct Routes(HashMap<Box<str>, Box<[Arc<str>]>, foldhash::fast::RandomState>);

impl Routes {
    pub(super) fn new(models: &[ModelConfig]) -> Self {
        let route = |model: &ModelConfig| model.route.iter().map(|name| name.as_str().into()).collect();
        Self(models.iter().map(|model| (model.name.as_str().into(), route(model))).collect())
    }

    /// The models behind `name`, if it is one of these names.
    pub(super) fn get(&self, name: &str) -> Option<&[Arc<str>]> {
        if self.0.is_empty() { None } else { self.0.get(name).map(|route| &**route) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[Arc<str>])> {
        self.0.iter().map(|(name, route)| (&**name, &**route))
    }
}
