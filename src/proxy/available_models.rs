//! The models that somebody may use, with what is known of each and the APIs in which it is reached: what a client is told
//! that has to know before it calls.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::future::join_all;

use super::models::{ListedModel, ModelLists};
use crate::dialect::convert::Api;
use crate::domain::model_traits::ModelTraits;
use crate::domain::principal::Principal;
use crate::domain::provider::Provider;
use crate::upstream::{Candidate, ModelQuery, TargetQuery, Upstream};

/// A model that somebody may use.
#[derive(Clone, Debug)]
pub struct AvailableModel {
    /// What a call names.
    pub name: String,
    /// For people.
    pub display_name: Option<String>,
    /// What holds wherever the call goes.
    pub traits: ModelTraits,
    /// At least one.
    pub apis: Vec<ReachedIn>,
}

/// An API in which a model is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReachedIn {
    /// Its name in the books; of a dialect of which nothing is converted, its own.
    pub api: &'static str,
    /// Every call is converted for where it goes.
    pub is_converted: bool,
}

/// A model by the targets that have it.
#[derive(Default)]
struct Found<'m> {
    /// It is a name of the operator's own.
    is_own: bool,
    targets: HashSet<&'m str>,
    listed: ListedModel,
}

impl ModelLists {
    /// Every model that `principal` may use, by name.
    pub async fn available(&self, upstream: &Upstream, principal: &Principal) -> Vec<AvailableModel> {
        let targets = upstream.targets();
        let lists = join_all(targets.iter().map(|target| self.models_of(target))).await;
        let mut found: BTreeMap<&str, Found<'_>> = BTreeMap::new();
        for (target, list) in targets.iter().zip(&lists) {
            for model in list.iter() {
                let found = found.entry(&model.name).or_default();
                found.targets.insert(target.name());
                found.listed.add(model);
            }
        }
        let own = Provider::ALL.into_iter().flat_map(|dialect| upstream.own_models(dialect));
        let own: BTreeMap<&str, Found<'_>> =
            own.map(|(name, route)| (name, behind(&found, route.iter().map(|model| &**model)))).collect();
        // A name of the operator's own hides a model that is called the same.
        found.extend(own);
        let may_use = found.into_iter().filter(|(name, _)| principal.permits_model(name));
        may_use.filter_map(|(name, found)| available(upstream, name, &found)).collect()
    }
}

impl ListedModel {
    /// Another target says this of the same model.
    fn add(&mut self, other: &Self) {
        let fewer = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        self.display_name = self.display_name.take().or_else(|| other.display_name.clone());
        self.context_tokens = fewer(self.context_tokens, other.context_tokens);
        self.max_output_tokens = fewer(self.max_output_tokens, other.max_output_tokens);
    }
}

/// What is found of the models behind a name, which has no name for people but itself.
fn behind<'m>(found: &BTreeMap<&str, Found<'m>>, route: impl Iterator<Item = &'m str>) -> Found<'m> {
    let mut all = Found { is_own: true, ..Found::default() };
    for one in route.filter_map(|model| found.get(model)) {
        all.targets.extend(&one.targets);
        all.listed.add(&one.listed);
    }
    all.listed.display_name = None;
    all
}

/// None: no call gets there.
fn available(upstream: &Upstream, name: &str, found: &Found<'_>) -> Option<AvailableModel> {
    let model: Arc<str> = name.into();
    // Where nobody is known to have a model, a call goes to whoever might; that is no reason to offer it.
    let has_it = |way: &Candidate| found.targets.contains(way.target().name());
    let mut reached = reached(upstream, &model, has_it);
    // But a name that the operator has given is one to offer, also while its targets do not say what they have.
    if reached.is_none() && found.is_own {
        reached = self::reached(upstream, &model, |_| true);
    }
    let (apis, mut traits) = reached?;
    traits.context_tokens = traits.context_tokens.or(found.listed.context_tokens);
    traits.max_output_tokens = traits.max_output_tokens.or(found.listed.max_output_tokens);
    Some(AvailableModel {
        name: name.to_owned(),
        display_name: found.listed.display_name.clone(),
        traits,
        apis,
    })
}

/// Where a model is reached by ways that are `meant`, and what holds for all of them.
fn reached(
    upstream: &Upstream,
    model: &Arc<str>,
    meant: impl Fn(&Candidate) -> bool,
) -> Option<(Vec<ReachedIn>, ModelTraits)> {
    let mut traits: Option<ModelTraits> = None;
    let mut apis = Vec::new();
    for (dialect, api, name) in all_apis() {
        let mut ways = upstream.ways(&query(dialect, api, model));
        ways.retain(&meant);
        if ways.is_empty() {
            continue;
        }
        apis.push(ReachedIn { api: name, is_converted: ways.iter().all(|way| way.conversion().is_some()) });
        for way in &ways {
            let of_way = upstream.catalogue().find(way.model());
            traits = Some(traits.map_or_else(|| (**of_way).clone(), |traits| traits.and(of_way)));
        }
    }
    Some((apis, traits?))
}

/// Every API, and every dialect of which none is converted.
fn all_apis() -> impl Iterator<Item = (Provider, Option<Api>, &'static str)> {
    let apis = Api::ALL.into_iter().map(|api| (api.dialect(), Some(api), api.as_str()));
    let has_none = |dialect: &Provider| Api::ALL.iter().all(|api| api.dialect() != *dialect);
    let others = Provider::ALL.into_iter().filter(has_none).map(|dialect| (dialect, None, dialect.as_str()));
    apis.chain(others)
}

fn query(provider: Provider, api: Option<Api>, model: &Arc<str>) -> TargetQuery {
    TargetQuery {
        provider,
        api,
        model: ModelQuery::Named(Arc::clone(model)),
        is_admin: false,
        affinity: None,
        counts_for_health: false,
    }
}
