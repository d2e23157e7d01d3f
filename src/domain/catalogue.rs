//! The catalogue of models: what each can take and give, found by globs as prices are.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::domain::model_name::canonical;
use crate::domain::model_traits::ModelTraits;
use crate::domain::price::specificity;

/// Globs over model names, the most specific first.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    globs: GlobSet,
    entries: Vec<(String, Arc<ModelTraits>)>,
    unknown: Arc<ModelTraits>,
}

impl Catalogue {
    /// A catalogue of these entries; of two with one glob the later holds.
    ///
    /// # Errors
    /// The glob that cannot be read, with the reason.
    pub fn new(entries: Vec<(String, ModelTraits)>) -> Result<Self, globset::Error> {
        let mut entries: Vec<_> =
            entries.into_iter().rev().map(|(glob, traits)| (glob, Arc::new(traits))).collect();
        let mut seen = HashSet::new();
        entries.retain(|(glob, _)| seen.insert(glob.clone()));
        entries.sort_by_key(|(glob, _)| Reverse(specificity(glob)));
        let mut globs = GlobSetBuilder::new();
        for (glob, _) in &entries {
            globs.add(GlobBuilder::new(glob).build()?);
        }
        Ok(Self { globs: globs.build()?, entries, unknown: Arc::default() })
    }

    /// What is known of `model`, as it is written or by its maker's name for it; nothing but defaults for one that no
    /// glob fits.
    #[must_use]
    pub fn find(&self, model: &str) -> &Arc<ModelTraits> {
        let by_name = self.globs.matches(model).into_iter();
        let best = by_name.chain(self.globs.matches(&*canonical(model))).min();
        best.and_then(|at| self.entries.get(at)).map_or(&self.unknown, |(_, traits)| traits)
    }

    /// The entries, the most specific first.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &ModelTraits)> {
        self.entries.iter().map(|(glob, traits)| (glob.as_str(), &**traits))
    }
}
