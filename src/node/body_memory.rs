//! How much of the memory there is request bodies may take.
//!
//! `http.max_buffered_bytes` is what the operator wants; a container with less memory than that would be killed by the
//! system before the limit refuses anybody. So bodies get at most half of what this process can have: the smallest of
//! the machine's memory and of the limits of its control groups (v2 and v1), the ones above its own included.

use std::fs;
use std::path::Path;

/// The share of the memory that bodies may take: the rest is for connections, answers on their way and the ledger.
const SHARE: u64 = 2;

/// What bodies may take together, bytes: `wanted`, or less where there is less memory; always room for one body of
/// `largest`.
pub(super) fn limit(wanted: usize, largest: usize) -> usize {
    let Some(memory) = available(Path::new("/")) else { return wanted };
    let limit = bounded(wanted, largest, memory);
    if limit < wanted {
        tracing::info!(
            wanted,
            limit,
            memory,
            "http.max_buffered_bytes is lowered to half of the memory that this process can have"
        );
    }
    limit
}

fn bounded(wanted: usize, largest: usize, memory: u64) -> usize {
    usize::try_from(memory / SHARE).unwrap_or(usize::MAX).min(wanted).max(largest.min(wanted))
}

/// The memory this process can have, bytes; `None` where the system does not say. `root` is where `proc` and `sys` are.
fn available(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        match controllers {
            "" => lowest(root, "sys/fs/cgroup", path, "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                lowest(root, "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    limits.chain(machine).min()
}

/// The lowest limit of a group and of those above it. In a container the path may be the host's, of which nothing is
/// to be seen here: then the group that is mounted is the container's own.
fn lowest(root: &Path, mount: &str, path: &str, file: &str) -> Option<u64> {
    let mount = root.join(mount);
    let group = mount.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(&mount));
    // "max" is no number, and no limit.
    groups.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;

    type Files<'a> = &'a [(&'a str, &'a str)];

    /// A system with these files.
    fn system(files: Files<'_>) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_smallest_of_machine_and_groups_counts() {
        let machine = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");
        let v2 = ("proc/self/cgroup", "0::/a/b\n");
        let v1 = ("proc/self/cgroup", "5:cpu:/x\n4:memory:/a\n");
        let cases: [(Files<'_>, Option<u64>); 7] = [
            (&[], None),
            (&[machine], Some(8 * GB)),
            (&[machine, v2, ("sys/fs/cgroup/a/b/memory.max", "max\n")], Some(8 * GB)),
            (&[machine, v2, ("sys/fs/cgroup/a/b/memory.max", "1073741824\n")], Some(GB)),
            (&[machine, v2, ("sys/fs/cgroup/a/memory.max", "2147483648\n")], Some(2 * GB)),
            (&[machine, v2, ("sys/fs/cgroup/memory.max", "536870912\n")], Some(GB / 2)),
            (&[machine, v1, ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824")], Some(GB)),
        ];
        for (files, expected) in cases {
            assert_eq!(available(system(files).path()), expected, "{files:?}");
        }
    }

    #[test]
    fn bodies_get_half_of_it_but_one_body_always_fits() {
        let (gb, mb) = (1 << 30, 1 << 20);
        assert_eq!(bounded(gb, 32 * mb, 24 * GB), gb);
        assert_eq!(bounded(gb, 32 * mb, GB), gb / 2);
        assert_eq!(bounded(gb, 32 * mb, 16 << 20), 32 * mb);
    }
}
