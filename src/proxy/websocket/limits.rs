//! How long a side of a WebSocket may take for what.

use std::time::Duration;

/// How often sides are asked whether they are there. The system of one that is gone does not take that for long.
pub(super) const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a provider may say nothing to that. Callers may: some only read when they wait for something.
pub(super) const SILENT_MAX: Duration = Duration::from_secs(100);
/// How long a message may take to be sent, and a connection to close.
pub(super) const SEND_MAX: Duration = Duration::from_mins(1);
pub(super) const CLOSE_MAX: Duration = Duration::from_secs(2);
