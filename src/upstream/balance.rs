//! Which target takes a call: by dialect and model, by health, then by weight.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::call::{ModelQuery, TargetQuery};
use super::error::SendError;
use super::health::HealthState;
use super::target::Target;

/// The odd number nearest to 2^64 divided by the golden ratio: multiples of it spread evenly over the `u64` range.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Picks a target. Those that failed lately are used only when no other is left: then trying is better than
/// refusing; one that failed and was left alone long enough is tried by one call. Those that are drained, or that an active check knows to be down, are not used at all.
pub(super) fn choose(
    targets: &[Arc<Target>],
    query: &TargetQuery,
    tried: &[Arc<Target>],
    cursor: &AtomicU64,
    now: Instant,
) -> Result<Arc<Target>, SendError> {
    let serving = serving(targets, query)?;
    let usable: Vec<_> = serving
        .into_iter()
        .filter(|target| target.is_usable(now) && !tried.iter().any(|other| Arc::ptr_eq(other, target)))
        .collect();
    let mut well: Vec<_> = usable
        .iter()
        .copied()
        .filter(|target| matches!(target.health_state(now), HealthState::Healthy | HealthState::HalfOpen))
        .collect();
    while let Some(picked) = pick(&well, query.affinity, cursor) {
        if picked.health_state(now) == HealthState::Healthy || picked.state.health.try_half_open(now) {
            return Ok(Arc::clone(picked));
        }
        // Another call is trying it.
        let name = picked.shared_name();
        well.retain(|target| *target.name() != *name);
    }
    pick(&usable, query.affinity, cursor).cloned().ok_or_else(|| {
        let model = match &query.model {
            ModelQuery::Named(model) => Some(model.to_string()),
            ModelQuery::Nameless { .. } | ModelQuery::Unread => None,
        };
        SendError::NoneHealthy { provider: query.provider, model }
    })
}

/// The targets that a call may go to by what it asks for. One that names no model goes to who serves everything, or to
/// the only one there is; and nowhere if its model cannot be read and it is not the same to whom it goes.
fn serving<'t>(targets: &'t [Arc<Target>], query: &TargetQuery) -> Result<Vec<&'t Arc<Target>>, SendError> {
    let provider = query.provider;
    let mut serving: Vec<_> = targets.iter().filter(|target| target.provider() == provider).collect();
    if query.is_admin {
        serving.retain(|target| target.allows_admin_paths());
    }
    let model = match &query.model {
        ModelQuery::Named(model) => {
            serving.retain(|target| target.serves(model));
            Some(model)
        }
        ModelQuery::Unread => {
            if !serving.iter().all(|target| target.serves_everything()) {
                return Err(SendError::Unread { provider });
            }
            None
        }
        ModelQuery::Nameless { has_body } => {
            if serving.iter().any(|target| target.serves_everything()) {
                serving.retain(|target| target.serves_everything());
            } else if *has_body && serving.len() > 1 {
                return Err(SendError::Nameless { provider });
            }
            None
        }
    };
    if serving.is_empty() {
        return Err(SendError::NoTarget { provider, model: model.map(ToString::to_string) });
    }
    Ok(serving)
}

fn pick<'t>(
    candidates: &[&'t Arc<Target>],
    affinity: Option<u64>,
    cursor: &AtomicU64,
) -> Option<&'t Arc<Target>> {
    match (candidates, affinity) {
        ([only], _) => Some(only),
        (several, Some(key)) => several
            .iter()
            .min_by(|a, b| rendezvous_score(a, key).total_cmp(&rendezvous_score(b, key)))
            .copied(),
        (several, None) => by_weight(several, cursor.fetch_add(GOLDEN, Ordering::Relaxed)),
    }
}

/// The target in whose share of the total weight `point` (a fraction of 2^64) lies.
fn by_weight<'t>(candidates: &[&'t Arc<Target>], point: u64) -> Option<&'t Arc<Target>> {
    let total: u64 = candidates.iter().map(|target| u64::from(target.weight())).sum();
    let scaled = (u128::from(point) * u128::from(total)) >> 64;
    let mut left = u64::try_from(scaled).unwrap_or(0);
    for target in candidates {
        let share = u64::from(target.weight());
        if left < share {
            return Some(target);
        }
        left -= share;
    }
    candidates.first().copied()
}

/// Weighted rendezvous hashing: the target with the least `-ln(u) / weight` wins; when one goes away, only its
/// calls move.
#[allow(clippy::cast_precision_loss, reason = "53 of 64 bits are plenty for a choice")]
fn rendezvous_score(target: &Target, key: u64) -> f64 {
    let mut hasher = foldhash::fast::FixedState::with_seed(key).build_hasher();
    hasher.write(target.name().as_bytes());
    let uniform = (hasher.finish() as f64 + 1.0) / (u64::MAX as f64 + 2.0);
    -uniform.ln() / f64::from(target.weight()).max(f64::MIN_POSITIVE)
}
