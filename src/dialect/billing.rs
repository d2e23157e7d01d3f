//! Which calls are billed. Only the kind of a call is told from its method and path; what its answer holds is told from
//! the answer.

use http::Method;

use super::contents::PathClass;
use super::path::is_encoded;

/// How a call is treated by the usage log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Billing {
    /// Spends tokens; its answer is metered.
    Inference,
    /// Costs nothing and stays out of the usage log: token counting, reading lists of models.
    Untracked,
    /// Passes and is logged, but spends nothing by itself: files, stored answers.
    Unbilled,
    /// Passes and is logged; orders work that is done later or elsewhere, whose usage no answer reports: batches,
    /// fine-tuning, credentials for realtime sessions.
    Deferred,
}

impl Billing {
    /// Classifies `method path`, given `class`, which classifies the path; `path` as the provider knows it, without a
    /// query.
    pub(super) fn of(method: &Method, path: &str, class: impl FnOnce(&str) -> PathClass) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let may_spend = !reads && !matches!(*method, Method::DELETE | Method::OPTIONS);
        if may_spend && is_encoded(path) {
            // A provider may read it as another path than it looks like here.
            return Self::Inference;
        }
        match class(path) {
            PathClass::TokenCount if *method == Method::POST => Self::Untracked,
            PathClass::ModelList if reads => Self::Untracked,
            PathClass::Storage => Self::Unbilled,
            PathClass::Batch if may_spend => Self::Deferred,
            _ if may_spend => Self::Inference,
            _ => Self::Unbilled,
        }
    }
}
