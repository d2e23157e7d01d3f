//! How the holder of a lock is described to another process.

/// The message for the process that finds the database locked.
pub(super) fn in_use(database: &str, holder: &str) -> String {
    format!(
        "the database {database} is in use by {holder}: stop that one first, or give this one a database of its own \
         (store.url)"
    )
}

/// What this machine, or this container, calls itself.
pub(super) fn host_name() -> String {
    let told = ["/proc/sys/kernel/hostname", "/etc/hostname"].into_iter().map(std::fs::read_to_string);
    let told = told.filter_map(Result::ok).chain(std::env::var("HOSTNAME"));
    let name = told.map(|name| name.trim().to_owned()).find(|name| !name.is_empty());
    name.unwrap_or_else(|| "an unnamed host".to_owned())
}
