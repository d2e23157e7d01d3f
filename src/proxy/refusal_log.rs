//! Refusals in the books: what the gateway did not let an authenticated caller do has a row, so that a user's statistics
//! show it. Nobody waits for such a row, it holds no tokens, and no limit counts it; a user has only so many a minute,
//! and what is beyond them is a number in the metrics alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::recorder::RecorderContext;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::{GroupId, RequestId, UserId};
use crate::domain::price::PriceList;
use crate::domain::principal::Principal;
use crate::domain::provider::Provider;
use crate::domain::usage::{Outcome, TokenSource, Tokens, UsageRecord};
use crate::ledger::Ledger;
use crate::telemetry::log_call;

/// Rows of one user in a minute.
const ROWS_MAX: u32 = 60;
/// Users with rows in a minute; a node has not room for endless many.
const USERS_MAX: usize = 100_000;
const MINUTE: i64 = 60_000_000;

/// Who is refused, as far as it is known.
pub(super) struct RefusedCaller {
    user_id: UserId,
    user: Arc<str>,
    group: Option<(GroupId, Arc<str>)>,
    pub(super) model: Arc<str>,
    started: Instant,
}

impl RefusedCaller {
    pub(super) fn of(principal: &Principal, started: Instant) -> Self {
        let Principal { user_id, user, group, .. } = principal;
        Self {
            user_id: *user_id,
            user: Arc::clone(user),
            group: group.clone(),
            model: Arc::default(),
            started,
        }
    }
}

/// How many rows users have in the present minute.
#[derive(Debug, Default)]
pub(super) struct RefusalLog(Mutex<(i64, HashMap<UserId, u32>)>);

impl RefusalLog {
    /// Whether `user` may have one more.
    fn may_log(&self, user: UserId, minute: i64) -> bool {
        let mut rows = self.0.lock();
        if rows.0 != minute {
            *rows = (minute, HashMap::new());
        }
        if rows.1.len() >= USERS_MAX && !rows.1.contains_key(&user) {
            return false;
        }
        let count = rows.1.entry(user).or_default();
        *count = count.saturating_add(1);
        *count <= ROWS_MAX
    }
}

/// Books a refusal, if the user may have a row and the ledger has room.
pub(super) fn book(
    context: &RecorderContext,
    prices: &PriceList,
    rows: &RefusalLog,
    ledger: &Ledger,
    (request_id, provider): (RequestId, Provider),
    caller: RefusedCaller,
    failure: &Failure,
) {
    let now = context.clock.now();
    // A defect of ours is no refusal.
    let counts = failure.kind != Kind::Internal && rows.may_log(caller.user_id, now.as_micros() / MINUTE);
    let Some(reservation) = counts.then(|| ledger.reserve(caller.user_id).ok()).flatten() else {
        context.metrics.refusal_not_logged();
        return;
    };
    let (group_id, group) = caller.group.unzip();
    let nobody = || Arc::from("");
    let record = UsageRecord {
        request_id,
        user_id: caller.user_id,
        user: caller.user,
        group_id,
        group,
        actual_model: Arc::clone(&caller.model),
        price: Arc::clone(&prices.find(&caller.model).price),
        parts: Vec::new(),
        attempts: Vec::new(),
        model: caller.model,
        provider,
        target: nobody(),
        upstream_url: nobody(),
        tokens: Tokens::default(),
        token_source: TokenSource::None,
        outcome: Outcome::Refused,
        is_streaming: false,
        status_code: failure.kind.http_status().as_u16(),
        duration_ms: u64::try_from(caller.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        ttfb_ms: None,
        cost_nanousd: 0,
        session_id: None,
        agent_id: None,
        client_request_id: None,
        converted_from: None,
        source_node: context.node.clone(),
        created_at: now,
    };
    context.metrics.refusal_logged(provider);
    log_call(&record, None);
    drop(reservation.record(record));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_rows_a_minute_and_no_one_elses() {
        let (rows, user) = (RefusalLog::default(), UserId::new());
        let had = (0..1_000).filter(|_| rows.may_log(user, 7)).count();
        assert_eq!(had, ROWS_MAX as usize);
        assert!(rows.may_log(UserId::new(), 7) && rows.may_log(user, 8));
    }
}
