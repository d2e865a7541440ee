//! What the machine, or the container around us, has: memory and cores.
//!
//! Of all limits that apply the smallest counts: the machine's memory, and the limit of our control group and of each
//! group above it. In a container the path that `/proc/self/cgroup` tells may be the host's and not exist here; walking up
//! to the mount point finds the limit all the same. Files that are missing or unreadable are no limit.

use std::path::Path;
use std::sync::OnceLock;

/// Assumed where the system does not tell, as outside Linux: small enough to be harmless.
const UNKNOWN_MEMORY_BYTES: u64 = 1 << 30;

/// The memory that this process may use, in bytes. Read once, so that a share of it means the same while we run.
pub(crate) fn memory_bytes() -> u64 {
    static MEMORY_BYTES: OnceLock<u64> = OnceLock::new();
    *MEMORY_BYTES.get_or_init(|| memory_bytes_under(Path::new("/")))
}

/// The cores that this process may use; the standard library respects affinity and the CPU limits of control groups.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn memory_bytes_under(root: &Path) -> u64 {
    let physical = text(&root.join("proc/meminfo")).and_then(|meminfo| total_bytes(&meminfo));
    let groups = text(&root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| group_limits(root, line));
    // A limit of 0 would be a misreading.
    limits
        .chain(physical)
        .filter(|bytes| *bytes > 0)
        .min()
        .unwrap_or(UNKNOWN_MEMORY_BYTES)
}

fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// `MemTotal:       16384 kB` of /proc/meminfo.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The limits for one line of /proc/self/cgroup: `0::/path` (version 2) or `4:memory:/path` (version 1).
fn group_limits(root: &Path, line: &str) -> Vec<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (mount, file) = if controllers.is_empty() {
        ("sys/fs/cgroup", "memory.max")
    } else if controllers
        .split(',')
        .any(|controller| controller == "memory")
    {
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return Vec::new();
    };
    let mount = root.join(mount);
    let group = mount.join(path.trim_start_matches('/'));
    // "max" is version 2's word for no limit, and does not parse.
    group
        .ancestors()
        .take_while(|directory| directory.starts_with(&mount))
        .filter_map(|directory| text(&directory.join(file))?.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scratch::Scratch;

    fn memory(files: &[(&str, &str)]) -> u64 {
        let scratch = Scratch::new();
        for (path, text) in files {
            scratch.write(path, text);
        }
        memory_bytes_under(scratch.path())
    }

    #[test]
    fn the_smallest_limit_counts() {
        let meminfo = ("proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");
        assert_eq!(memory(&[]), UNKNOWN_MEMORY_BYTES);
        assert_eq!(memory(&[meminfo]), 1_024_000);

        let version_2 = ("proc/self/cgroup", "0::/pod/me\n");
        let unlimited = ("sys/fs/cgroup/pod/me/memory.max", "max\n");
        assert_eq!(memory(&[meminfo, version_2, unlimited]), 1_024_000);
        let parent = ("sys/fs/cgroup/pod/memory.max", "4096\n");
        assert_eq!(memory(&[meminfo, version_2, unlimited, parent]), 4096);
        let huge = ("sys/fs/cgroup/pod/memory.max", "1000000000000\n");
        assert_eq!(memory(&[meminfo, version_2, huge]), 1_024_000);
    }

    #[test]
    fn a_container_is_found_where_the_path_is_the_hosts() {
        let version_1 = (
            "proc/self/cgroup",
            "5:cpu:/docker/abc\n4:memory:/docker/abc\n",
        );
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "8192\n");
        assert_eq!(memory(&[version_1, limit]), 8192);
        let other = ("sys/fs/cgroup/cpu/memory.limit_in_bytes", "1\n");
        assert_eq!(memory(&[version_1, limit, other]), 8192);
    }

    #[test]
    fn this_machine_has_memory_and_cores() {
        assert!(memory_bytes() > 1 << 20);
        assert!(cores() >= 1);
    }
}
