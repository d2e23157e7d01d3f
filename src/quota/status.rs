//! What a user or group has used of what: the answer of `/me/quota`.

use crate::domain::clock::Timestamp;
use crate::domain::group::Limits;
use crate::domain::quota::Used;

/// Limits, what is used of them, and when the windows reset.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub limits: Limits,
    /// What is used in the current windows, on every node.
    pub used: Used,
    /// Requests of the last 60 seconds on this node; 0 for those without such a limit.
    pub requests_last_minute: u32,
    /// Requests in flight on this node.
    pub in_flight: u32,
    pub day_resets_at: Timestamp,
    pub month_resets_at: Timestamp,
}

impl Status {
    pub(super) fn new(limits: &Limits, used: Used, requests: u32, in_flight: u32, now: Timestamp) -> Self {
        Self {
            limits: limits.clone(),
            used,
            requests_last_minute: requests,
            in_flight,
            day_resets_at: now.next_day_start(),
            month_resets_at: now.next_month_start(),
        }
    }
}
