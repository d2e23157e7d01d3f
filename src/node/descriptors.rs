//! File descriptors: a connection takes one, and the call it makes takes another. Systems start programs with few,
//! for the sake of old ones that cannot count further; this one takes what it may have.

/// Raises the number of descriptors to what the system allows, and says so when it is too few for `connections`.
#[cfg(unix)]
pub(super) fn raise(connections: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};

    /// The database, the logs, the cluster and the upstream connections that wait for calls.
    const OTHERS: u64 = 1_500;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the number of file descriptors");
    }
    let needed = 2 * connections as u64 + OTHERS;
    if let Some(available) = getrlimit(Resource::Nofile).current.filter(|available| *available < needed) {
        tracing::warn!(
            available,
            needed,
            "too few file descriptors for http.max_connections; raise the limit (ulimit -Hn, LimitNOFILE)"
        );
    }
}

/// Elsewhere there is no such limit to raise.
#[cfg(not(unix))]
pub(super) fn raise(_connections: usize) {}
