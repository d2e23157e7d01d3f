//! Where a model is served that no target of the asked dialect serves: the usual mistake of a client that speaks one
//! dialect to every model.

use std::fmt::Write;

use crate::dialect::route::Route;
use crate::dialect::{Billing, is_of_another_vendor, path_of_model};
use crate::domain::failure::Failure;
use crate::domain::model_name::canonical;
use crate::domain::principal::Principal;
use crate::domain::provider::Provider;
use crate::upstream::{ModelQuery, SendError, Target, TargetQuery, Upstream};

/// What a caller is told for whose call there is no target; with the path, where the model has one that it may use.
pub(super) fn no_target(
    none: &SendError,
    upstream: &Upstream,
    principal: &Principal,
    (route, target_query): (&Route<'_>, &TargetQuery),
) -> Failure {
    let mut failure = Failure::from(none);
    let (SendError::NoTarget { .. }, ModelQuery::Named(model)) = (none, &target_query.model) else {
        return failure;
    };
    if route.billing != Billing::Inference || target_query.is_admin || !principal.permits_model(model) {
        return failure;
    }
    let embeds = ["embed", "Embed"].iter().any(|word| route.path.contains(word));
    let serving = |dialect: &Provider| {
        let mut targets = upstream.targets().iter().filter(|target| target.speaks(*dialect));
        *dialect != route.provider && targets.any(|target| is_likely_to_serve(target, model))
    };
    let paths: Vec<String> = Provider::ALL
        .into_iter()
        .filter(serving)
        .filter_map(|dialect| path_of_model(dialect, model, embeds))
        .collect();
    if !paths.is_empty() {
        let _ = write!(failure.message, "; it is served here at {}", paths.join(" or "));
    }
    failure
}

/// Whether a target serves a model. That it serves everything is believed where it is not the dialect of another maker
/// than the model's; OpenAI's is spoken by servers of everybody's models.
fn is_likely_to_serve(target: &Target, model: &str) -> bool {
    if !target.serves_everything() {
        return target.serves(model);
    }
    !is_of_another_vendor(target.provider(), &canonical(model))
}
