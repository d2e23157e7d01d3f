//! File descriptors: a connection takes one, and the call it makes takes another. Systems start programs with few,
//! for the sake of old ones that cannot count further; this one takes what it may have.

/// The database, the logs, the cluster and the upstream connections that wait for calls.
const OTHERS: u64 = 1_500;
/// Below this a warning is logged.
const FEW: usize = 1_000;

/// Raises the number of descriptors to what the system allows. Returns how many of `connections` that is enough for.
#[cfg(unix)]
pub(super) fn fit(connections: usize) -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "cannot raise the number of file descriptors");
    }
    let Some(available) = getrlimit(Resource::Nofile).current else { return connections };
    let possible = enough_for(available);
    if possible >= connections {
        return connections;
    }
    let advice = "raise the limit of file descriptors for more (ulimit -Hn, LimitNOFILE)";
    if possible < FEW {
        tracing::warn!(available, connections = possible, "few connections can be served: {advice}");
    } else {
        tracing::info!(
            available,
            connections = possible,
            "fewer connections than http.max_connections: {advice}"
        );
    }
    possible
}

/// Elsewhere there is no such limit to raise.
#[cfg(not(unix))]
pub(super) fn fit(connections: usize) -> usize {
    connections
}

/// Connections for which so many descriptors are enough, with a call each.
#[cfg(unix)]
fn enough_for(available: u64) -> usize {
    let left = available - OTHERS.min(available / 2);
    usize::try_from(left / 2).unwrap_or(usize::MAX).max(1)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_small_limit_leaves_room_for_the_rest_as_well() {
        assert_eq!(enough_for(34_268), 16_384);
        assert_eq!(enough_for(20_000), 9_250);
        assert_eq!(enough_for(1_024), 256);
        assert_eq!(enough_for(1), 1);
    }
}
