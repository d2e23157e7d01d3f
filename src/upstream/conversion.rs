//! Which targets take a call that is converted for them: those that speak another dialect, and probably have the model.

use std::sync::Arc;

use super::target::Target;
use crate::dialect::convert::{Api, CONVERSIONS, Conversion};
use crate::dialect::vendor_of;
use crate::domain::model_name::canonical;
use crate::domain::model_traits::ModelTraits;
use crate::domain::provider::Provider;

/// How a candidate's call is converted.
#[derive(Clone, Debug)]
pub struct CandidateConversion {
    pub apis: Conversion,
    /// What is known of the candidate's model.
    pub traits: Arc<ModelTraits>,
    /// A call of which something would be left out is refused.
    pub refuses_loss: bool,
}

impl Target {
    /// Whether it takes calls of that dialect, and API, as they are.
    pub(super) fn takes(&self, dialect: Provider, api: Option<Api>) -> bool {
        self.speaks(dialect) && (api != Some(Api::Responses) || self.has_responses())
    }

    /// The best conversion by which it takes calls of `api`; none if it takes them as they are, or not at all.
    pub(super) fn conversion_of(&self, api: Api) -> Option<Conversion> {
        if self.takes(api.dialect(), Some(api)) {
            return None;
        }
        let fits = |to: Api| self.takes(to.dialect(), Some(to));
        CONVERSIONS.into_iter().find(|conversion| conversion.from == api && fits(conversion.to))
    }

    /// Whether it has the model, as far as that can be told without asking: a target of every model is believed to have
    /// those of its own maker, and those that no maker here is known for; a server of everybody's models, all.
    pub(super) fn probably_has(&self, model: &str) -> bool {
        if !self.serves_everything() || self.names(model) {
            return self.serves(model);
        }
        self.has_any_vendors_models()
            || vendor_of(&canonical(model)).is_none_or(|vendor| vendor == self.provider())
    }

    /// Whether it is known to have the model: by name, or as its maker. Nobody's words go to another provider than the
    /// one whose API they are for on a guess, as long as that one may have the model.
    pub(super) fn surely_has(&self, model: &str) -> bool {
        if !self.serves_everything() || self.names(model) {
            return self.serves(model);
        }
        vendor_of(&canonical(model)) == Some(self.provider())
    }
}
